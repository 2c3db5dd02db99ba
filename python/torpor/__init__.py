# SPDX-License-Identifier: MIT
"""What checkpoints of process trees hold, and whether they can be restored.

`torpor.images` reads and writes the image files of CRIU and torpor, `torpor.resgraph` is a whole
image set as one graph, `torpor.validate` tells whether a set can be restored and why not.
"""

__version__ = "0.1.0"
