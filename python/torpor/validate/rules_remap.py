# SPDX-License-Identifier: MIT
"""Files that are reached in another way than by their name: deleted ones and their content, names
from --link-remap, files of processes that have ended.
"""

from __future__ import annotations

import re
import stat

from torpor.images import ImageError, crit, payload
from torpor.images import messages as pb
from torpor.images.imageset import Needs
from torpor.images.tables import EXPANSION_MAX
from torpor.resgraph.rooms_file import remap_target
from torpor.validate.context import INT32_MAX, Context

INT64_MAX = (1 << 63) - 1
PROC_PATH = re.compile(r"/proc/[1-9][0-9]{0,9}(/.*)?", re.DOTALL)


def _link(c: Context, remap: pb.remap_file_path_entry) -> None:
    """A restore takes the name away that a link remap leads to: it must be of that form."""
    kind, number = remap_target(remap)
    if kind != "file":
        return
    file = c.files.get(number)
    name = crit.text_of(file.reg.name) if file is not None and file.HasField("reg") else ""
    if not name.startswith("/") or not name.rpartition("/")[2].startswith("link_remap."):
        text = f"it is reached by file {number}, which is no name made by --link-remap"
        c.about_file("remap-link", remap.orig_id, text)


def remaps(c: Context) -> None:
    for remap in c.all_remaps:
        _link(c, remap)
    for id_, remap in c.remaps.items():
        file = c.files.get(id_)
        if id_ not in c.used or file is None or not file.HasField("reg"):
            continue
        kind, number = remap_target(remap)
        if c.is_given(file.reg):
            continue
        if kind == "ghost":
            _ghost(c, id_, file.reg, number)
        elif kind == "task" and not PROC_PATH.fullmatch(crit.text_of(file.reg.name)):
            text = f"'{crit.text_of(file.reg.name)}' is no path below /proc"
            c.about_file("file-remap", id_, text)
        elif kind == "task" and not number & INT32_MAX:
            c.about_file("file-remap", id_, "it belongs to process 0")


def _ghost(c: Context, id_: int, reg: pb.reg_file_entry, number: int) -> None:
    name = f"ghost-file-{number:x}.img"
    image = None
    try:
        image = c.images.get("GHOST_FILE", number)
        if image is None:
            c.about_file("ghost-missing", id_, f"there is no image of the deleted file ({name})")
            return
        entry = next(iter(image), None)
        if entry is None:
            c.about_file("ghost-missing", id_, f"'{name}' is empty")
            return
        assert isinstance(entry.message, pb.ghost_file_entry)
        g = entry.message
        if reg.HasField("mode") and stat.S_IFMT(reg.mode) != stat.S_IFMT(g.mode):
            text = f"'{name}' has mode 0{g.mode:o}, the file 0{reg.mode:o}"
            c.about_file("ghost-make", id_, text)
        _ghost_content(c, id_, g, entry.payload, name)
    except ImageError as e:
        c.about_file("ghost-content", id_, str(e))
    finally:
        if image:
            image.close()


def _ghost_content(
    c: Context, id_: int, g: pb.ghost_file_entry, content: memoryview, name: str
) -> None:
    if not stat.S_ISREG(g.mode):
        return
    filtered = bool(c.images.needs & Needs.FILTERS)
    if not g.chunks:
        if filtered:
            text = f"'{name}' did not go through the page filters of its set"
            c.about_file("ghost-content", id_, text)
        return
    if not g.HasField("size") or g.size > INT64_MAX:
        c.about_file("ghost-content", id_, f"'{name}' has chunks but no sane size")
        return
    for chunk in payload.ghost_chunks(g, content, name):
        e = chunk.entry
        if e.off > g.size or e.len > g.size - e.off:
            c.about_file("ghost-content", id_, f"'{name}' has a chunk beyond its end")
            return
        if filtered and not _is_extent(e) or not filtered and len(chunk.data) != e.len:
            text = f"'{name}' has a chunk of {e.len} bytes that cannot be an extent"
            c.about_file("ghost-content", id_, text)
            return


GHOST_EXTENT = 128 * 1024


def _is_extent(e: pb.ghost_chunk_entry) -> bool:
    known = e.HasField("extent_bytes") and e.HasField("extent_filters")
    return known and 0 < e.len <= GHOST_EXTENT and e.extent_bytes <= GHOST_EXTENT + EXPANSION_MAX
