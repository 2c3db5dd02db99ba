# SPDX-License-Identifier: GPL-2.0-or-later
"""More servers of web pages for servers.py: under the load of wrk, and in more languages."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from box import Box, Failed, Skipped
from servers import HERE, PATIENCE, PORT, Counting, Http, Nginx, Server, page


class Loaded(Http):
    """Beside the clients which check every answer there is wrk, which asks as fast as it can."""

    workers = 1
    size = 20000
    enough = 100  # answers

    def begin(self) -> None:
        wrk = shutil.which("wrk")
        if not wrk:
            raise Skipped("wrk is not installed")
        (self.work / f"{self.size}.txt").write_bytes(page(self.size))
        super().begin()
        words = [wrk, "-t", "1", "-c", "8", "-d", "1000", "--timeout", f"{PATIENCE:.0f}",
                 "-s", str(HERE / "bodies.lua"), f"http://127.0.0.1:{PORT}/{self.size}.txt",
                 "--", str(self.size), str(self.enough), self.work / "enough"]  # fmt: skip
        self.wrk = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        self.box.until("wrk gets no answers", PATIENCE, (self.work / "enough").exists)
        super().end()
        os.kill(self.wrk.pid, signal.SIGINT)
        assert self.wrk.stdout
        text = self.wrk.stdout.read()
        figures = [t.split()[1:] for t in text.splitlines() if t.startswith("torpor ")]
        if not figures:
            raise Failed(f"wrk says: {text}")
        good, bad, errors = (int(n) for n in figures[0])
        if good < self.enough or bad or errors:
            raise Failed(f"wrk counts {good} good answers, {bad} bad ones, {errors} errors: {text}")


class NginxLoad(Loaded, Nginx):
    pass


class Apache(Loaded):
    """Two processes with many threads each (mpm_event)."""

    program = "apache2"
    modules = Path("/usr/lib/apache2/modules")

    def argv(self) -> list[str]:
        for size in Nginx.sizes:
            (self.work / f"{size}.txt").write_bytes(page(size))
        loads = [f"LoadModule {name}_module {self.modules}/mod_{name}.so"
                 for name in ("mpm_event", "authz_core")]  # fmt: skip
        config = self.work / "apache.conf"
        config.write_text("\n".join(loads) + f"""
ServerName localhost
DefaultRuntimeDir {self.work}
PidFile {self.work}/pid
ErrorLog {self.work}/error.log
User www-data
Group www-data
Listen 127.0.0.1:{PORT}
DocumentRoot {self.work}
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 1000
Timeout 1000
ServerLimit 2
StartServers 2
ThreadsPerChild 16
MaxRequestWorkers 32
MinSpareThreads 1
MaxSpareThreads 32
""")
        return [self.path, "-D", "FOREGROUND", "-f", str(config)]

    def request(self, number: int, turn: int) -> tuple[str, Callable[[bytes], bool]]:
        size = Nginx.sizes[turn % len(Nginx.sizes)]
        return f"/{size}.txt", lambda body: body == page(size)


class Fpm(Counting):
    """php-fpm behind nginx; what is counted lies in session files."""

    program = "nginx"
    options = ("--tcp-established", "--file-locks")

    def __init__(self, box: Box, rng: random.Random) -> None:
        super().__init__(box, rng)
        found = sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"))
        if not found:
            raise Skipped("php-fpm is not installed")
        self.php = found[-1]

    def argv(self) -> list[str]:
        work = self.work
        (work / "sessions").mkdir()
        shutil.chown(work / "sessions", "www-data")
        (work / "fpm.conf").write_text(f"""
[global]
error_log = {work}/fpm.log
[www]
user = www-data
group = www-data
listen = {work}/php.sock
listen.mode = 0666
pm = static
pm.max_children = 3
php_admin_value[session.save_path] = {work}/sessions
""")
        (work / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {work}/pid; error_log {work}/error.log; user root;
events {{ worker_connections 100; }}
http {{
  access_log off; keepalive_requests 1000000; keepalive_timeout 1000;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2;
  fastcgi_temp_path {work}/t3; uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  upstream php {{ server unix:{work}/php.sock; keepalive 4; }}
  server {{
    listen 127.0.0.1:{PORT};
    location / {{
      fastcgi_pass php; fastcgi_keep_conn on;
      fastcgi_param SCRIPT_FILENAME {HERE}/session.php;
      fastcgi_param DOCUMENT_URI $document_uri;
      fastcgi_param REQUEST_METHOD $request_method;
    }}
  }}
}}
""")
        return ["sh", str(HERE / "fpm.sh"), str(self.php), str(work)]


class Ruby(Counting):
    program = "ruby"
    script = "http_server.rb"


class Built(Counting):
    """The server has to be compiled first."""

    compiler = ""

    def build(self, *words: str, **env: str) -> None:
        if not shutil.which(self.compiler):
            raise Skipped(f"{self.compiler} is not installed")
        done = subprocess.run([self.compiler, *words], cwd=self.work, env=os.environ | env,
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"cannot build the server: {done.stdout}{done.stderr}")


class Erlang(Built):
    program = "erl"
    compiler = "erlc"

    def argv(self) -> list[str]:
        self.build(str(HERE / "http_server.erl"))
        return [self.path, "-noshell", "-pa", str(self.work),
                "-run", "http_server", "start", str(PORT)]  # fmt: skip


class Golang(Built):
    program = compiler = "go"

    def argv(self) -> list[str]:
        # nothing is fetched: it needs nothing but the standard library
        env = {"GOPROXY": "off", "GO111MODULE": "off", "GOCACHE": str(self.work / "cache")}
        self.build("build", "-o", "server", str(HERE / "http_server.go"), **env)
        return [str(self.work / "server"), str(PORT)]


class Jvm(Built):
    program = "java"
    compiler = "javac"

    def argv(self) -> list[str]:
        self.build("-d", str(self.work), str(HERE / "HttpService.java"))
        return [self.path, "-Xmx96m", "-cp", str(self.work), "HttpService", str(PORT)]


WEB: dict[str, type[Server]] = {
    "nginx-wrk": NginxLoad,
    "apache2-wrk": Apache,
    "php-fpm": Fpm,
    "ruby-http": Ruby,
    "erlang": Erlang,
    "golang": Golang,
    "jvm-http": Jvm,
}
