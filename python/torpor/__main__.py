# SPDX-License-Identifier: MIT
"""python3 -m torpor"""

import sys

from torpor.cli import main

sys.exit(main())
