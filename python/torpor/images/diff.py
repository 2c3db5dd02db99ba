# SPDX-License-Identifier: MIT
"""What differs between two image sets, or two images: which members, which pages.

Entries are compared with the entry of the same key (pid, descriptor number, start of an area ...),
not the one at the same place. Payloads and page contents are compared as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torpor.images import crit, hints
from torpor.images import messages as pb
from torpor.images.errors import ImageError
from torpor.images.hints import Hint
from torpor.images.imageset import Found, ImageSet
from torpor.images.kinds import Trait
from torpor.images.limits import PAGE
from torpor.images.pages import Layer, Segment, layers, resolve
from torpor.images.reader import Entry, Image

_MESSAGE, _BYTES, _REPEATED = 11, 12, 3
# Members that tell entries of a list apart.
KEYS = {
    "pstree_entry": "pid",
    "file_entry": "id",
    "fdinfo_entry": "fd",
    "vma_entry": "start",
    "pagemap_entry": "vaddr",
    "remap_file_path_entry": "orig_id",
    "pipe_data_entry": "pipe_id",
    "memfd_inode_entry": "inode_id",
    "mnt_entry": "mnt_id",
    "net_device_entry": "ifindex",
    "tty_info_entry": "id",
    "tty_data_entry": "tty_id",
    "posix_timer_entry": "it_id",
    "eventpoll_tfd_entry": "tfd",
    "inotify_wd_entry": "wd",
    "cg_set_entry": "id",
    "torpor_task_entry": "pid",
    "torpor_thread_entry": "tid",
    "torpor_area_entry": "start",
}


@dataclass(frozen=True)
class Change:
    """One difference: where, and what stands there on both sides (None: nothing)."""

    image: str
    place: str  # "tc.timers.real.vsec", "vmas[0x1000].prot"; "" is the image as a whole
    old: Any = None
    new: Any = None


@dataclass
class Pages:
    """How the contents of one address space or shared object differ, in pages."""

    image: str
    only_old: int = 0
    only_new: int = 0
    changed: int = 0
    same: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)
    """(address, pages) that differ, ascending."""

    def differ(self) -> bool:
        """Whether anything does."""
        return bool(self.only_old or self.only_new or self.changed)


# ----------------------------------------------------------------------------------- messages


def _shown(message: pb.Message, f: pb.Field, value: Any, hint: Hint | None) -> Any:
    return crit.field_json(message.DESCRIPTOR.full_name, f, value, hint, True)


def _lists(name: str, place: str, f: pb.Field, old: Any, new: Any) -> Iterator[Change]:
    """Lists of messages, matched by their keys or else by their places."""
    kind = f.message_type
    key = KEYS.get(kind.full_name) if kind else None
    if key is None:
        a, b = dict(enumerate(old)), dict(enumerate(new))
    else:
        a = {getattr(m, key): m for m in old}
        b = {getattr(m, key): m for m in new}
    table = hints.HINTS.get(kind.full_name, {}) if kind else {}
    hint = table.get(key) if key else None
    for k in [*a, *(k for k in b if k not in a)]:
        here = f"{place}[{hint.show(k) if hint else k}]"
        yield from messages(name, here, a.get(k), b.get(k))


def messages(
    name: str,
    place: str,
    old: pb.Message | None,
    new: pb.Message | None,
    inherited: Hint | None = None,
) -> Iterator[Change]:
    """Members in which two messages of one type differ."""
    if old is None or new is None:
        whole = [None if m is None else crit.message_json(m, True, inherited) for m in (old, new)]
        if old is not new:
            yield Change(name, place, *whole)
        return
    if old == new:
        return
    table = hints.HINTS.get(old.DESCRIPTOR.full_name, {})
    a = {f.number: (f, v) for f, v in old.ListFields()}
    b = {f.number: (f, v) for f, v in new.ListFields()}
    for number in sorted(a | b):
        f = (a.get(number) or b[number])[0]
        va = a[number][1] if number in a else None
        vb = b[number][1] if number in b else None
        here = f"{place}.{f.name}" if place else f.name
        hint = table.get(f.name) or inherited
        if f.type == _MESSAGE and f.label == _REPEATED:
            yield from _lists(name, here, f, va or [], vb or [])
        elif f.type == _MESSAGE:
            yield from messages(name, here, va, vb, hint)
        elif va != vb:
            shown = [None if v is None else _shown(old, f, v, hint) for v in (va, vb)]
            yield Change(name, here, *shown)


# ------------------------------------------------------------------------------------- images


def _keyed(image: Image) -> dict[Any, Entry]:
    found: dict[Any, Entry] = {}
    for i, entry in enumerate(image):
        key = KEYS.get(entry.message.DESCRIPTOR.full_name)
        found[(i,) if key is None else getattr(entry.message, key)] = entry
    return found


def images(old: Image, new: Image) -> Iterator[Change]:
    """Entries and members in which two images of one kind differ."""
    name = old.name
    if old.data == new.data:
        return
    if old.kind.traits & Trait.RAW:
        yield Change(name, "", f"{len(old.data)} bytes", f"{len(new.data)} other bytes")
        return
    a, b = _keyed(old), _keyed(new)
    single = old.kind.traits & Trait.ONE
    for k in [*a, *(k for k in b if k not in a)]:
        label = "" if single else f"[{k[0] if isinstance(k, tuple) else k}]"
        x, y = a.get(k), b.get(k)
        yield from messages(name, label, x.message if x else None, y.message if y else None)
        if x and y and x.payload != y.payload:
            place = f"{label}.extra" if label else "extra"
            yield Change(name, place, f"{len(x.payload)} bytes", f"{len(y.payload)} other bytes")


# -------------------------------------------------------------------------------------- pages


class _Content:
    """Page contents of one address space in one chain."""

    def __init__(self, chain: Sequence[ImageSet], found: Found) -> None:
        self.layers: list[Layer] = layers(chain, found.kind.id, found.number)
        self._files: dict[int, Image] = {}

    def pages(self) -> Iterator[tuple[int, Segment]]:
        """(address, segment) of every page, ascending."""
        for segment in resolve(self.layers):
            for i in range(segment.pages):
                yield segment.address + i * PAGE, segment

    def read(self, address: int, segment: Segment) -> bytes | None:
        """The bytes of a page; None where no layer has them."""
        if segment.layer is None:
            return None
        layer = self.layers[segment.layer]
        if layer.pagemap and layer.pagemap.filtered:
            raise ImageError(
                layer.pagemap.name, "its pages are filtered: only torpor can read them"
            )
        if segment.layer not in self._files:
            assert layer.pagemap
            self._files[segment.layer] = layer.images.open("PAGES", layer.pagemap.pages_id)
        image = self._files[segment.layer]
        at = segment.offset + address - segment.address
        page = bytes(image.data[at : at + PAGE])
        if len(page) < PAGE:
            raise ImageError(image.name, "it ends before the last page", at, "pages-length")
        return page

    def close(self) -> None:
        for image in self._files.values():
            image.close()


def pages(old: Sequence[ImageSet], new: Sequence[ImageSet], found: Found) -> Pages:
    """Compares the contents of one address space or shared object, looking through both chains."""
    result = Pages(found.name)
    a, b = _Content(old, found), _Content(new, found)
    try:
        _compare(a, b, result)
    finally:
        a.close()
        b.close()
    return result


def _compare(a: _Content, b: _Content, result: Pages) -> None:
    end = (1 << 65, None)
    left, right = a.pages(), b.pages()
    x, y = next(left, end), next(right, end)
    while x[1] or y[1]:
        address = min(x[0], y[0])
        differs = True
        if x[0] < y[0]:
            result.only_old += 1
        elif x[0] > y[0]:
            result.only_new += 1
        else:
            assert x[1] and y[1]
            differs = a.read(address, x[1]) != b.read(address, y[1])
            result.changed += differs
            result.same += not differs
        if differs:
            _add_place(result.places, address)
        step_left, step_right = x[0] == address, y[0] == address
        if step_left:
            x = next(left, end)
        if step_right:
            y = next(right, end)


def _add_place(places: list[tuple[int, int]], address: int) -> None:
    if places and places[-1][0] + places[-1][1] * PAGE == address:
        places[-1] = (places[-1][0], places[-1][1] + 1)
    else:
        places.append((address, 1))


# --------------------------------------------------------------------------------------- sets


def sets(
    old: ImageSet, new: ImageSet, wanted: Callable[[Found], bool] = lambda f: True
) -> Iterator[Change | Pages]:
    """Everything in which two sets differ; page contents come as Pages."""
    chains = old.chain(), new.chain()
    a = {f.name: f for f in old.images() if wanted(f)}
    b = {f.name: f for f in new.images() if wanted(f)}
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            there = ("there", None) if name in a else (None, "there")
            yield Change(name, "", *there)
            continue
        found = a[name]
        if found.kind.id == "PAGES":
            continue
        with old.open(found.kind.id, found.number) as x:
            with new.open(found.kind.id, found.number) as y:
                yield from images(x, y)
        if found.kind.name == "PAGEMAP":
            yield from _page_changes(chains, found)


def _page_changes(
    chains: tuple[list[ImageSet], list[ImageSet]], found: Found
) -> Iterator[Change | Pages]:
    try:
        result = pages(*chains, found)
        if result.differ():
            yield result
    except ImageError as e:
        yield Change(found.name, "pages", "not compared", str(e))
