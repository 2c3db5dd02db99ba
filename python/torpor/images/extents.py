# SPDX-License-Identifier: MIT
"""Extents: the parts of a pages file that went through page filters, each by itself.

After docs/FORMAT-filters.md, section 2. Sizes count in bytes, `pages` in pages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, cast

from torpor.images import messages as pb
from torpor.images.limits import PAGE
from torpor.images.pages import PRESENT, run_flags, run_pages
from torpor.images.reader import Image

TASK, SHARED = 1, 2  # whose pages they are


class Extent(NamedTuple):
    """Pages that were encoded together."""

    number: int  # of all of the pagemap, from 0
    address: int  # of its first page
    pages: int
    start: int  # in what the pages file would be without filters
    at: int  # in the pages file
    size: int
    filters: int  # bits of those that were applied

    @property
    def end(self) -> int:
        """Where it ends in what the pages file would be without filters."""
        return self.start + self.pages * PAGE


def extents(image: Image) -> Iterator[Extent]:
    """Those of a pagemap of which PageMap finds no problem."""
    n = start = at = stored = 0
    for entry in image.each(pb.pagemap_entry, skip=1):
        begin = stored
        if run_flags(entry) & PRESENT:
            stored += run_pages(entry) * PAGE
        columns = zip(entry.extent_pages, entry.extent_bytes, entry.extent_filters)
        for pages, size, filters in columns:
            yield Extent(n, entry.vaddr + start - begin, pages, start, at, size, filters)
            n, start, at = n + 1, start + pages * PAGE, at + size


class Owner(NamedTuple):
    """Whose extents those of a pagemap are."""

    dump_id: bytes
    generation: int
    kind: int  # TASK, SHARED
    number: int  # pid, number of shared memory
    extent_object: int

    def serial(self, x: Extent) -> int:
        """Number of an extent, unique within the dump."""
        return (self.extent_object << 32) + x.number

    def identity(self, x: Extent, place: int) -> bytes:
        """What the filter at a place of the chain knows an extent by."""
        below = x.filters & ((1 << place) - 1)
        return struct.pack(
            "<16s3Q4I", self.dump_id, self.number, x.address, self.serial(x), self.kind,
            self.generation, x.pages * PAGE, below,
        )  # fmt: skip


def head_of(image: Image) -> pb.pagemap_head:
    """The first entry of a pagemap that has one."""
    return cast(pb.pagemap_head, image[0].message)
