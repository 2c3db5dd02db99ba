# SPDX-License-Identifier: MIT
"""Encrypted sets that were opened: is every file and every page what was written?

Files are verified whenever they are read. These rules read those that no other rule reads, and the
pages that a restore decodes, because a restore finds there what was changed, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from torpor.images import ImageError, ImageSet, parse_name
from torpor.images import messages as pb
from torpor.images.extents import SHARED, TASK, Extent, Owner, extents, head_of
from torpor.images.keys import Cipher
from torpor.images.kinds import Trait
from torpor.images.sealed import RULE, Sealed
from torpor.validate.context import Context

# What only the next dump reads.
NEXT = ("TORPOR_TRACKER", "TORPOR_DIGEST", "TORPOR_DIGEST_SHMEM")
FIRST = "PAGEMAP"


def sealed(c: Context) -> None:
    """All rules of this file."""
    if c.images.sealed:
        _files(c)
    for (images, name), ranges in c.decoded.items():
        if images.sealed:
            try:
                _pages(c, images, images.sealed, name, sorted(ranges))
            except (ImageError, OSError) as e:
                c.add_error(e)


def _files(c: Context) -> None:
    told = {f.image for f in c.findings.found}
    for found in c.images.images():
        kind = found.kind
        if found.name in told or kind.id in (*NEXT, "PAGES") or kind.traits & Trait.SERVICE:
            continue
        try:
            c.images.open(kind.id, found.number).close()
        except ImageError as e:
            if e.rule == RULE:
                c.add_error(e)
        except OSError as e:
            c.add_error(e)


# -------------------------------------------------------------------------------------- the pages


def _within(found: Iterable[Extent], ranges: list[tuple[int, int]]) -> Iterator[Extent]:
    """Extents that touch one of the ranges; both ascend."""
    left = iter(ranges)
    begin, end = next(left)
    for x in found:
        while end <= x.start:
            more = next(left, None)
            if more is None:
                return
            begin, end = more
        if begin < x.end:
            yield x


def _pages(
    c: Context, images: ImageSet, keys: Sealed, name: str, ranges: list[tuple[int, int]]
) -> None:
    """Pages of one pagemap: every extent opens under its own identity, or there is a finding."""
    known = parse_name(name)
    assert known
    kind, number = known
    ciphers = list(_ciphers(images, keys))
    with images.open(kind.id, number) as image:
        head = head_of(image)
        owner = Owner(
            keys.dump_id, keys.generation, TASK if kind.id == FIRST else SHARED, number,
            head.extent_object,
        )  # fmt: skip
        file = f"pages-{head.pages_id}.img"
        with images.open("PAGES", head.pages_id) as pages:
            for x in _within(extents(image), ranges):
                outer = x.filters.bit_length() - 1
                cipher = ciphers[outer] if 0 <= outer < len(ciphers) else None
                if cipher is None:
                    continue  # what lies around it only a restore can take away
                nonce = struct.pack("<QI", owner.serial(x), 0)
                data = pages.data[x.at : x.at + x.size]
                if cipher.open(nonce, data, owner.identity(x, outer)) is None:
                    text = f"{file}: the extent of page 0x{x.address:x} was changed or moved"
                    c.add(RULE, text, number if kind.id == FIRST else 0, file)
                    return


def _ciphers(images: ImageSet, keys: Sealed) -> Iterator[Cipher | None]:
    """The page filters of a set in their order; None for what is no cipher."""
    for place, entry in enumerate(images.messages("TORPOR_FILTERS")):
        assert isinstance(entry, pb.torpor_filter_entry)
        yield keys.page_cipher(place, entry.name)
