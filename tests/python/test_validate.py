# SPDX-License-Identifier: GPL-2.0-or-later
"""The validator: its catalogue, the golden corpus beside the C side, target, forms."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bigsets
import broken
import pytest
from bigsets import ROOT, area
from box import BUILD, SOURCE, Box, Failed
from conftest import FIXTURES, PACKAGE, fixture_sets
from subjects import NET, Subject
from torpor.images import ImageSet, pages
from torpor.images.limits import GROWTH_STRICT
from torpor.validate import (
    RULES,
    Facts,
    FileFacts,
    Options,
    Report,
    Severity,
    Stage,
    buildid,
    collect,
    features,
    load,
    read,
    validate,
)
from torpor.validate import facts as facts_module
from torpor.validate.births import Births
from torpor.validate.report import to_json, to_sarif
from zoo import make_zoo, mount

C_FOLDERS = ("snapshot", "kinds")
# Rules that no image set can break for the validator: what they say is refused earlier (tree-ids),
# every message has it (options of sockets), or it needs another set (see the reasons)
UNREACHABLE = {
    "tree-ids": "tree-numbers comes first",
    "core-machine": "core-arch comes first",
    "core-incomplete": "core-regs and core-thread come first",
    "sock-options": "required by the message",
    "netlink-entry": "file-details comes first",
    "packet-entry": "file-details comes first",
    "unix-entry": "file-details comes first",
}
if "file-kind" not in broken.CASES:
    UNREACHABLE["file-kind"] = "all types that are known can be restored"
# Tested by themselves below.
ELSEWHERE = {"set-needs", "set-encrypted", "image-memory", "image-unknown"}
# Need real pages that went through filters, encrypted sets: tests/validator.
ELSEWHERE |= {"set-filters", "pages-shared", "set-sealed"}


def check(folder: Path, target: Facts | None = None, **options: Any) -> Report:
    with ImageSet(folder, GROWTH_STRICT) as images:
        return validate(images, Options(**options), target)


def c_findings(folders: list[Path]) -> dict[Path, tuple[str, set[tuple[str, str]]]]:
    """What the C side says: the sentence of a load that failed, (rule, severity) of findings."""
    done = subprocess.run(
        [BUILD / "tests/tools/findings", *folders], capture_output=True, text=True, check=True,
        errors="replace", timeout=300,
    )  # fmt: skip
    found: dict[Path, tuple[str, set[tuple[str, str]]]] = {}
    for line in done.stdout.splitlines():
        words = line.split("\t")
        if words[0] == "set":
            folder = Path(words[1])
            found[folder] = ("", set())
        elif words[0] == "load":
            found[folder] = (words[1], set())
        else:
            found[folder][1].add((words[0], words[1]))
    return found


# ------------------------------------------------------------------------------- the catalogue


def c_rules() -> set[tuple[str, str]]:
    """(rule, severity) of every finding_add() in the C source."""
    found = set()
    for folder in C_FOLDERS:
        for path in (SOURCE / folder).rglob("*.c"):
            text = path.read_text()
            calls = re.findall(r'finding_add\(\w+,\s*"([a-z0-9-]+)",\s*SEV_(\w+)', text)
            assert len(calls) == text.count("finding_add("), path
            found |= {(rule, severity) for rule, severity in calls}
    return found


def test_catalogue_and_c() -> None:
    """Every rule of the C side is in the catalogue with its severity, and the other way round."""
    of_c = c_rules()
    assert {(r, RULES[r].severity.name) for r, _ in of_c} == of_c
    said = {r.id for r in RULES.values() if r.stage in (Stage.WORLD, Stage.ROOM)}
    assert said == {r for r, _ in of_c}


def test_catalogue_and_python() -> None:
    """Every rule is checked somewhere, and nothing is found that is not in the catalogue."""
    text = "".join(p.read_text() for p in sorted((SOURCE / "python/torpor").rglob("*.py")))
    used = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', text))
    assert set(RULES) - used <= set(UNREACHABLE)
    added = set(re.findall(r'(?:c\.add|_add|about_file)\(\s*(?:c, )?"([a-z-]+)"', text))
    added |= set(re.findall(r'rule: str = "([a-z-]+)"', text))
    assert added <= set(RULES)


def test_catalogue_texts() -> None:
    for r in RULES.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", r.id)
        for text in (r.what, r.why, r.repair):
            assert text and text[-1] not in ".!" and "  " not in text, r.id


def test_every_rule_has_a_case() -> None:
    tested = {p.values[0] for p in TARGET_CASES}
    assert set(RULES) == {r.strip() for r in broken.CASES} | tested | set(UNREACHABLE) | ELSEWHERE


# ---------------------------------------------------------------------------- the golden corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for rule in broken.CASES:
        (folder / rule).mkdir()
        broken.make(rule, folder / rule / "set")
    return folder


@pytest.fixture(scope="module")
def said_by_c(corpus: Path) -> dict[Path, tuple[str, set[tuple[str, str]]]]:
    return c_findings([corpus / rule / "set" for rule in broken.CASES])


def test_good_set(tmp_path: Path) -> None:
    """What the corpus is made from breaks nothing, on either side."""
    folder = bigsets.make_set(tmp_path / "set", 2, 4, 1)
    report = check(folder)
    assert report.findings.found == []
    assert c_findings([folder]) == {folder: ("", set())}


@pytest.mark.parametrize("rule", broken.CASES)
def test_golden(corpus: Path, said_by_c: dict[Path, Any], rule: str) -> None:
    """The rule is found, and what the C side finds is what the validator finds."""
    folder = corpus / rule / "set"
    rule = rule.strip()
    report = check(folder, **broken.OPTIONS.get(rule, {}))
    assert report.findings.has(rule), report.findings.found
    assert report.restorable == (RULES[rule].severity < Severity.ERROR) or len(report.rules()) > 1
    sentence, findings = said_by_c[folder]
    mine = {(f.rule_id, f.severity.name.lower()) for f in report.findings.found}
    stages = {RULES[r].stage for r, _ in mine if RULES[r].severity == Severity.ERROR}
    if sentence:
        assert Stage.LOAD in stages, sentence
        return
    assert Stage.LOAD not in stages, "the C side loads it"
    wanted = {Stage.WORLD, Stage.ROOM}
    if any(RULES[r].stage is Stage.WORLD for r, _ in findings):
        wanted = {Stage.WORLD}  # the rooms are not asked then
    assert {x for x in mine if RULES[x[0]].stage in wanted} == findings


def test_clean() -> None:
    """Sets of CRIU: nothing at all is wrong with them; the C side says the same."""
    folders = fixture_sets()
    if not folders:
        pytest.skip("there are no image sets")
    said = c_findings(folders)
    for folder in folders:
        assert check(folder).findings.found == [], folder
        assert said[folder] == ("", set())


# ------------------------------------------------------------------------------ single rules


def test_layers(tmp_path: Path) -> None:
    """A chain is a list of layers and one view; without its parent a set cannot be restored."""
    below = bigsets.make_set(tmp_path / "below", 1, 4, 1)
    above = bigsets.make_set(tmp_path / "above", 1, 4, 1)
    (above / "parent").symlink_to("../below")
    broken.edit("PAGEMAP", ROOT, lambda m: broken._set(m[2], flags=1))(above)
    os.truncate(above / "pages-1.img", 4096 * 2)
    assert check(above).findings.found == []
    with ImageSet(above) as images:
        chain = images.chain()
        parts = list(pages.resolve(pages.layers(chain, "PAGEMAP", ROOT)))
        assert [(p.layer, p.offset) for p in parts] == [(0, 0), (1, 4096), (0, 4096)]
        chain[1].close()
    (below / "inventory.img").unlink()
    assert check(above).rules() == {"image-missing"}
    shutil.rmtree(below)
    assert check(above).rules() == {"chain-link"}



def test_unknown_members(tmp_path: Path) -> None:
    folder = bigsets.make_set(tmp_path / "set")
    data = (folder / "fs-100.img").read_bytes()
    body = data[12:] + b"\xfa\x3e\x01x"
    (folder / "fs-100.img").write_bytes(data[:8] + len(body).to_bytes(4, "little") + body)
    report = check(folder)
    assert report.restorable and report.rules(Severity.NOTE) == {"image-unknown"}
    # a known member in a wrong encoding is no unknown member
    body = data[12:] + b"\x0d\0\0\0\0"
    (folder / "fs-100.img").write_bytes(data[:8] + len(body).to_bytes(4, "little") + body)
    assert check(folder).rules() == {"image-message"}
    assert c_findings([folder])[folder][0]


def test_switch_in_a_wrong_encoding(tmp_path: Path) -> None:
    """protobuf-c takes it, so a restore works; for the validator it is no damage either."""
    folder = bigsets.make_set(tmp_path / "set", 2, 4, 1)
    data = (folder / "inventory.img").read_bytes()
    for more in (b"\x72\0", b"\x75\0\0\0\0"):  # allow_uprobes
        body = data[8:] + more
        (folder / "inventory.img").write_bytes(data[:4] + len(body).to_bytes(4, "little") + body)
        assert check(folder).restorable
        assert c_findings([folder]) == {folder: ("", set())}


def test_position_of_a_device(tmp_path: Path) -> None:
    """Where a position means nothing any will do; of a file it has to be one."""
    for name, bad in (("/dev/null", set()), ("/some", {"file-position"})):
        folder = bigsets.make_set(tmp_path / name.replace("/", "-"), 2, 4, 1)
        broken.file(bigsets.reg(60, name, 0o20666))(folder)
        broken.edit("FILES", 0, lambda m: broken._set(m[-1].reg, pos=1 << 63))(folder)
        assert check(folder).rules() == bad


def test_needs(tmp_path: Path) -> None:
    folder = bigsets.make_set(tmp_path / "set")
    entry = bigsets.pb.inventory_entry
    with ImageSet(folder) as images:
        inventory = images.one(entry, "INVENTORY")
    for needs, rule in ((8, "set-needs"), (2, "set-encrypted")):
        inventory.img_version = 0x54520001
        inventory.torpor.needs, inventory.torpor.dump_id = needs, bytes(16)
        bigsets.put(folder, "INVENTORY", inventory)
        assert check(folder).rules() == {rule}


def test_memory_of_a_message(tmp_path: Path) -> None:
    folder = bigsets.make_set(tmp_path / "set")
    filters = bigsets.pb.seccomp_entry()
    for _ in range(400000):
        filters.seccomp_filters.add(filter=b"")
    bigsets.put(folder, "SECCOMP", filters)
    assert check(folder).rules() == {"image-memory"}


def entries(*rows: tuple[int, int, int, int]) -> list[Any]:
    return [
        bigsets.pb.pstree_entry(pid=pid, ppid=ppid, sid=sid, pgid=pgid, threads=[pid])
        for pid, ppid, sid, pgid in rows
    ]


@pytest.mark.parametrize(
    ("rows", "bad"),
    [
        ([(1, 0, 1, 1), (2, 1, 1, 1)], []),
        ([(1, 0, 1, 1), (2, 1, 2, 2), (3, 2, 1, 3)], []),  # 2 made its session after 3 was born
        ([(1, 0, 1, 1), (2, 1, 2, 2), (3, 1, 2, 2)], []),  # 3 was born to 2 and given away
        ([(1, 0, 1, 1), (2, 1, 9, 9), (3, 1, 9, 9)], []),  # the leader 9 is gone
        ([(1, 0, 1, 1), (2, 1, 3, 3), (3, 1, 1, 1)], [2]),  # 3 leads no session
        ([(1, 0, 1, 1), (2, 1, 2, 2), (3, 2, 3, 3), (4, 1, 3, 3)], []),
        ([(1, 0, 1, 1), (2, 1, 2, 2), (3, 1, 3, 3), (4, 2, 3, 3)], []),  # 3 bore 2, which bore 4
        ([(1, 0, 1, 1), (2, 1, 1, 2), (3, 1, 3, 3), (4, 2, 3, 3)], [4]),
    ],
)
def test_births(rows: list[tuple[int, int, int, int]], bad: list[int]) -> None:
    assert [e.pid for e, _ in Births(entries(*rows)).problems()] == bad


# -------------------------------------------------------------------------------------- target


def facts(**values: Any) -> Facts:
    """A computer on which the set of bigsets can be restored."""
    base: dict[str, Any] = {
        "arch": "x86_64",
        "kernel": "6.1",
        "cpu_flags": ["avx", "pku"],
        "pid_max": 32768,
        "hard_limits": [(1 << 64) - 1] * 16,
        "capabilities": {"permitted": -1 % (1 << 41), "inheritable": 0, "bounding": 0, "last": 40},
        "uid_map": [[0, 0, 4294967295]],
        "gid_map": [[0, 0, 4294967295]],
        "devices": ["lo"],
        "addresses": ["10.0.0.1"],
        "files": {
            "/bin/x": FileFacts(0o100755),
            "/": FileFacts(0o40755),
            "/dev/null": FileFacts(0o20666),
        },
        "features": {"ptrace_seize": True, "timerfd": True, "seccomp_filters": True},
        "memory": 1 << 40,
    }
    return Facts(**(base | values))


def without(path: str, **other: FileFacts) -> dict[str, FileFacts]:
    files = dict(facts().files)
    files[path] = other.get("other", FileFacts(error="No such file or directory"))
    return files


def sized(folder: Path) -> None:
    broken.edit("FILES", 0, lambda m: m[0].reg.build_id.append(1) or broken._set(m[0].reg, size=7))(
        folder
    )


def clamped(folder: Path) -> None:
    entry = bigsets.pb.torpor_task_entry(pid=ROOT)
    entry.threads.add(tid=ROOT, sched_util_min=5)
    bigsets.put(folder, "TORPOR_STATE", entry)


def huge_memfd(folder: Path) -> None:
    bigsets.put(folder, "MEMFD_INODE", bigsets.pb.memfd_inode_entry(
        name="x", uid=0, gid=0, size=0, seals=0, shmid=9, inode_id=70, hugetlb_flag=21 << 26))  # fmt: skip


TARGET: list[tuple[str, dict[str, Any], Any]] = [
        ("here-pid", {"taken": [101]}, None),
        ("here-pid", {"pid_max": 101}, None),
        ("here-file", {"files": without("/bin/x")}, None),
        ("here-file-type", {"files": without("/", other=FileFacts(0o100755))}, None),
        ("here-file-mode", {"files": without("/bin/x", other=FileFacts(0o100700))}, None),
        ("here-file-size", {"files": without("/bin/x", other=FileFacts(0o100755, 8))}, sized),
        ("here-file-time", {"files": without("/bin/x", other=FileFacts(0o100755, 7, "01000000", 9))},
         broken.both(sized, lambda f: broken.put(f, "TORPOR_FILES", bigsets.pb.torpor_file_entry(
             id=1, mtime_ns=8)))),
        ("ipc-taken", {"ipc": {"IPCNS_SEM": [[5, 8]]}}, broken.semaphores()),
        ("ipc-limit", {"ipc_limits": {"semmsl": 0}}, broken.semaphores()),
        ("ipc-limit", {"ipc_limits": {"msgmax": 1}}, broken.queue(1)),
        ("ipc-limit", {"ipc_limits": {"msgmnb": 99}, "capabilities": {}}, broken.queue(1)),
        ("file-external", {}, broken.file(broken.outside())),
        ("here-file-build", {"files": without("/bin/x", other=FileFacts(0o100755, 7, "02"))}, sized),
        ("here-arch", {"arch": "aarch64"}, None),
        ("here-kernel", {"features": {"timerfd": False}}, broken.timerfd()),
        ("here-kernel", {"features": {"clone3_set_tid": False}}, None),
        ("here-kernel", {"features": {"ipc_next_id": False}}, broken.semaphores()),
        ("here-kernel", {"features": {"memfd_hugetlb": False}}, huge_memfd),
        ("here-kernel", {"features": {"sched_util_clamp": False}}, clamped),
        ("here-device", {}, broken.sock_option(so_bound_dev="eth7")),
        ("here-address", {}, broken.file(broken.inet(src_addr=[0x0200000A]))),
        ("here-port", {"ports": [[17, 53]]}, broken.file(broken.inet())),
        ("here-space", {"memory": 1}, None),
        ("rlimits-raise", {"hard_limits": [5] * 16, "capabilities": {"permitted": 0, "last": 40,
          "inheritable": 0, "bounding": 0}}, None),
        ("fd-limit", {"hard_limits": [(1 << 64) - 1] * 7 + [0] + [(1 << 64) - 1] * 8,
          "capabilities": {"permitted": 0, "last": 40, "inheritable": 0, "bounding": 0}}, None),
        ("creds-give", {"capabilities": {"permitted": 0, "inheritable": 0, "bounding": 0, "last": 40}},
         broken.core(lambda m: m.thread_core.creds.cap_prm.__setitem__(0, 1))),
        ("creds-ids", {"uid_map": [[1, 1, 5]]}, None),
        ("creds-label", {"lsm": "lockdown,selinux"}, broken.inventory(lsmtype=2)),
        ("here-cpu", {"cpu_flags": ["fpu"]}, broken.core(lambda m: (
            m.thread_info.fpregs.xsave.ymmh_space.extend([7] * 64),
            broken._set(m.thread_info.fpregs.xsave, xstate_bv=7)))),
        ("file-flags", {}, broken.edit("FILES", 0, lambda m: broken._set(m[2].reg, flags=0o200000))),
        ("mount-external", {}, broken.mounts(mount(21, 1, "/"), mount(22, 21, "/a", ext_key="k"))),
        ("mount-point", {"files": without("/a")}, broken.mounts(mount(21, 1, "/"), mount(22, 21, "/a"))),
        ("cgroup-here", {"cgroups": ["0::/"]}, lambda f: broken.put(f, "CGROUP", bigsets.pb.cgroup_entry(
            controllers=[bigsets.pb.cg_controller_entry(
                cnames=["cpu"], dirs=[bigsets.pb.cgroup_dir_entry(dir_name="a")])]))),
]  # fmt: skip
TARGET_CASES = [pytest.param(*case, id=case[0]) for case in TARGET]


@pytest.mark.parametrize(("rule", "here", "change"), TARGET_CASES)
def test_target(tmp_path: Path, rule: str, here: dict[str, Any], change: Any) -> None:
    folder = bigsets.make_set(tmp_path / "set", 2, 4, 1)
    if change:
        change(folder)
    assert check(folder, facts(**here)).findings.has(rule)
    if change is None:
        assert check(folder, facts()).findings.found == []
    if "hard_limits" not in here and rule not in ("file-flags", "file-external"):
        assert not check(folder).findings.has(rule), "without a target nothing is said of one"


def told(folder: Path, gone: str) -> tuple[int, str]:
    """Task and way of the only finding on a computer that lacks a file."""
    with ImageSet(folder, GROWTH_STRICT) as images:
        report = validate(images, Options(), facts(files=without(gone)))
        (finding,) = report.findings.found
        return finding.task, report.way(finding)


def test_whose_file(tmp_path: Path) -> None:
    """A file that a task has by no descriptor is told with the task, too, and the way to it."""
    folder = bigsets.make_set(tmp_path / "set", 2, 4, 1)
    task, way = told(folder, "/bin/x")
    assert task == ROOT and " - runs -> file 1 REG '/bin/x'" in way
    task, way = told(folder, "/")
    assert task == ROOT and " - works in -> file " in way
    broken.file(bigsets.reg(60, "/gone", 0o100644), opened=False)(folder)
    mapped = area(0x800000, 2, 1, flags=2, status=0x41, shmid=60)
    broken.mm(lambda m: m.vmas.insert(1, mapped))(folder)
    task, way = told(folder, "/gone")
    assert task == broken.CHILD and " - maps -> file 60 REG '/gone'" in way


def test_features_of_the_kernel(tmp_path: Path) -> None:
    """Names of the one table; only what a set needs counts."""
    text = (SOURCE / "kernel/features.def").read_text()
    table = re.findall(r'FEATURE\(\w+, "([\w-]+)",[^,]+,\s*(\w+)', text)
    category = dict(table)
    assert len(table) > 60 and {category[name] for name in features.ALWAYS} == {"NEEDED"}
    assert set(features.SOMETIMES) - {facts_module.CLAMPS} <= {n for n, c in table if c != "NEEDED"}
    folder = bigsets.make_set(tmp_path / "set", 2, 4, 1)
    none = dict.fromkeys(features.SOMETIMES, False)
    assert check(folder, facts(features=none)).findings.found == []
    assert check(folder, facts(features=none), lazy_pages=True).findings.has("here-kernel")


def test_facts_of_this_computer(tmp_path: Path) -> None:
    """They survive their JSON form, know this process, and find what is not there."""
    folder = bigsets.make_set(tmp_path / "set")
    here = collect(["/bin/sh", "/nowhere"])
    again = load(here.to_json())
    assert again.files["/nowhere"].error and again.files["/bin/sh"].build_id
    assert again.taken == here.taken and 1 in again.taken
    assert not again.live and again.file("/etc/passwd") is None
    assert check(folder, here).findings.has("here-file")
    with pytest.raises(ValueError, match="version 1"):
        load("{}")


def test_numbers_of_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that has just ended keeps its number for a moment, for which a restore waits."""
    dead = [subprocess.Popen(["true"]) for _ in range(2)]
    for p in dead:
        os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
    soon, late = (p.pid for p in dead)
    here = collect()
    assert {soon, late} <= set(here.taken)
    monkeypatch.setattr(facts_module, "REAP_SECONDS", 60.0)
    reaper = threading.Timer(0.2, dead[0].wait)
    reaper.start()
    assert here.taken_of([soon]) == {}
    monkeypatch.setattr(facts_module, "REAP_SECONDS", 0.1)
    said = here.taken_of([soon, late, os.getpid()])
    assert set(said) == {late, os.getpid()}
    assert "has ended" in said[late] and said[os.getpid()] == "another process"
    reaper.join()
    dead[1].wait()


def test_build_ids(tmp_path: Path) -> None:
    """As readelf has them; what is no program has none, however broken it is."""
    path = Path("/bin/true")
    with path.open("rb") as file:
        mine = buildid.read(file.fileno()).hex()
    out = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    assert f"Build ID: {mine}" in out
    data = path.read_bytes()[:4096]
    for at in range(0, 700, 3):
        (tmp_path / "x").write_bytes(data[:at] + b"\xff" * 8 + data[at + 8 :])
        with (tmp_path / "x").open("rb") as file:
            assert len(buildid.read(file.fileno())) <= 64


# ------------------------------------------------------------------------------ command line


def torpor(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [BUILD / "torpor", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def unread(folder: Path, out: int) -> tuple[int, str]:
    """Exit status of a verdict that cannot be written, which is no verdict, and why."""
    words = [BUILD / "torpor", "validate", folder]
    with open(out, "wb") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.PIPE, timeout=300, check=False)
    return done.returncode, done.stderr.decode().strip().removeprefix("torpor validate: ")


def test_exit_statuses(tmp_path: Path) -> None:
    good = bigsets.make_set(tmp_path / "good", 2, 4, 1)
    bad = broken.make("fd-twice", tmp_path / "bad")
    warned = broken.make("pages-rest", tmp_path / "warned")
    assert torpor("validate", good)[0] == 0
    assert torpor("validate", good, "--strict")[0] == 0
    assert torpor("validate", bad)[0] == 1
    assert torpor("validate", warned)[0] == 0
    assert torpor("validate", warned, "--strict")[0] == 3
    for words in (
        [], [tmp_path / "gone"], [good, "--targit"], [good, "--target", "/nowhere"],
        [good, "--inherit-fd", "pipe[3]"],
    ):  # fmt: skip
        assert torpor("validate", *words)[0] == 2, words
    for folder in (good, bad):
        assert unread(folder, os.open("/dev/full", os.O_WRONLY)) == (2, "No space left on device")
        read_end, write_end = os.pipe()
        os.close(read_end)
        assert unread(folder, write_end) == (2, "")
    module = subprocess.run(
        ["/usr/bin/python3", "-m", "torpor.validate", str(bad)], env={"PYTHONPATH": str(PACKAGE)},
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert module.returncode == 1 and b"fd-twice" in module.stdout
    (tmp_path / "empty").mkdir()
    status, text = torpor("validate", tmp_path / "empty")
    assert status == 1 and "inventory.img" in text


def test_text(tmp_path: Path) -> None:
    """Grouped by task, with the way to the object, and hints on demand."""
    folder = make_zoo(tmp_path / "zoo")
    status, text = torpor("validate", folder)
    assert status == 1
    lines = text.splitlines()
    assert lines.index("Task 100 'x'") < lines.index("Task 101 'child'")
    assert "descriptor 13 of table 2 - refers -> file 17 UNIXSK" in text
    assert lines[-1].startswith("This set cannot be restored: ")
    assert "what to do:" not in text
    assert (
        "what to do: restore with --file-locks" in torpor("validate", folder, "--repair-hints")[1]
    )


def test_json(tmp_path: Path) -> None:
    """The documented members, all of them, of the documented types."""
    folder = make_zoo(tmp_path / "zoo")
    status, text = torpor("validate", folder, "--json")
    data = json.loads(text)
    assert status == 1 and data["restorable"] is False and data["version"] == 1
    assert set(data) == {
        "version", "directory", "target", "restorable", "seconds", "counts", "left_out", "findings",
    }  # fmt: skip
    assert data["counts"]["error"] == len(data["findings"])
    for f in data["findings"]:
        assert set(f) == {
            "rule", "severity", "stage", "area", "text", "task", "image", "object", "path", "why",
            "repair",
        }  # fmt: skip
    howto = (SOURCE / "docs/HOWTO-validate.md").read_text()
    for name in [*data, *data["findings"][0]]:
        assert f"`{name}`" in howto, f"{name} is not documented"
    rules = json.loads(torpor("validate", "--list-rules")[1])["rules"]
    assert {r["id"] for r in rules} == set(RULES)


def test_sarif(tmp_path: Path) -> None:
    folder = make_zoo(tmp_path / "zoo")
    status, text = torpor("validate", folder, "--sarif")
    data = json.loads(text)
    assert status == 1 and data["version"] == "2.1.0"
    (run,) = data["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({r["id"] for r in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note") and result["message"]["text"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    with ImageSet(folder) as images:
        report = validate(images)
        assert to_sarif(report)["runs"][0]["results"] == run["results"]
        assert len(to_json(report)["findings"]) == len(run["results"])


def test_facts_command(tmp_path: Path) -> None:
    folder = bigsets.make_set(tmp_path / "set")
    status, text = torpor("facts", folder)
    data = json.loads(text)
    assert status == 0 and "/bin/x" in data["files"] and data["features"]["ptrace_seize"] is True
    (tmp_path / "facts.json").write_text(text)
    status, text = torpor("validate", folder, "--target", tmp_path / "facts.json")
    assert status == 1 and "'/bin/x': No such file or directory" in text
    assert torpor("validate", folder, "--target", "here")[0] == 1


@pytest.mark.parametrize(
    "values",
    [
        {"version": 2},
        {"taken": ["x"]},
        {"pid_max": "many"},
        {"pid_max": True},
        {"memory": float("nan")},
        {"features": {"timerfd": 1}},
        {"files": []},
        {"files": {"/x": 5}},
        {"files": {"/x": {"mode": "x"}}},
        {"files": {"/x": {"mode": -1}}},
        {"files": {"/x": {"mode": 1 << 40}}},
        {"files": {"/x": {"build_id": "xyz"}}},
        {"hard_limits": [1]},
        {"addresses": ["nowhere"]},
        {"uid_map": [[0, 0]]},
        {"ports": [[1]]},
        {"ipc": {"IPCNS_SEM": [[1, 2, 3]]}},
    ],
)
def test_bad_facts(values: dict[str, Any]) -> None:
    """Facts of another form are refused at once, whatever the set needs of them."""
    good = json.loads(facts().to_json())
    load(json.dumps(good))
    with pytest.raises(ValueError, match="."):
        load(json.dumps(good | values))


def test_facts_out_of_proportion(tmp_path: Path) -> None:
    for text in ("[" * 100000, '{"a":' * 100000, "", "5"):
        (tmp_path / "facts").write_text(text)
        with pytest.raises(ValueError, match="."):
            read(tmp_path / "facts")
    with (tmp_path / "facts").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="MiB"):
        read(tmp_path / "facts")
    assert read_text(tmp_path, facts().to_json() + " \n") == facts()


def read_text(folder: Path, text: str) -> Facts:
    (folder / "facts").write_text(text)
    return read(folder / "facts")


def test_facts_of_a_forgetful_computer(tmp_path: Path) -> None:
    """What is not known is not judged, and the verdict still has a name for it."""
    report = check(bigsets.make_set(tmp_path / "set", 2, 4, 1), load('{"version": 1}'))
    assert report.restorable and report.target == "that computer"


# ------------------------------------------------------------------------------- live dumps


def live(box: Box, name: str) -> None:
    s = Subject(box, name)
    s.start()
    s.dump()
    with ImageSet(s.images) as images:
        here = collect()
        report = validate(images, target=here)
    if report.findings.found:
        raise Failed(f"a clean dump has findings: {report.findings.found}")
    said = c_findings([s.images])[s.images]
    if said != ("", set()):
        raise Failed(f"the C side says {said}")
    s.restore()
    s.finish()


@pytest.mark.parametrize(
    "name", ["epolls", "netlinks", "pidfds", "ptys", "unix_named", "unix_pairs", "watches"]
)
def test_live(boxed: Callable[..., Any], name: str) -> None:
    """Kinds the harness does not mutate; clean dumps of the others are part of it."""
    if not (BUILD / "tests/live" / name).exists():
        pytest.skip(f"there is no subject {name}")
    boxed(live, net=name in NET, name=name)


def test_fixtures_folder() -> None:
    assert not FIXTURES.exists() or shutil.which("cp")
