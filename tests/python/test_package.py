# SPDX-License-Identifier: GPL-2.0-or-later
"""The package as others get it: types, pip, make install, licences."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from box import BUILD, SOURCE
from conftest import PACKAGE

PYTHON = SOURCE / "python"
# what the package is built from
SOURCES = ("python", "image", "include", "kinds", "model", "proto", "tools")


def run(*words: str | Path, **how: object) -> str:
    done = subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, timeout=300, check=False, **how
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return str(done.stdout)


def test_types() -> None:
    """mypy --strict finds nothing, and sees the members of messages."""
    if not shutil.which("mypy"):
        pytest.skip("mypy is not installed")
    config = ["--config-file", PYTHON / "pyproject.toml", "--cache-dir", BUILD / "mypy"]
    run("/usr/bin/mypy", *config, "-p", "torpor", cwd=PACKAGE)


def test_wrong_types(tmp_path: Path) -> None:
    """The stubs are more than Any: a misspelt member is an error."""
    if not shutil.which("mypy"):
        pytest.skip("mypy is not installed")
    (tmp_path / "x.py").write_text(
        "from torpor.images import messages as pb\n"
        "def f(e: pb.pstree_entry) -> str:\n    e.pidd\n    return e.pid\n"
    )
    done = subprocess.run(
        ["/usr/bin/mypy", "--strict", "--cache-dir", str(BUILD / "mypy-x"), "x.py"],
        capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300,
        env=os.environ | {"MYPYPATH": str(PACKAGE)},
    )  # fmt: skip
    assert 'no attribute "pidd"' in done.stdout and "Found 2 errors" in done.stdout, done.stdout


def test_ruff() -> None:
    if not shutil.which("ruff"):
        pytest.skip("ruff is not installed")
    run("ruff", "check", "--config", PYTHON / "pyproject.toml", PYTHON / "torpor")


def called(node: ast.AST) -> str:
    """Name of a function that is called, or ''."""
    plain = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return node.func.id if plain else ""  # type: ignore[attr-defined]


def test_style() -> None:
    """Every file has its licence and its docstring; no library code prints; no long lines."""
    for path in sorted((PYTHON / "torpor").rglob("*.py")):
        text = path.read_text()
        assert text.startswith("# SPDX-License-Identifier: MIT\n"), path
        assert re.match(r'# [^\n]*\n"""', text), f"{path} has no docstring"
        names = set(filter(None, map(called, ast.walk(ast.parse(text)))))
        assert "cli" in path.parts or "print" not in names, f"{path} prints"
        assert len(text.splitlines()) <= 1000, path
        for i, line in enumerate(text.splitlines(), 1):
            assert len(line) <= 100, f"{path}:{i}"


def test_pip(tmp_path: Path) -> None:
    """A wheel and an installed package, without a network, from a copy of the tree."""
    if "pip" not in run(
        "/usr/bin/python3", "-c", "import importlib.util as u; print(u.find_spec('pip'))"
    ):
        pytest.skip("pip is not installed")
    tree = tmp_path / "tree"
    for name in SOURCES:
        shutil.copytree(
            SOURCE / name, tree / name, ignore=shutil.ignore_patterns("build", "*.egg-info")
        )
    options = ["--no-build-isolation", "--no-index", "--no-deps", "-q"]
    env = os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}
    run("/usr/bin/python3", "-m", "pip", "install", *options, "--target", tmp_path / "to",
        tree / "python", env=env)  # fmt: skip
    # not what Python keeps for itself, which other tests may be writing just now
    parts = (p.relative_to(PACKAGE) for p in PACKAGE.rglob("*"))
    built = {p for p in parts if p.suffix and "__pycache__" not in p.parts}
    there = {p.relative_to(tmp_path / "to") for p in (tmp_path / "to/torpor").rglob("*")}
    assert built <= there, built - there
    code = "import torpor.images as i; print(len(i.KINDS), i.__file__)"
    out = run(sys.executable, "-P", "-c", code, env={"PYTHONPATH": str(tmp_path / "to")})
    assert str(tmp_path / "to") in out


def test_sdist(tmp_path: Path) -> None:
    """A source distribution has what is generated: it builds without the rest of the tree."""
    tree = tmp_path / "tree"
    for name in SOURCES:
        shutil.copytree(
            SOURCE / name, tree / name, ignore=shutil.ignore_patterns("build", "*.egg-info")
        )
    run("/usr/bin/python3", "setup.py", "-q", "sdist", "-d", tmp_path / "dist", cwd=tree / "python")
    (packed,) = (tmp_path / "dist").glob("*.tar.gz")
    run("tar", "-xf", packed, "-C", tmp_path)
    (source,) = tmp_path.glob("torpor-*")
    run("/usr/bin/python3", "setup.py", "-q", "build", cwd=source)
    for name in ("messages.py", "messages.pyi", "messages.bin", "tables.py"):
        assert (source / "build/lib/torpor/images" / name).read_bytes() == (
            PACKAGE / "torpor/images" / name
        ).read_bytes()


def test_install(tmp_path: Path) -> None:
    """make install: the program finds its package there, and Python finds it, too."""
    run(
        "meson",
        "install",
        "-C",
        BUILD,
        "--no-rebuild",
        "--quiet",
        env=os.environ | {"DESTDIR": str(tmp_path)},
    )
    (program,) = tmp_path.rglob("bin/torpor")
    (package,) = tmp_path.rglob("dist-packages/torpor")
    assert "usage: torpor decode" in run(program, "decode", "--help", env={"PATH": "/usr/bin"})
    inside = "/" + str(package.parent.relative_to(tmp_path))
    out = run("/usr/bin/python3", "-c", "import sys; print(sys.path)", cwd="/", env={})
    if program == tmp_path / "usr/local/bin/torpor":
        assert repr(inside) in out


def test_hidden_modules(tmp_path: Path) -> None:
    """A folder that holds a package `torpor` or a module `json` cannot take the place of ours."""
    for name in ("torpor", "json", "argparse"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')\n")
    out = run(BUILD / "torpor", "decode", "--help", cwd=tmp_path)
    assert "usage: torpor decode" in out
