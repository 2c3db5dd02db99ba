# SPDX-License-Identifier: MIT
"""python3 -m torpor.validate DIR ..."""

import sys

from torpor.cli import main

sys.exit(main(["validate", *sys.argv[1:]]))
