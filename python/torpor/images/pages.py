# SPDX-License-Identifier: MIT
"""Memory content: which pages a set holds, and which set of a chain holds which page.

A pagemap is kept as columns of numbers, so a million runs take some tens of megabytes. Addresses
and sizes count in bytes, `pages` in pages of 4096 bytes.
"""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple, cast

from torpor.images import messages as pb
from torpor.images.errors import ImageError
from torpor.images.imageset import ImageSet
from torpor.images.limits import PAGE
from torpor.images.reader import Image
from torpor.images.tables import EXPANSION_MAX, EXTENT_MAX


# A filter may make an extent longer; so many filters there can be (pages/filter.h).
FILTERS_MAX = 16


class Flag(enum.IntFlag):
    """Where the pages of a run are."""

    PARENT = 1  # in the set this one builds on
    LAZY = 2  # may come later, when they are touched
    PRESENT = 4  # in the pages file of this set


# Runs are many and small: the offset of one in so many is kept, a power of two.
STEP = 64
PARENT, LAZY, PRESENT = int(Flag.PARENT), int(Flag.LAZY), int(Flag.PRESENT)  # faster than flags


class Run(NamedTuple):
    """Consecutive pages with one fate."""

    address: int
    pages: int
    flags: int
    offset: int  # of its first byte in the pages file; meaningful if PRESENT

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.pages * PAGE


class Segment(NamedTuple):
    """A part of a run after looking through the chain."""

    address: int
    pages: int
    layer: int | None  # index in the chain, newest first; None: nowhere
    offset: int  # in that layer's pages file
    lazy: bool  # nowhere because it is to be fetched when touched

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.pages * PAGE


def run_pages(entry: pb.pagemap_entry) -> int:
    """Pages of a run; releases before 4.2 know only the first field."""
    return entry.nr_pages if entry.HasField("nr_pages") else entry.compat_nr_pages


def run_flags(entry: pb.pagemap_entry) -> int:
    """Flags of a run, with those that are only implied."""
    flags = entry.flags
    if entry.in_parent:
        flags |= Flag.PARENT
    return flags or int(Flag.PRESENT)


class PageMap:
    """The runs of one address space or shared object, in the order of the file."""

    def __init__(self, image: Image) -> None:
        """Reads the image to its end; it may be closed afterwards."""
        self.name = image.name
        self.layout = image.layout
        self.pages_id = 0
        self.stored = 0
        """Bytes all present runs take in the pages file, holes included."""
        self.filtered = False
        """Whether the pages file holds extents that only torpor can decode; then the offsets of
        runs count what the file would be without filters."""
        self.ordered = True
        """Whether the runs ascend and do not overlap."""
        self.flags = 0
        """All flags any run has."""
        self.needs_parent = False
        """Whether a run has its pages in the set this one builds on and nowhere else."""
        self.filters = 0
        """Bits of all page filters that were applied to any extent, by their place."""
        self.extent_problems: list[str] = []
        """What is wrong with the extents of filtered pages."""
        self._covered = 0
        self._address = array("Q")
        self._pages = array("Q")
        self._flags = array("I")
        self._offset = array("Q")  # of every STEPth run
        head = next(iter(image), None)
        self.headed = head is not None
        """Whether there is a first entry, which names the pages file; very old images have none."""
        if head:
            message = cast(pb.pagemap_head, head.message)
            self.pages_id = message.pages_id
            self.filtered = message.HasField("extent_object")
            self._read(image)

    def _read(self, image: Image) -> None:
        add_address, add_pages = self._address.append, self._pages.append
        add_flags, add_offset = self._flags.append, self._offset.append
        end = stored = extents = 0
        present, parent = PRESENT, PARENT
        for n, entry in enumerate(image.each(pb.pagemap_entry, skip=1)):
            address, flags = entry.vaddr, entry.flags
            # run_pages() and run_flags(), written out: there may be millions
            pages = entry.nr_pages if entry.HasField("nr_pages") else entry.compat_nr_pages
            if entry.in_parent:
                flags |= parent
            flags = flags or present
            add_address(address)
            add_pages(pages)
            add_flags(flags)
            if not n % STEP:
                add_offset(stored)
            self.flags |= flags
            if flags & (parent | present) == parent:
                self.needs_parent = True
            if address < end:
                self.ordered = False
            end = address + pages * PAGE
            if end >= 1 << 64:
                text = f"a run of {pages} pages at 0x{address:x} leaves the address space"
                raise ImageError(self.name, text, None, "pagemap-range")
            if flags & present:
                stored += pages * PAGE
            if self.filtered or entry.extent_pages:
                extents += self._extents(entry, stored)
        self.stored = extents if self.filtered else stored
        if self.filtered and self._covered != stored:
            self.extent_problems.append(
                f"its extents have {self._covered} bytes of pages, its entries {stored}"
            )

    def _extents(self, entry: pb.pagemap_entry, stored: int) -> int:
        """Verifies the extents of a run; returns the bytes they take in the pages file."""
        where = f"the entry at 0x{entry.vaddr:x}"
        numbers = len(entry.extent_pages), len(entry.extent_bytes), len(entry.extent_filters)
        if len(set(numbers)) > 1 or not self.filtered:
            self._problem(f"{where} has contradictory extents")
            return 0
        total, begin = 0, stored - run_pages(entry) * PAGE
        if not run_flags(entry) & PRESENT:
            begin = stored
        for pages, size, filters in zip(
            entry.extent_pages, entry.extent_bytes, entry.extent_filters
        ):
            if not 0 < pages <= EXTENT_MAX // PAGE or not size:
                self._problem(f"an extent of {where} has {pages} pages in {size} bytes")
            elif size > EXTENT_MAX + FILTERS_MAX * EXPANSION_MAX or (
                not filters and size != pages * PAGE
            ):
                self._problem(f"an extent of {where} has {pages} pages in {size} bytes")
            elif not begin <= self._covered < stored:
                self._problem(f"an extent does not begin in {where}")
            self.filters |= filters
            self._covered += pages * PAGE
            total += size
        return total

    def _problem(self, text: str) -> None:
        if len(self.extent_problems) < 10:
            self.extent_problems.append(text)

    def __len__(self) -> int:
        return len(self._address)

    def __getitem__(self, index: int) -> Run:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return next(self._from(index))

    def __iter__(self) -> Iterator[Run]:
        return self._from(0)

    def _from(self, index: int) -> Iterator[Run]:
        """The runs from a number on; what lies before it in the file is added up."""
        first = index & ~(STEP - 1)
        offset = self._offset[first // STEP] if first < len(self) else 0
        for i in range(first, len(self)):
            pages, flags = self._pages[i], self._flags[i]
            if i >= index:
                yield Run(self._address[i], pages, flags, offset)
            if flags & PRESENT:
                offset += pages * PAGE

    def indices_between(self, start: int, end: int) -> Iterator[int]:
        """Numbers of the runs that touch [start, end); the map must be ordered."""
        index = bisect_right(self._address, start) - 1
        if index < 0 or self[index].end <= start:
            index += 1
        while index < len(self) and self._address[index] < end:
            yield index
            index += 1

    def between(self, start: int, end: int) -> Iterator[Run]:
        """The runs that touch [start, end); the map must be ordered."""
        first = next(self.indices_between(start, end), len(self))
        return takewhile(lambda run: run.address < end, self._from(first))


class Layer(NamedTuple):
    """One set of a chain and what it knows of one address space or shared object."""

    images: ImageSet
    pagemap: PageMap | None


def load_pagemap(images: ImageSet, kind: str, number: int) -> PageMap | None:
    """The pagemap of a set (kind PAGEMAP or PAGEMAP_SHMEM); None if it has none."""
    image = images.get(kind, number)
    if image is None:
        return None
    with image:
        return PageMap(image)


def layers(chain: Sequence[ImageSet], kind: str, number: int) -> list[Layer]:
    """What each set of a chain knows of one address space or shared object, newest first."""
    return [Layer(s, load_pagemap(s, kind, number)) for s in chain]


def resolve(of: Sequence[Layer]) -> Iterator[Segment]:
    """What would be restored: every page of the newest layer, ascending, and who holds it."""
    if not of or of[0].pagemap is None:
        return
    for run in of[0].pagemap:
        yield from _look(of, 0, run, run.address, run.end)


def _look(of: Sequence[Layer], level: int, run: Run, start: int, end: int) -> Iterator[Segment]:
    """The part [start, end) of a run that stands in layer `level`."""
    pages = (end - start) // PAGE
    if run.flags & PRESENT:
        yield Segment(start, pages, level, run.offset + start - run.address, False)
    elif not run.flags & PARENT:
        yield Segment(start, pages, None, 0, bool(run.flags & LAZY))
    else:
        yield from _below(of, level + 1, start, end)


def _below(of: Sequence[Layer], level: int, start: int, end: int) -> Iterator[Segment]:
    """[start, end) as the layers from `level` on have it, gaps included."""
    pagemap = of[level].pagemap if level < len(of) else None
    at = start
    if pagemap is not None:
        if not pagemap.ordered:
            raise ImageError(pagemap.name, "its runs do not ascend", None, "pagemap-order")
        for run in pagemap.between(start, end):
            if run.address > at:
                yield Segment(at, (run.address - at) // PAGE, None, 0, False)
                at = run.address
            stop = min(run.end, end)
            yield from _look(of, level, run, at, stop)
            at = stop
    if at < end:
        yield Segment(at, (end - at) // PAGE, None, 0, False)
