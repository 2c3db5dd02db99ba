# SPDX-License-Identifier: GPL-2.0-or-later
"""Page servers, daemons of lazy restores, and certificates for both."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from box import TORPOR, Box, Failed

# how long a test waits for what comes in a moment where nothing else runs
PATIENCE = 60.0


class Server:
    """A page server into a directory."""

    def __init__(self, box: Box, images: Path, *options: str | Path) -> None:
        self.box = box
        self.images = images
        images.mkdir(exist_ok=True)
        self.out = box.dir / f"server-{box.runs}-{images.name}.out"
        words: list[str | Path] = ["page-server", "-D", images, "-o", "server.log", "-v4"]
        words += ["--address", "127.0.0.1", *options]
        self.pid = box.start([TORPOR, *words], out=self.out)
        self.port = box.until(f"no server: {self.out}", PATIENCE, self.listening)

    def listening(self) -> int:
        if self.pid in self.box.statuses:
            raise Failed(f"the server ended: {self.out.read_text()}")
        text = self.out.read_text()
        return int(text.split("port ")[1].split()[0]) if text.endswith("\n") else 0

    def end(self, good: bool = True) -> str:
        """Its exit and output."""
        status = self.box.wait(self.pid, PATIENCE)
        text = self.out.read_text()
        if (status == 0) != good:
            raise Failed(f"the server ended with {status}: {text}")
        return text

    @property
    def options(self) -> tuple[str, ...]:
        return ("--page-server", "--address", "127.0.0.1", "--port", str(self.port))


def merge(server: Path, images: Path) -> None:
    """What a user does before a restore: all files in one place."""
    for path in server.iterdir():
        if path.suffix == ".img":
            shutil.copy(path, images)


class Daemon:
    """lazy-pages for the images of a subject."""

    def __init__(
        self, box: Box, images: Path, *options: str, env: dict[str, str] | None = None
    ) -> None:
        self.box = box
        self.images = images
        self.out = box.dir / f"daemon-{box.runs}.out"
        words: list[str | Path] = ["lazy-pages", "-D", images, "-o", "lazy.log", "-v4", "--json"]
        words += options
        self.pid = box.start([TORPOR, *words], out=self.out, env=env)
        box.aside.add(self.pid)
        box.until("no socket", PATIENCE, self.listening)

    def listening(self) -> bool:
        if self.pid in self.box.statuses:
            raise Failed(f"lazy-pages ended: {self.out.read_text()}")
        return (self.images / "lazy-pages.socket").exists()

    def end(self, good: bool = True) -> dict[str, int]:
        status = self.box.wait(self.pid, 2 * PATIENCE)
        if (status == 0) != good:
            raise Failed(f"lazy-pages ended with {status}: {self.out.read_text()}")
        if (self.images / "lazy-pages.socket").exists():
            raise Failed("the socket is left")
        found: dict[str, int] = json.loads(self.out.read_text().splitlines()[0]) if good else {}
        return found


def openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"openssl {words[0]}: {done.stderr}")


def make_certificates(where: Path) -> None:
    """An authority with two children, one of them revoked; another authority with one."""
    where.mkdir()
    for authority in ("ca", "other"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", where / f"{authority}.key", "-out", where / f"{authority}.pem"),
            *("-subj", f"/CN={authority}", "-days", "2"),
        )
    children = [("good", "ca", "IP:127.0.0.1"), ("revoked", "ca", "IP:127.0.0.1")]
    children += [("elsewhere", "ca", "DNS:elsewhere.example"), ("foreign", "other", "IP:127.0.0.1")]
    for name, authority, alias in children:
        request = where / f"{name}.csr"
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", where / f"{name}.key", "-out", request, "-subj", f"/CN={name}"),
        )
        extra = where / "extra"
        extra.write_text(f"subjectAltName={alias}\n")
        openssl(
            *("x509", "-req", "-in", request, "-CA", where / f"{authority}.pem"),
            *("-CAkey", where / f"{authority}.key", "-CAcreateserial", "-days", "2"),
            *("-extfile", extra, "-out", where / f"{name}.pem"),
        )
    (where / "index").write_text("")
    (where / "number").write_text("01\n")
    (where / "config").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={where}/index\ncrlnumber={where}/number\n"
        "default_md=sha256\ndefault_crl_days=2\n"
    )
    same = ("-config", where / "config", "-cert", where / "ca.pem", "-keyfile", where / "ca.key")
    openssl("ca", *same, "-revoke", where / "revoked.pem")
    openssl("ca", *same, "-gencrl", "-out", where / "crl.pem")


def tls_options(where: Path, name: str, crl: bool = False) -> list[str]:
    words = ["--tls", "--tls-cacert", str(where / "ca.pem")]
    words += ["--tls-cert", str(where / f"{name}.pem"), "--tls-key", str(where / f"{name}.key")]
    return words + (["--tls-cacrl", str(where / "crl.pem")] if crl else [])
