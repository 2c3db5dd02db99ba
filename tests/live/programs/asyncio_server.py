# SPDX-License-Identifier: GPL-2.0-or-later
"""An HTTP server: the answer to /A/B is "A B N" for the Nth request of the connection."""

import asyncio
import sys


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    count = 0
    try:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            count += 1
            one, two = line.split()[1].decode().strip("/").split("/")
            body = f"{one} {two} {count}".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            await asyncio.sleep(0.001)
    except (ConnectionError, ValueError):
        pass
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
