# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes of socket options: the validator knows the same ones as a restore."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import bigsets
import broken
import pytest
from box import BUILD, SOURCE
from torpor.images import ImageSet
from torpor.images import messages as pb
from torpor.images.limits import GROWTH_STRICT
from torpor.validate import sockopts, validate

ROOMS = SOURCE / "kinds/sock"
# room -> table of the C side -> ours
TABLES = {
    "sockopts": {"extras": sockopts.EVERY},
    "netlink": {"options": sockopts.NETLINKS},
    "packet": {"options": sockopts.PACKETS},
    "vsock": {"options": sockopts.VSOCKS},
    "inet_opts": {
        "ip_table": sockopts.IP_ANY, "ip_only_table": sockopts.IP_ANY,
        "ip_mapped_table": sockopts.IP_ANY, "ip_group_table": sockopts.IP_GROUPS,
        "ipv6_group_table": sockopts.IPV6_GROUPS, "ipv6_table": sockopts.IPV6_ANY,
        "raw_table": sockopts.IP_RAW, "raw6_table": sockopts.IPV6_RAW,
        "tcp_table": sockopts.TCP_ANY, "tcp_idle_table": sockopts.TCP_IDLE,
        "udp_table": sockopts.UDP_ANY, "udplite_table": sockopts.UDPLITE_ANY,
    },
}  # fmt: skip
TABLE = re.compile(r"^static const struct sockopt (\w+)\[\] = \{$.*?^\};$", re.M | re.S)


def tables_of_c(room: str, folder: Path) -> dict[str, sockopts.Table]:
    """The tables of a room as the compiler sees them; nothing but headers stands above them."""
    text = (ROOMS / f"{room}.c").read_text()
    tables = list(TABLE.finditer(text))
    prints = "".join(
        f"for (size_t i = 0; i < sizeof({t}) / sizeof(*{t}); i++)"
        f'printf("{t} %d %d %zu\\n", {t}[i].level, {t}[i].name, {t}[i].size);'
        for t in (m[1] for m in tables)
    ).replace("\n", "\\n")
    head = text[: tables[-1].end()]
    (folder / "x.c").write_text(f"{head}\n#include <stdio.h>\nint main(void) {{ {prints} }}\n")
    places = [f"-I{p}" for p in (SOURCE, BUILD, SOURCE / "include")]
    words = ["cc", "-std=gnu17", "-D_GNU_SOURCE", *places]
    subprocess.run([*words, "-o", folder / "x", folder / "x.c"], check=True, timeout=300)
    found: dict[str, sockopts.Table] = {m[1]: {} for m in tables}
    said = subprocess.run([folder / "x"], capture_output=True, text=True, check=True).stdout
    for table, level, number, size in (line.split() for line in said.splitlines()):
        found[table][int(level), int(number)] = int(size)
    return found


def test_tables(tmp_path: Path) -> None:
    """All options that a restore sets, with their sizes, and no others."""
    rooms = {p.stem for p in ROOMS.glob("*.c") if TABLE.search(p.read_text())}
    assert rooms == set(TABLES)
    for room, mine in TABLES.items():
        of_c = tables_of_c(room, tmp_path)
        assert set(of_c) == set(mine), room
        for table in mine.values():
            parts = [of_c[name] for name in mine if mine[name] is table]
            assert {k: v for part in parts for k, v in part.items()} == table, room


# ---------------------------------------------------------------------------------- what is found

V6 = {"family": 10, "src_addr": [0] * 4}
STREAM = {"type": 1, "proto": 6}
CONNECTED = {**STREAM, "state": 1, "dst_port": 9}


def is_found(folder: Path) -> bool:
    with ImageSet(folder, GROWTH_STRICT) as images:
        return "sock-option-size" in validate(images).rules()


@pytest.mark.parametrize(
    ("values", "option", "length", "bad"),
    [
        (V6, (41, 58), 4, False),
        (V6, (41, 58), 0, True),  # IPV6_RECVDSTOPTS
        ({}, (41, 58), 0, False),  # of IPv4: nobody looks at it
        (V6, (41, 59), 2048, False),  # IPV6_DSTOPTS
        (V6, (41, 59), 2049, True),
        ({}, (17, 103), 8, True),  # UDP_SEGMENT
        (STREAM, (6, 23), 5, True),  # TCP_FASTOPEN
        (CONNECTED, (6, 23), 5, False),
        (CONNECTED, (6, 18), 5, True),  # TCP_USER_TIMEOUT
        ({"type": 3, "proto": 1}, (0, 5), 1, True),  # IP_ROUTER_ALERT
        ({"proto": 136}, (136, 10), 1, True),  # UDPLITE_SEND_CSCOV
        ({"proto": 17}, (136, 10), 1, False),
        ({}, (1, 44), 3, True),  # SO_NOFCS
    ],
)
def test_internet_sockets(
    tmp_path: Path, values: dict[str, Any], option: tuple[int, int], length: int, bad: bool
) -> None:
    """What no table of the socket has is left alone; of two of one number the first counts."""
    folder = bigsets.make_set(tmp_path / "set", 2, 4, 1)
    broken.file(broken.inet(**values))(folder)
    number = {"level": option[0], "name": option[1]}
    options = [pb.torpor_sk_option(**number, value=bytes(n)) for n in (length, 3000)]
    bigsets.put(folder, "TORPOR_FILES", pb.torpor_file_entry(id=60, options=options))
    assert is_found(folder) == bad


@pytest.mark.parametrize(("length", "bad"), [(4, True), (8, False)])
def test_vsock(tmp_path: Path, length: int, bad: bool) -> None:
    folder = bigsets.make_set(tmp_path / "set", 2, 4, 1)
    option = pb.torpor_sk_option(level=40, name=0, value=bytes(length))
    broken.vsock()(folder)
    with ImageSet(folder) as images:
        entry = images.one(pb.torpor_file_entry, "TORPOR_FILES")
    entry.options.append(option)
    bigsets.put(folder, "TORPOR_FILES", entry)
    assert is_found(folder) == bad
