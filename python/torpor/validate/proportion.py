# SPDX-License-Identifier: MIT
"""Would judging a set take memory out of all proportion? Estimated before anything is parsed.

Single messages are bounded where they are parsed (images.limits). But a small entry, of which there
may be millions, costs a node of the graph with its edges, and a parsed message: many times its
bytes.
"""

from __future__ import annotations

from torpor.images import ImageError, ImageSet, Trait
from torpor.images.imageset import Found

GROWTH = 4
"""Bytes of memory for each byte of the images ..."""
ALLOWANCE = 1 << 30
"""... beyond these, which any set may take."""
LEAST = 4 + 4  # bytes of an entry with a message of two numbers
# Bytes that an entry takes at most, as measured (tests/python/test_validate.py).
COST = {
    "PSTREE": 1600, "FDINFO": 700, "FILES": 1500, "TORPOR_STATE": 1300, "TORPOR_FILES": 1300,
    "PAGEMAP": 64, "PAGEMAP_SHMEM": 64, "TORPOR_PAGEMAP": 64, "TORPOR_PAGEMAP_SHMEM": 64,
}  # fmt: skip
USUAL = 600


def problem(images: ImageSet) -> str:
    """What is out of proportion; "" if nothing is."""
    sizes = {f: _size(images, f) for f in images.images() if not f.kind.traits & Trait.RAW}
    allowed = ALLOWANCE + GROWTH * sum(sizes.values())
    worst = sum(_cost(f) * _worst(f, size) for f, size in sizes.items())
    if worst <= allowed:
        return ""
    costs = {f: _cost(f) * _count(images, f) for f in sizes}
    if sum(costs.values()) <= allowed:
        return ""
    biggest = max(costs, key=lambda f: costs[f])
    return f"the entries of '{biggest.name}' would take {costs[biggest] >> 20} MiB of memory"


def estimate(images: ImageSet) -> int:
    """Bytes that the entries of a set take at most."""
    found = (f for f in images.images() if not f.kind.traits & Trait.RAW)
    return sum(_cost(f) * _count(images, f) for f in found)


def _cost(found: Found) -> int:
    return COST.get(found.kind.id, USUAL)


def _worst(found: Found, size: int) -> int:
    """Entries that a file of this size can have."""
    return 1 if found.kind.traits & Trait.ONE else size // LEAST


def _size(images: ImageSet, found: Found) -> int:
    try:
        return images.size(found)
    except OSError:
        return 0


def _count(images: ImageSet, found: Found) -> int:
    """Entries there are; of a damaged file nobody reads more than there are in front."""
    if found.kind.traits & Trait.ONE:
        return 1
    try:
        with images.open(found.kind.id, found.number) as image:
            return image.count()
    except (ImageError, OSError):
        return 0
