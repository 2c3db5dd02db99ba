# SPDX-License-Identifier: MIT
"""Adds to the package what comes from the tables of the C side (tools/make-python.py).

In a source distribution that is already there; in the source tree it needs protoc.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
MAKER = HERE.parent / "tools/make-python.py"


def generate(package: Path) -> None:
    """Writes the generated modules into a copy of the package."""
    if MAKER.exists():
        subprocess.run([sys.executable, str(MAKER), str(HERE.parent), str(package)], check=True)


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        generate(Path(self.build_lib) / "torpor")


class SDist(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        generate(Path(base_dir) / "torpor")


setup(cmdclass={"build_py": BuildPy, "sdist": SDist})
