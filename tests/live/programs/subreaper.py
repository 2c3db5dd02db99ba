# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a program and is the parent of whatever that leaves behind: PR_SET_CHILD_SUBREAPER."""

import ctypes
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36

if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0:
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
sys.exit(subprocess.call(sys.argv[1:]))
