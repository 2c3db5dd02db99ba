# SPDX-License-Identifier: GPL-2.0-or-later
"""Another computer, as far as tests need one: a pid namespace and a network namespace of its own.

A subject moves there by post-copy: its dump stays behind and gives pages away, `lazy-pages` over
there asks for them, and the subject runs before they have come.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pagemaps
from box import TORPOR, Box, Failed, link_up
from daemons import PATIENCE
from subjects import Subject

HERE, THERE = "10.249.77.1", "10.249.77.2"

# what is said where the subject goes to
SCRIPT = """
"$torpor" lazy-pages -D . -o lazy.log -v4 --json --address $address --port $port $more >lazy.out 2>&1 &
daemon=$!
while [ ! -S lazy-pages.socket ]; do sleep 0.01; kill -0 $daemon || exit 3; done
"$torpor" restore -d -D . -o restore.log -v4 --lazy-pages $options >restore.out 2>&1 || exit 4
sleep $pause
kill -TERM $pid
kill -CONT $pid
for i in $(seq 12000); do grep -q 'PASS\\|FAIL' "$result" && break; sleep 0.01; done
wait $daemon || exit 5
"""


def ip(box: Box, *words: str) -> None:
    done = box.run(["ip", *words])
    if done.status != 0:
        raise Failed(str(done))


class Network:
    """A network namespace with a cable to that of the box."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.holder = box.start(["unshare", "--net", "sleep", "1000"])
        box.aside.add(self.holder)
        path = Path(f"/proc/{self.holder}/ns/net")
        ours = Path("/proc/self/ns/net").readlink()
        box.until("no network", PATIENCE, lambda: path.readlink() != ours)
        ip(box, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
           str(self.holder))  # fmt: skip
        ip(box, "address", "add", f"{HERE}/24", "dev", "cable")
        link_up("cable")
        for words in (
            ("address", "add", f"{THERE}/24", "dev", "cable"),
            ("link", "set", "cable", "up"),
            ("link", "set", "lo", "up"),
        ):
            self.run("ip", *words)
        groups = "/proc/sys/net/ipv4/ping_group_range"
        self.run("sh", "-c", f'echo "{Path(groups).read_text().strip()}" >{groups}')

    def run(self, *words: str) -> None:
        done = self.box.run([*self.enter, *words])
        if done.status != 0:
            raise Failed(str(done))

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net"]


def start_dump(box: Box, s: Subject, *options: str, address: str = "127.0.0.1") -> tuple[int, int]:
    """A dump that keeps the memory; its process and port."""
    out = box.dir / "lazy-dump.out"
    words = s.dump_command("--lazy-pages", "--address", address, *options)
    dump = box.start([TORPOR, *words], out=out)
    box.aside.add(dump)

    def complete() -> bool:
        if box.wait(dump, 0) is not None:
            raise Failed(f"the dump ended: {out.read_text()}")
        return (s.images / "inventory.img").exists()

    box.until("no inventory", 120, complete)
    return dump, int(out.read_text().split("port ")[1].split()[0])


def go_elsewhere(
    box: Box, s: Subject, port: int, pause: float = 0.2, more: str = "", net: Network | None = None
) -> int:
    """Restores it over there and lets it finish; what the script above says."""
    env = {"torpor": str(TORPOR), "port": str(port), "pid": str(s.pid), "pause": str(pause)}
    env |= {"result": str(s.result), "more": more, "address": HERE if net else "127.0.0.1"}
    env |= {"options": " ".join((*s.options, *s.restore_options))}
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT]
    return box.run([*(net.enter if net else []), *words], cwd=s.images, env=env, timeout=300).status


def start_high(box: Box, s: Subject, **how: bool) -> None:
    """With pids that the helpers in another namespace do not take, however long they wait."""
    Path("/proc/sys/kernel/ns_last_pid").write_text("20000")
    s.start(**how)


def move(
    box: Box,
    s: Subject,
    *options: str,
    pause: float = 0.2,
    net: Network | None = None,
    both: Sequence[str] = (),
) -> dict[str, int]:
    """The started subject finishes elsewhere; what its lazy-pages says.

    `both`: options of the dump and of lazy-pages.
    """
    dump, port = start_dump(box, s, *options, *both, address=HERE if net else "127.0.0.1")
    flags = {e.flags for p in s.images.glob("pagemap-*") for e in pagemaps.entries(p)[1]}
    if pagemaps.LAZY not in flags or pagemaps.LAZY | pagemaps.PRESENT in flags:
        raise Failed(f"pages that may come later were saved ({flags})")
    status = go_elsewhere(box, s, port, pause, " ".join(both), net)
    if status != 0 or s.answer() != "PASS":
        logs = [
            (s.images / n).read_text()[-800:] if (s.images / n).exists() else n
            for n in ("lazy.log", "restore.log", "lazy.out", "restore.out")
        ]
        raise Failed(f"ended with {status}, '{s.answer()}': {logs}")
    if box.wait(dump, PATIENCE) != 0:
        raise Failed(f"the dump ended with {box.statuses.get(dump)}")
    box.until("the tasks are still here", PATIENCE, lambda: not box.tasks())
    found: dict[str, int] = json.loads((s.images / "lazy.out").read_text().splitlines()[0])
    return found
