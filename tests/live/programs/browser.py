# SPDX-License-Identifier: GPL-2.0-or-later
"""A browser that is saved, killed and restored while a page of its goes on counting.

The web server is the test: it sees the page's numbers come one after another, over connections
which outlive each restore, from a page that is never loaded again.
"""

from __future__ import annotations

import http.server
import shutil
import threading
from urllib.parse import parse_qs, urlsplit

from box import Failed, Skipped
from servers import HERE, PATIENCE, PORT, Server

PAGE = b"""<!doctype html><script>
const page = Math.random();
let last = 0;
async function tick() {
  const n = last + 1;
  const answer = await fetch(`/tick?page=${page}&n=${n}`);
  last = Number(await answer.text());
  setTimeout(tick, 20);
}
tick();
</script>"""


class Ticks:
    """What the page has told."""

    def __init__(self) -> None:
        self.pages: set[str] = set()
        self.loads = self.last = 0
        self.failure = ""

    def take(self, page: str, n: int) -> int:
        self.pages.add(page)
        if n != self.last + 1 and not self.failure:
            self.failure = f"the page sent {n} after {self.last}"
        self.last = n
        return n


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ticks: Ticks

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = PAGE
        if url.path == "/tick":
            asked = parse_qs(url.query)
            body = str(self.ticks.take(asked["page"][0], int(asked["n"][0]))).encode()
        elif url.path == "/":
            self.ticks.loads += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Chromium(Server):
    """A dozen processes, hundreds of threads, compiled JavaScript, descriptors in flight."""

    program = "chromium"
    options = ("--tcp-established", "--link-remap", "--file-locks", "--ghost-limit", "64M")

    def argv(self) -> list[str]:
        # its crash handler leaves the tree by a double fork: the script is there to take it in
        python = shutil.which("python3")
        if not python:
            raise Skipped("python3 is not installed")
        self.ticks = Ticks()
        handler = type("Counted", (Handler,), {"ticks": self.ticks})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return [python, str(HERE / "subreaper.py"), self.path, "--headless=new", "--no-sandbox",
                "--disable-gpu", "--no-first-run", f"--user-data-dir={self.work}/profile",
                f"http://127.0.0.1:{PORT}/"]  # fmt: skip

    def begin(self) -> None:
        self.box.until("the page does not run", PATIENCE, lambda: self.ticks.last > 5)

    def check(self, turn: int) -> None:
        before = self.ticks.last

        def moved() -> bool:
            if self.ticks.failure:
                raise Failed(self.ticks.failure)
            return self.ticks.last > before + 5

        self.box.until(f"the page stands still at {before}", PATIENCE, moved)

    def end(self) -> None:
        if len(self.ticks.pages) != 1 or self.ticks.loads != 1:
            raise Failed(f"the page was loaded {self.ticks.loads} times, {len(self.ticks.pages)} told")
