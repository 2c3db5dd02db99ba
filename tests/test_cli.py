# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line as people and programs see it, and the shape of the source."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from box import BUILD, SOURCE

NOBODY = "2000000000"


def run(program: Path | str, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CRIU")}
    return subprocess.run(
        [program, *words], capture_output=True, text=True, check=False, timeout=300,
        env=environment, **more,  # type: ignore[call-overload]
    )


@pytest.fixture
def criu(torpor: Path, tmp_path: Path) -> Path:
    """torpor under its other name."""
    link = tmp_path / "criu"
    link.symlink_to(torpor)
    return link


def test_layers() -> None:
    done = run(sys.executable, str(SOURCE / "tools/check-layers.py"))
    print(done.stdout)
    assert done.returncode == 0, done.stdout


def test_versions(torpor: Path, criu: Path) -> None:
    assert re.fullmatch(r"torpor \d+\.\d+\.\d+\n", run(torpor, "--version").stdout)
    assert run(torpor, "version").stdout == run(torpor, "-V").stdout
    assert run(criu, "-V").stdout == "Version: 4.2\n"
    assert json.loads(run(torpor, "version", "--json").stdout)["criu"] == "4.2"


def test_usage(torpor: Path, criu: Path) -> None:
    for program in (torpor, criu):
        assert run(program).returncode == 1
        assert "Usage:" in run(program).stdout
        assert run(program, "-h").returncode == 0
        assert run(program, "dump").returncode == 1
        assert run(program, "frob").returncode == 1
        assert run(program, "exec").returncode == 255
    assert run(criu, "show").returncode == 255
    assert "--images-dir" in run(torpor, "dump", "--imagesdir", "x").stderr


def test_help_and_manual_name_every_option(torpor: Path) -> None:
    table = (SOURCE / "options/options.def").read_text()
    names = set(re.findall(r'^OPT_(?!GROUP|ALIAS)\w+\(\w+, "([^"]+)"', table, re.M)) - {"ms"}
    assert len(names) > 80
    text = run(torpor, "--help").stdout
    manual = (BUILD / "docs/torpor.1").read_text().replace("\\-", "-").replace("[no-]", "")
    for name in names:
        assert re.search(rf"--(\[no-\])?{name}\b", text), name
        assert f"--{name}" in manual, name


@pytest.mark.parametrize(
    "words",
    [
        ["dump", "-t", NOBODY],
        ["dump", "-t", NOBODY, "--action-script", "x"],
        ["dump", "-t", "zero"],
        ["restore"],
        ["restore", "--bogus"],
        ["show"],
        ["plan"],
    ],
)
def test_failures_leave_a_log(torpor: Path, tmp_path: Path, words: list[str]) -> None:
    done = run(torpor, *words, "-D", str(tmp_path), "-o", "x.log", "--json")
    assert done.returncode == 1
    log = tmp_path / "x.log"
    assert log.stat().st_mode & 0o777 == 0o600
    error = json.loads(done.stdout)["error"]
    assert re.search(r"Error \([a-z]+/[\w/]+\.c:\d+\): " + re.escape(error["text"]), log.read_text())
    assert error["text"] in done.stderr


def test_refusals_name_the_option(torpor: Path) -> None:
    done = run(torpor, "dump", "-t", NOBODY, "--action-script", "x")
    assert "option --action-script is not supported by this version of torpor" in done.stderr
    done = run(torpor, "service")
    assert "command 'service' is not supported" in done.stderr


THREAD = """
import threading, time
worker = threading.Thread(target=time.sleep, args=(1000,), daemon=True)
worker.start()
print(worker.native_id, flush=True)
time.sleep(1000)
"""


def test_number_of_a_thread(torpor: Path, tmp_path: Path) -> None:
    """Not a process, though /proc has a folder for it: it is told which process it is of."""
    words = [sys.executable, "-c", THREAD]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            thread = process.stdout.readline().strip()
            done = run(torpor, "dump", "-t", thread, "-D", str(tmp_path))
        finally:
            process.kill()
    assert done.returncode == 1
    assert f"{thread} is a thread of process {process.pid}: -t {process.pid}" in done.stderr


def test_thread_of_the_kernel(torpor: Path, tmp_path: Path) -> None:
    name = Path("/proc/2/comm")
    if not name.exists() or name.read_text() != "kthreadd\n":
        pytest.skip("threads of the kernel are not seen here")
    done = run(torpor, "dump", "-t", "2", "-D", str(tmp_path))
    assert done.returncode == 1 and "task 2 is a thread of the kernel" in done.stderr


def test_leftovers_of_a_relative_directory(torpor: Path, tmp_path: Path) -> None:
    """All directories are relative to where it is called, also beside -D and -W."""
    (tmp_path / "images").mkdir()
    (tmp_path / "more").mkdir()
    words = ("leftovers", "-D", "images", "more", "-o", "x.log")
    done = run(torpor, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "images/x.log").exists()
    done = run(torpor, "leftovers", "-D", "nowhere", cwd=tmp_path)
    assert done.returncode == 1 and "the images directory 'nowhere'" in done.stderr


def test_directory_without_images_is_named(torpor: Path, tmp_path: Path) -> None:
    for words in (["restore"], ["dedup"], ["lazy-pages"], ["show"], ["plan"]):
        done = run(torpor, *words, cwd=tmp_path)
        assert done.returncode == 1
        assert f"no inventory.img in '{tmp_path}'" in done.stderr
    done = run(torpor, "graph", str(tmp_path))
    assert done.returncode == 2 and f"'{tmp_path}' holds no images" in done.stderr


def test_advice_to_run_as_root(torpor: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    sleeper = subprocess.Popen(["sleep", "1000"])
    # where nobody can get to it
    folder = Path(tempfile.mkdtemp(prefix="torpor-test-"))
    try:
        folder.chmod(0o755)
        done = run(
            shutil.copy(torpor, folder), "dump", "-t", str(sleeper.pid), "--no-default-config",
            user=65534, group=65534, extra_groups=[], cwd=folder,
        )  # fmt: skip
        assert done.returncode == 1
        assert "run as root" in done.stderr.splitlines()[-1]
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
        shutil.rmtree(folder)


def test_configuration_of_another_user(torpor: Path, tmp_path: Path) -> None:
    """HOME of whoever called sudo -u: its file is not for this user, which is no failure."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = Path(tempfile.mkdtemp(prefix="torpor-test-"))
    try:
        folder.chmod(0o755)
        program = shutil.copy(torpor, folder)
        (folder / ".criu").mkdir(mode=0o700)
        done = subprocess.run(
            [program, "version"], capture_output=True, text=True, check=False, timeout=60,
            env={"HOME": str(folder)}, user=65534, group=65534, extra_groups=[], cwd=folder,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.startswith("torpor ")
        assert "cannot be read by this user" in done.stderr
    finally:
        shutil.rmtree(folder)


def test_missing_rights_of_root(torpor: Path, tmp_path: Path) -> None:
    """As in a container: the sentence is followed by what root lacks."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        try:
            words = ("--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", str(torpor))
            done = run("setpriv", *words, "dump", "-t", str(sleeper.pid), "-D", str(tmp_path))
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert f"task {sleeper.pid}" in lines[0]
    assert re.fullmatch(r"You are root, but without .*CAP_SYS_PTRACE.*\.", lines[-1])


def test_python_commands_name_what_is_wrong(torpor: Path, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        done = run(torpor, *words, stdin=subprocess.DEVNULL)
        assert done.returncode in (1, 2)
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "'standard input'" in said("decode")
    assert "standard input is not JSON" in said("encode")
    assert "'/nowhere': No such file or directory" in said("diff", str(tmp_path), "/nowhere")


def test_work_directory(torpor: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done = run(torpor, "dump", "-t", NOBODY, "-D", "/nonexistent", "-W", str(work), "-o", "x.log")
    assert done.returncode == 1
    assert "/nonexistent" in (work / "x.log").read_text()


def test_check(torpor: Path, criu: Path) -> None:
    report = json.loads(run(torpor, "check", "--all", "--json").stdout)
    has = {f["name"]: f["has"] for f in report["features"]}
    needed = [f["name"] for f in report["features"] if f["category"] == "needed"]
    good = all(has[name] for name in needed)
    for program in (torpor, criu):
        assert run(program, "check").returncode == (0 if good else 1)
    assert run(criu, "check").stdout == ("Looks good.\n" if good else "Does not look good.\n")
    if good and not all(has.values()):
        assert run(criu, "check", "--all").stdout.startswith("Looks good but some kernel features")
        assert run(criu, "check", "--all").returncode == 1
    for name in ("timens", "mem_dirty_track"):
        done = run(criu, "check", "--feature", name)
        assert done.returncode == (0 if has[name] else 1)
        assert (done.stdout == f"{name} is supported\n") == has[name]
    done = run(criu, "check", "--feature", "list")
    assert done.returncode == 1
    assert "Unknown feature list" in done.stderr


def test_check_knows_the_features_of_criu(torpor: Path) -> None:
    report = json.loads(run(torpor, "check", "--all", "--json").stdout)
    names = {f["name"] for f in report["features"]}
    asked = """mnt_id mem_dirty_track aio_remap timerfd tun tun_ns userns fdinfo_lock
        seccomp_suspend seccomp_filters loginuid cgroupns autofs tcp_half_closed compat_cr uffd
        uffd-noncoop can_map_vdso sk_ns sk_unix_file net_diag_raw nsid link_nsid kcmp_epoll timens
        external_net_ns clone3_set_tid newifindex nftables has_ipt_legacy pidfd_store ns_pid
        apparmor_stacking network_lock_nftables sockopt_buf_lock memfd_hugetlb
        move_mount_set_group openat2 get_rseq_conf ipv6_freebind pagemap_scan overlayfs_maps
        timer_cr_ids breakpoints pagemap_scan_guard_pages"""
    assert set(asked.split()) <= names


def test_closed_standard_output(torpor: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([torpor, "--help"], stdout=full, check=False, timeout=300)
    assert done.returncode == 1
