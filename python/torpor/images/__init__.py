# SPDX-License-Identifier: MIT
"""Image files of CRIU and torpor: typed, lazy, memory-mapped, strict.

    from torpor.images import ImageSet

    with ImageSet("dump") as images:
        for entry in images.open("PSTREE"):
            print(entry.message.pid)

`messages` has a class for every message and enumeration, `kinds` the table of image files. What an
image says is not believed: sizes are compared with the bytes that are there before anything is
allocated, and everything wrong is an `ImageError` that names file and byte.
"""

from torpor.images.errors import ImageError
from torpor.images.imageset import Found, ImageSet
from torpor.images.kinds import BY_ID, KINDS, Kind, Trait, file_name, parse_name
from torpor.images.pages import Layer, PageMap, Run, Segment
from torpor.images.reader import Entry, Image
from torpor.images.writer import ImageWriter, pack_image

__all__ = [
    "BY_ID",
    "KINDS",
    "Entry",
    "Found",
    "Image",
    "ImageError",
    "ImageSet",
    "ImageWriter",
    "Kind",
    "Layer",
    "PageMap",
    "Run",
    "Segment",
    "Trait",
    "file_name",
    "pack_image",
    "parse_name",
]
