# SPDX-License-Identifier: GPL-2.0-or-later
"""An image streamer that keeps files in memory, written after the description of CRIU's protocol.

streamer.py capture DIR FILE   listens on DIR/streamer-capture.sock and pickles what comes to FILE
streamer.py serve DIR FILE     listens on DIR/streamer-serve.sock and gives it back
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
import sys
import threading


def receive(s: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def request(s: socket.socket) -> str:
    """The filename of an img_streamer_request_entry: field 1, a string."""
    (size,) = struct.unpack("<I", receive(s, 4))
    message = receive(s, size)
    assert message[0] == 0x0A and message[1] == len(message) - 2, message
    return message[2:].decode()


def receive_fd(s: socket.socket) -> int:
    data, fds, _, _ = socket.recv_fds(s, 1, 1)
    assert len(data) == 1 and len(fds) == 1, (data, fds)
    return fds[0]


def capture(s: socket.socket, path: str) -> None:
    files: dict[str, bytes] = {}
    threads = []

    def drain(name: str, fd: int) -> None:
        with open(fd, "rb") as f:
            files[name] = f.read()

    try:
        while True:
            name = request(s)
            assert name not in files, name
            threads.append(threading.Thread(target=drain, args=(name, receive_fd(s))))
            threads[-1].start()
    except EOFError:
        pass
    for t in threads:
        t.join()
    with open(path, "wb") as out:
        pickle.dump(files, out)


def serve(s: socket.socket, path: str) -> None:
    with open(path, "rb") as f:
        files: dict[str, bytes] = pickle.load(f)
    try:
        while True:
            name = request(s)
            exists = name in files
            reply = b"\x08" + bytes([exists])  # field 1, a bool
            s.sendall(struct.pack("<I", len(reply)) + reply)
            if exists:
                with open(receive_fd(s), "wb") as out:
                    out.write(files[name])
    except EOFError:
        pass


def main() -> None:
    what, folder, path = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(folder)
    listener.bind("not-yet")
    listener.listen(1)
    os.rename("not-yet", f"streamer-{what}.sock")
    s, _ = listener.accept()
    os.unlink(f"streamer-{what}.sock")
    (capture if what == "capture" else serve)(s, path)


if __name__ == "__main__":
    main()
