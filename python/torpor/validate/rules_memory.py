# SPDX-License-Identifier: MIT
"""Memory: areas, marks of the address space, page runs through the chain of sets, the vdso."""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torpor.images import ImageError, ImageSet, crit
from torpor.images import messages as pb
from torpor.images.kinds import LAYOUT_TORPOR
from torpor.images.limits import PAGE
from torpor.images.pages import Flag, Layer, PageMap, Run, Segment, load_pagemap, resolve
from torpor.images.sealed import CIPHERS
from torpor.resgraph import Node
from torpor.resgraph.rooms_memory import OWNERS
from torpor.validate import rules_ipc, rules_load
from torpor.validate.context import Context, TaskView
from torpor.validate.vdso import is_vdso

USER_END = 0x7FFFFFFFF000
VSYSCALL_START = 0xFFFFFFFFFF600000
MIN_ADDRESS = 0x10000
# vma_entry.status
VSYSCALL, VDSO, FILE_PRIVATE, FILE_SHARED, ANON_PRIVATE = 0x4, 0x8, 0x40, 0x80, 0x200
SYSVIPC, SOCKET, VVAR, AIORING, SHSTK = 0x400, 0x800, 0x1000, 0x2000, 0x8000
ANON_SHARED, GUARD, UPROBES, PLUGIN = 0x100, 0x10000, 0x20000, 0x8000000
REFUSED = {
    SHSTK: "a shadow stack",
    PLUGIN: "a device mapping of a plugin",
}
URING = 0x4000000  # kinds/uring.h
PLACED = FILE_PRIVATE | FILE_SHARED | ANON_PRIVATE | SOCKET | SYSVIPC | AIORING | URING
VDSO_MAX = 64 * PAGE
FILTERS = {"zero", "lz4", "zstd", "digest", "aes-gcm", "chacha20-poly1305"}  # pages/filter_find.c
UNMAPPED = {f"/dev/{name}" for name in ("null", "full", "random", "urandom")}  # mem(4), random(4)
WRITE, RIGHTS = 2, 7  # vma_entry.prot
INT64_MAX = (1 << 63) - 1
MAP_DROPPABLE, MAP_GROWSDOWN, MAP_HUGETLB = 0x8, 0x100, 0x40000  # vma_entry.flags
UNDROPPABLE = MAP_GROWSDOWN | MAP_HUGETLB
MADV_WIPEONFORK = 18  # number of a bit in vma_entry.madv
KNOWN_FLAGS = int(Flag.PARENT | Flag.LAZY | Flag.PRESENT)


class Spans(NamedTuple):
    """Areas that can hold pages, ascending."""

    starts: array[int]
    ends: array[int]
    limits: array[int]  # where the file that is mapped ends; pages behind it cannot be written
    shared: array[int]  # 1: a shared file, whose pages are not the task's
    rings: dict[int, int]  # start and end of aio contexts

    def find(self, address: int) -> int:
        """Number of the span an address lies in, or -1."""
        i = bisect_right(self.starts, address) - 1
        return i if i >= 0 and address < self.ends[i] else -1


def task(c: Context, t: TaskView) -> None:
    """Rules over the memory of one live task."""
    if t.mm is None or t.areas is None:
        return
    try:
        spans, vdso = _areas(c, t)
        _marks(c, t, t.mm)
        _pages(c, t, spans, vdso)
    except ImageError as e:
        c.add_error(e, t.pid)


def _areas(c: Context, t: TaskView) -> tuple[Spans, tuple[int, int] | None]:
    """Areas one by one. Returns those that hold pages, and the place of the vdso."""
    image, end, ordered = f"mm-{t.pid}.img", 0, True
    spans = Spans(array("Q"), array("Q"), array("Q"), array("B"), {})
    vdso: tuple[int, int] | None = None
    guards: list[tuple[int, int]] = []
    parts = [th.part for th in t.running()]
    rseqs = sorted(at for p in parts if p and (at := p.rseq_entry.rseq_abi_pointer))
    assert t.areas is not None
    for v in t.areas.each():
        status, start, stop = v.status, v.start, v.end
        good = start < stop and not (start | stop) % PAGE
        if not good or (stop > USER_END and start != VSYSCALL_START):
            text = f"task {t.pid} has an area from 0x{start:x} to 0x{stop:x}"
            c.add("vma-range", text, t.pid, image)
            break
        if v.prot & ~RIGHTS:
            text = f"task {t.pid}: the area at 0x{start:x} has the rights 0x{v.prot:x}"
            c.add("vma-rights", text, t.pid, image)
        if status & (FILE_PRIVATE | FILE_SHARED | SOCKET | URING):
            _mapped_file(c, t, v)
        if not v.prot & WRITE:
            for at in rseqs[bisect_left(rseqs, start) : bisect_left(rseqs, stop)]:
                text = f"task {t.pid}: the rseq area 0x{at:x} cannot be written"
                c.add("rseq-bad", text, t.pid, image)
        if status & GUARD:
            guards.append((start, stop))
            continue
        if start < end:
            text = f"task {t.pid}: the area at 0x{start:x} begins before the one in front ends"
            c.add("vma-order", text, t.pid, image)
            ordered = False
        end = max(end, stop)
        if status & (VSYSCALL | UPROBES):
            continue
        if status & (AIORING | SYSVIPC):
            rules_ipc.area(c, t, v)
            if status & AIORING:
                spans.rings[start] = stop
        if stop > USER_END:
            c.add("vma-range", f"task {t.pid} has an area at 0x{start:x}", t.pid, image)
        if status & VDSO:
            if vdso or stop - start > VDSO_MAX:
                text = f"task {t.pid} has an impossible vdso at 0x{start:x}"
                c.add("vma-vdso", text, t.pid, image)
            vdso = (start, stop)
            continue
        if status & VVAR:
            # beside a vdso of another kernel it becomes plain memory, which takes pages
            spans.starts.append(start)
            spans.ends.append(stop)
            spans.limits.append(stop)
            spans.shared.append(False)
            continue
        refused = next((w for bit, w in REFUSED.items() if status & bit), "")
        if not refused and not status & PLACED:
            shared = "shared memory without a descriptor"
            refused = shared if status & ANON_SHARED else "of an unknown kind"
        if refused:
            text = (
                f"task {t.pid} ({t.comm}): area 0x{start:x}-0x{stop:x} is {refused} "
                f"(status 0x{status:x})"
            )
            c.add("vma-kind", text, t.pid, image)
        if v.flags & MAP_GROWSDOWN and status & (FILE_PRIVATE | FILE_SHARED):
            text = f"task {t.pid}: area 0x{start:x}-0x{stop:x} of a file grows down"
            c.add("vma-flags", text, t.pid, image)
        if v.flags & MAP_DROPPABLE and v.flags & UNDROPPABLE and status & ANON_PRIVATE:
            text = f"task {t.pid}: area 0x{start:x}-0x{stop:x} cannot be dropped (0x{v.flags:x})"
            c.add("vma-flags", text, t.pid, image)
        if v.madv >> MADV_WIPEONFORK & 1 and (
            not status & ANON_PRIVATE or v.flags & MAP_HUGETLB
        ):
            text = f"task {t.pid}: area 0x{start:x}-0x{stop:x} cannot be wiped on fork"
            c.add("vma-flags", text, t.pid, image)
        if v.flags & MAP_HUGETLB and not status & (FILE_PRIVATE | FILE_SHARED):
            _huge(c, t, v)
        if ordered:
            spans.starts.append(start)
            spans.ends.append(stop)
            spans.limits.append(_limit(c, v) if status & FILE_PRIVATE else stop)
            spans.shared.append(bool(status & (FILE_SHARED | SOCKET | SYSVIPC | URING)))
    for at in rseqs if ordered else ():
        if spans.find(at) < 0:
            c.add("rseq-bad", f"task {t.pid}: the rseq area 0x{at:x} is in no area", t.pid, image)
    _guards(c, t, spans, guards)
    _seals(c, t, spans)
    return spans, vdso


def _guards(c: Context, t: TaskView, spans: Spans, guards: list[tuple[int, int]]) -> None:
    """Guard pages are in areas, which may be several."""
    for start, stop in guards:
        at = start
        while at < stop:
            i = spans.find(at)
            if i < 0:
                text = f"task {t.pid}: the guard pages at 0x{at:x} are in no area"
                c.add("vma-flags", text, t.pid, f"mm-{t.pid}.img")
                break
            at = spans.ends[i]


def _seals(c: Context, t: TaskView, spans: Spans) -> None:
    for area in t.extra.areas if t.extra else ():
        i = spans.find(area.start) if area.sealed else 0
        if area.sealed and (i < 0 or spans.starts[i] != area.start):
            text = f"task {t.pid}: there is no area at 0x{area.start:x} to be sealed"
            c.add("vma-flags", text, t.pid, "torpor-state")


def _huge(c: Context, t: TaskView, v: pb.vma_entry) -> None:
    """Areas of huge pages consist of whole ones, of a size the processor has."""
    shift = v.flags >> 26 & 63 or 21
    if shift not in (21, 30) or (v.start | v.end) & ((1 << shift) - 1):
        text = f"task {t.pid}: area 0x{v.start:x}-0x{v.end:x} has huge pages of 2^{shift} bytes"
        c.add("vma-flags", text, t.pid, f"mm-{t.pid}.img")


def _limit(c: Context, v: pb.vma_entry) -> int:
    """Address behind the last page of the file an area maps."""
    file = c.files.get(v.shmid)
    if file is None or not file.HasField("reg") or not file.reg.HasField("size"):
        return v.end
    return min(USER_END, v.start + max(0, (file.reg.size + PAGE - 1) // PAGE * PAGE - v.pgoff))


def _mapped_file(c: Context, t: TaskView, v: pb.vma_entry) -> None:
    image = f"mm-{t.pid}.img"
    file = c.files.get(v.shmid)
    if file is None:
        text = f"task {t.pid}: the area at 0x{v.start:x} maps file {v.shmid}, which is not there"
        c.add("file-dangling", text, t.pid, image)
        return
    if v.status & SOCKET:
        _ring(c, t, v, file)
        return
    if v.status & URING:
        if file.type != pb.fd_types.TORPOR_URING:
            c.add("vma-file", f"task {t.pid}: 0x{v.start:x} is mapped from no ring", t.pid, image)
        return
    folder = file.HasField("reg") and stat.S_IFMT(file.reg.mode) in (stat.S_IFDIR, stat.S_IFIFO)
    text = f"task {t.pid}: the area at 0x{v.start:x} maps file {v.shmid}"
    if file.type not in (pb.fd_types.REG, pb.fd_types.MEMFD) or folder:
        kind = "a folder or fifo" if folder else pb.fd_types(file.type).name
        c.add("vma-file", f"{text}, {kind}", t.pid, image)
        return
    if file.HasField("reg") and stat.S_ISCHR(file.reg.mode) and file.reg.name in UNMAPPED:
        c.add("vma-file", f"{text}, {file.reg.name}", t.pid, image)
        return
    shared = bool(v.status & FILE_SHARED)
    mode = v.fdflags & 3 if v.HasField("fdflags") else 2 * (shared and v.prot & WRITE) // WRITE
    if mode in (1, 3) or (shared and v.prot & WRITE and mode != 2):
        c.add("vma-file", f"{text}, opened in mode {mode} with rights {v.prot}", t.pid, image)
    elif v.pgoff % PAGE or v.pgoff + v.end - v.start > INT64_MAX:
        c.add("vma-file", f"{text} from 0x{v.pgoff:x} on", t.pid, image)
    elif mode == 2 and v.shmid in c.programs:
        c.add("vma-file", f"{text}, a program, for writing", t.pid, image)


def _ring(c: Context, t: TaskView, v: pb.vma_entry, file: pb.file_entry) -> None:
    """Rings of a packet socket are mapped as a whole."""
    rings = (file.psk.rx_ring, file.psk.tx_ring)
    size = sum(r.block_size * r.block_nr for r in rings)
    if not file.HasField("psk") or size != v.end - v.start or v.pgoff:
        text = f"task {t.pid}: the area at 0x{v.start:x} maps file {v.shmid}, whose rings have "
        c.add("vma-file", f"{text}{size} bytes", t.pid, f"mm-{t.pid}.img")


# ---------------------------------------------------------------------- marks of the address space


def _marks(c: Context, t: TaskView, mm: pb.mm_entry) -> None:
    """What prctl(PR_SET_MM_MAP) verifies."""
    pairs = {
        "code": (mm.mm_start_code, mm.mm_end_code),
        "data": (mm.mm_start_data, mm.mm_end_data),
        "heap": (mm.mm_start_brk, mm.mm_brk),
        "stack": (mm.mm_start_stack, mm.mm_start_stack),
        "arguments": (mm.mm_arg_start, mm.mm_arg_end),
        "environment": (mm.mm_env_start, mm.mm_env_end),
    }
    for what, (start, end) in pairs.items():
        inside = MIN_ADDRESS <= start < USER_END and MIN_ADDRESS <= end < USER_END
        if not inside or start > end or (what == "code" and start == end):
            text = f"task {t.pid}: its {what} is from 0x{start:x} to 0x{end:x}"
            c.add("mm-limits", text, t.pid, f"mm-{t.pid}.img")


# ---------------------------------------------------------------------------------------- pages


def pagemap_problems(c: Context, image: str, runs: PageMap, task: int) -> bool:
    """What is wrong in a pagemap by itself; whether it can be used."""
    before = len(c.findings.counts)
    end = 0
    bad = False
    for run in runs:
        if run.flags & ~KNOWN_FLAGS:
            text = f"{image}: the entry at 0x{run.address:x} has unknown flags 0x{run.flags:x}"
            c.add("pagemap-flags", text, task, image)
        elif run.address % PAGE:
            text = f"{image}: address 0x{run.address:x} does not start a page"
            c.add("pagemap-address", text, task, image)
        elif not run.pages:
            text = f"{image}: the entry at 0x{run.address:x} has no page"
            c.add("pagemap-range", text, task, image)
        elif run.address < end:
            text = f"{image}: the entry at 0x{run.address:x} overlaps or precedes the one before"
            c.add("pagemap-order", text, task, image)
        else:
            end = run.end
            continue
        bad = True
        break
    return not bad and before == len(c.findings.counts)


def _runs(c: Context, images: ImageSet, kind: str, number: int) -> PageMap | None:
    """A pagemap; the graph has read those of the set itself."""
    if images is c.images:
        try:
            return c.graph.pagemap(OWNERS[kind], number)
        except KeyError:
            pass  # there is none, or it cannot be read: then reading says why
    return load_pagemap(images, kind, number)


def _load(c: Context, images: ImageSet, kind: str, number: int, task: int) -> PageMap | None:
    """A pagemap that can be used, or None: then there are findings, or no such image."""
    runs = _runs(c, images, kind, number)
    if runs is None:
        return None
    if not runs.headed:
        c.add("pagemap-head", f"{runs.name} has no head", task, runs.name)
        return None
    if runs.filtered != (runs.layout == LAYOUT_TORPOR):
        text = f"{runs.name}: magic and head contradict each other"
        c.add("pagemap-head", text, task, runs.name)
        return None
    for problem in runs.extent_problems:
        c.add("pagemap-extents", f"{runs.name}: {problem}", task, runs.name)
    if not pagemap_problems(c, runs.name, runs, task) or runs.extent_problems:
        return None
    if runs.filtered and images.identity not in c.filters_of:
        _filters(c, images, runs.name, task)
    if runs.filtered and runs.stored:
        # a pagemap reads a file from its beginning, and filters know whose pages they are
        owner = c.pages_of.setdefault((images.identity, runs.pages_id), runs.name)
        if owner != runs.name:
            text = f"pages-{runs.pages_id}.img belongs to {owner} and to {runs.name}"
            c.add("pages-shared", text, task, runs.name)
    n_filters = c.filters_of.get(images.identity, 0)
    if runs.filters >> n_filters:
        text = f"{runs.name}: pages went through filters 0x{runs.filters:x}, there are {n_filters}"
        c.add("set-filters", text, task, runs.name)
    if runs.stored and not _long_enough(c, images, runs, task):
        return None
    return runs


def _filters(c: Context, images: ImageSet, name: str, task: int) -> None:
    """The page filters of a set. Those of plugins are files somebody has to name."""
    if not images.has("TORPOR_FILTERS"):
        c.add("set-filters", f"{name} is filtered, but torpor-filters is missing", task)
    c.filters_of[images.identity] = 0
    protected = False
    for entry in images.messages("TORPOR_FILTERS"):
        c.filters_of[images.identity] += 1
        assert isinstance(entry, pb.torpor_filter_entry)
        known = entry.name in FILTERS or (c.options.page_filters and "/" not in entry.name)
        if not known:
            text = f"torpor-filters names '{crit.text_of(entry.name)}', which is no page filter"
            c.add("set-filters", f"{text} of torpor's own", task, "torpor-filters")
        protected |= entry.name in CIPHERS or c.options.page_filters
    if images.sealed and not protected:
        text = "the images are encrypted, but no page filter protects the pages"
        c.add("set-filters", text, task, "torpor-filters")


def _long_enough(c: Context, images: ImageSet, runs: PageMap, task: int) -> bool:
    name = f"pages-{runs.pages_id}.img"
    found = images.find("PAGES", runs.pages_id)
    if found is None:
        c.add("image-missing", f"image '{name}' is missing, which {runs.name} needs", task, name)
        return False
    size = images.size(found)
    if size < runs.stored:
        text = f"{name} is too short: {runs.name} needs {runs.stored} bytes, {size} are there"
        c.add("pages-length", text, task, name)
        return False
    if size > runs.stored:
        text = f"{name} has {size} bytes, {runs.name} needs only {runs.stored}"
        c.add("pages-rest", text, task, name)
    return True


def layers_of(c: Context, kind: str, number: int, task: int) -> list[Layer] | None:
    """What each set of the chain knows, as far down as pages are looked for there."""
    top = _load(c, c.images, kind, number, task)
    if top is None:
        return None
    layers = [Layer(c.images, top)]
    while layers[-1].pagemap is not None and layers[-1].pagemap.needs_parent:
        try:
            below = _parent(c, layers[-1].images, layers[0].pagemap, task)
        except OSError as e:
            c.add("chain-link", f"the link 'parent' leads nowhere: {e.strerror}", task, "parent")
            return None
        if below is None:
            return None
        runs = _load(c, below, kind, number, task)
        layers.append(Layer(below, runs))
        if len(layers) > len(c.chain):
            c.chain.append(below)
    return layers


def _parent(c: Context, images: ImageSet, top: PageMap | None, task: int) -> ImageSet | None:
    depth = c.chain.index(images)
    if depth + 1 < len(c.chain):
        return c.chain[depth + 1]
    below = images.parent()
    if below is None:
        name = top.name if top else ""
        text = f"{name} has pages in parent images, but there is no link 'parent'"
        c.add("chain-link", text, task, name)
        return None
    try:
        problem = _parent_problem(c, images, below)
    except BaseException:
        below.close()
        raise
    if problem:
        c.add(*problem, task, "parent")
        below.close()
        return None
    return below


def _parent_problem(c: Context, images: ImageSet, below: ImageSet) -> tuple[str, str] | None:
    """Why a set cannot be the parent of another: the rule, and a sentence."""
    if any(below.identity == s.identity for s in c.chain):
        return "chain-circle", "the links to parent images lead in a circle"
    if not below.has("INVENTORY"):
        return "image-missing", "the parent images have no inventory.img: they are not complete"
    theirs = below.inventory()
    if not rules_load.has_ids(theirs):
        text = "inventory.img of the parent images: its ids do not have 16 bytes"
        return "inventory-set", text
    wanted = images.inventory().torpor.parent_id if images.has("INVENTORY") else b""
    if any(wanted) and wanted != (theirs.torpor.dump_id or bytes(rules_load.ID_SIZE)):
        return "chain-other", "the parent images are not those of the dump before"
    if below.locked:
        return below.locked.rule, f"the parent images: {below.locked.text}"
    if images.sealed and not below.sealed:
        return "chain-other", "the parent images are not encrypted, as they were"
    return None


def _decoded(c: Context, images: ImageSet, name: str, segment: Segment) -> None:
    """Notes that restore decodes these pages, where somebody can verify them."""
    if not images.sealed:
        return
    ranges = c.decoded.setdefault((images, name), [])
    begin, end = segment.offset, segment.offset + segment.end - segment.address
    if ranges and ranges[-1][1] == begin:
        begin = ranges.pop()[0]
    ranges.append((begin, end))


def _segments(c: Context, layers: Sequence[Layer], name: str, task: int) -> Iterator[Segment]:
    """The pages of an object; what no set has is a finding."""
    for segment in resolve(layers):
        if segment.layer is not None:
            _decoded(c, layers[segment.layer].images, name, segment)
            yield segment
        elif segment.lazy and not c.options.lazy_pages:
            text = f"{name}: page 0x{segment.address:x} was left to a lazy-pages server"
            c.add("page-lazy", text, task, name)
        elif not segment.lazy:
            text = f"{name}: page 0x{segment.address:x} is in parent images, which do not have it"
            c.add("page-lost", text, task, name)


def _pages(c: Context, t: TaskView, spans: Spans, vdso: tuple[int, int] | None) -> None:
    name = f"pagemap-{t.pid}.img"
    layers = layers_of(c, "PAGEMAP", t.pid, t.pid)
    if layers is None:
        if c.images.has("TORPOR_PAGEMAP", t.pid) and not c.images.has("PAGEMAP", t.pid):
            text = f"task {t.pid}: its pages were sent to a page server, which has {name}"
            c.add("page-lost", text, t.pid, name)
        elif vdso and not c.images.has("PAGEMAP", t.pid):
            text = f"task {t.pid}: the image does not have all pages of its vdso"
            c.add("vma-vdso", text, t.pid, name)
        return
    in_vdso, code = 0, b""
    for segment in _segments(c, layers, name, t.pid):
        at = segment.address
        while at < segment.end:
            if vdso and vdso[0] <= at < vdso[1]:
                stop = min(segment.end, vdso[1])
                in_vdso += stop - at
                if vdso[1] - vdso[0] <= VDSO_MAX:
                    code += _content(layers, segment, at, stop - at)
            else:
                stop = _page_place(c, t, spans, at, segment, vdso)
                if at in spans.rings:
                    size = spans.rings[at] - at
                    rules_ipc.ring(c, t, at, size, _content(layers, segment, at, PAGE))
            if not stop:
                return
            at = stop
    if vdso and in_vdso != vdso[1] - vdso[0]:
        text = f"task {t.pid}: the image does not have all pages of its vdso"
        c.add("vma-vdso", text, t.pid, name)
    elif vdso and len(code) == in_vdso and not is_vdso(code):
        # it is none if the pages are shifted against the pagemap
        text = f"task {t.pid}: its saved vdso is not an ELF image; are these its pages?"
        c.add("vma-vdso", text, t.pid, name)


def _content(layers: Sequence[Layer], segment: Segment, at: int, size: int) -> bytes:
    """Saved pages, or their beginning; nothing where only torpor can tell."""
    assert segment.layer is not None
    layer = layers[segment.layer]
    if layer.pagemap is None or layer.pagemap.filtered:
        return b""
    with layer.images.open("PAGES", layer.pagemap.pages_id) as pages:
        begin = segment.offset + at - segment.address
        return bytes(pages.data[begin : begin + size])


def _page_place(
    c: Context,
    t: TaskView,
    spans: Spans,
    at: int,
    segment: Segment,
    vdso: tuple[int, int] | None,
) -> int:
    """Where the area a page lies in ends; 0 after a finding: one is enough."""
    i = spans.find(at)
    name = f"pagemap-{t.pid}.img"
    if i < 0:
        c.add("page-outside", f"task {t.pid}: page 0x{at:x} lies outside of all areas", t.pid, name)
        return 0
    if spans.shared[i]:
        c.add("page-shared", f"task {t.pid}: page 0x{at:x} is in a shared area", t.pid, name)
        return 0
    stop = min(segment.end, spans.ends[i])
    if stop > spans.limits[i]:
        text = f"task {t.pid}: page 0x{max(at, spans.limits[i]):x} lies behind the end of its file"
        c.add("page-behind", text, t.pid, name)
        return 0
    return stop


def shared(c: Context) -> None:
    """Rules over files in memory, memfd.img, and System V shared memory: each has its pages."""
    objects = [
        (i.shmid, i.size, c.graph.find("memfd", i.inode_id))
        for i in c.all(pb.memfd_inode_entry, "MEMFD_INODE")
    ]
    objects += [(number, size, None) for number, size in rules_ipc.segments(c).items()]
    for number, size, node in objects:
        try:
            _shared(c, number, size, node)
        except (ImageError, OSError) as e:
            c.add_error(e)


def _shared(c: Context, number: int, size: int, node: Node | None) -> None:
    name = f"pagemap-shmem-{number}.img"
    layers = layers_of(c, "PAGEMAP_SHMEM", number, 0)
    if layers is None:
        return
    for segment in _segments(c, layers, name, 0):
        if segment.end - PAGE >= size:
            text = f"{name}: page 0x{segment.address:x} lies outside of the object's {size} bytes"
            if size:
                c.add("page-outside", text, 0, name, node)
            return


__all__ = ["Run", "layers_of", "pagemap_problems", "shared", "task"]
