# SPDX-License-Identifier: MIT
"""Container and tree: is everything there that restore reads, and can it be read?

These functions fill the context for all other rules. Only what restore reads is judged: a damaged
image that nobody refers to changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from torpor.images import ImageError, crit
from torpor.images import messages as pb
from torpor.images.imageset import Found, Needs
from torpor.images.kinds import Trait, message_class
from torpor.images.limits import IDS_MAX
from torpor.resgraph.builder import OLD_FILES
from torpor.resgraph.rooms_file import TYPE_OF_OLD, TYPES
from torpor.validate.context import ALIVE, DEAD, INT32_MAX, OLD_DEAD, STOPPED, Context

KNOWN_NEEDS = int(Needs.FILTERS | Needs.KEY)
# Not read as lists: parts of tasks, raw bytes, old forms, what belongs elsewhere.
ELSEWHERE = Trait.TASK | Trait.RAW | Trait.OLD | Trait.SERVICE | Trait.SET
RUNS = ("PAGEMAP", "PAGEMAP_SHMEM")
ID_SIZE = 16  # of a set
ANCIENT = ("EVENTPOLL_TFD", "INOTIFY_WD", "FANOTIFY_MARK")


def load(c: Context) -> bool:
    """Reads what everything else needs; False if there is nothing to go on with."""
    if not _inventory(c):
        return False
    _lists(c)
    _files(c)
    _extras(c)
    _tree(c)
    return bool(c.tree)


# ------------------------------------------------------------------------------ the inventory


def _inventory(c: Context) -> bool:
    entry = c.need(pb.inventory_entry, "INVENTORY", 0)
    if entry is None:
        return False
    try:
        needs = c.images.needs
    except ImageError as e:
        c.add_error(e)
        return False
    c.inventory = entry
    name = "inventory.img"
    if needs & ~KNOWN_NEEDS:
        c.add("set-needs", f"the set needs 0x{needs:x}, of which this version knows less", 0, name)
    if c.images.locked:
        c.add_error(c.images.locked)
        return False
    if not has_ids(entry):
        text = "its ids do not have 16 bytes"
        c.add("inventory-set", f"inventory.img: {text}", 0, name)
    if entry.img_version == 0:
        text = "this is a pre-dump, which cannot be restored: a dump goes on from it "
        text += "(--prev-images-dir)"
        c.add("inventory-predump", text, 0, name)
    if not entry.fdinfo_per_id:
        c.add("inventory-old", "the set keeps descriptors by task", 0, name)
    if not entry.HasField("root_ids"):
        c.add("inventory-ids", "inventory.img has no root_ids", 0, name)
    if entry.tcp_close and not c.options.tcp_close:
        text = "TCP connections were given up at the dump; restoring needs --tcp-close, too"
        c.add("inventory-options", text, 0, name)
    return True


def has_ids(entry: pb.inventory_entry) -> bool:
    """Whether the ids of a set and its parent are such, where it has some."""
    if not entry.HasField("torpor"):
        return True
    ids = [entry.torpor.dump_id]
    if entry.torpor.HasField("parent_id"):
        ids.append(entry.torpor.parent_id)
    return all(len(i) == ID_SIZE for i in ids)


# -------------------------------------------------------------------------------------- lists


def _lists(c: Context) -> None:
    """Every list image is read to its end; one that is single has nothing behind its message."""
    for found in c.images.images():
        if found.kind.traits & ELSEWHERE or found.kind.id in ("FILES", "TORPOR_STATE"):
            continue
        c.read.add(found.name)
        try:
            _list(c, found)
        except (ImageError, OSError) as e:
            c.add_error(e)


def _list(c: Context, found: Found) -> None:
    single = found.kind.traits & Trait.ONE
    with c.images.open(found.kind.id, found.number) as image:
        for i, entry in enumerate(image):
            c.look_at(found.name, entry.message)
            if single and i:
                raise ImageError(
                    found.name, "there are bytes behind its only message", entry.offset
                )
            if found.kind.id == "REMAP_FPATH":
                assert isinstance(entry.message, pb.remap_file_path_entry)
                c.remaps[entry.message.orig_id] = entry.message
                c.all_remaps.append(entry.message)
            elif found.kind.id == "TORPOR_FILES":
                _extra_file(c, entry.message)


def _extra_file(c: Context, message: pb.Message) -> None:
    assert isinstance(message, pb.torpor_file_entry)
    if message.id in c.file_extras:
        text = f"file {message.id} stands twice in torpor-files"
        c.add("file-twice", text, 0, "torpor-files")
    c.file_extras[message.id] = message


# -------------------------------------------------------------------------------------- files


def _file_entries(c: Context) -> Iterator[pb.file_entry]:
    """Entries of files.img, or of the images there were before it."""
    some = False
    for entry in c.all(pb.file_entry, "FILES"):
        some = True
        yield entry
    if some:
        return
    for kind in ANCIENT:
        if c.images.has(kind) and any(True for _ in c.all(_class(kind), kind)):
            c.add("image-ancient", f"image of kind {kind} was written by a release that is too old")
    for kind in OLD_FILES:
        type_ = TYPE_OF_OLD[kind]
        for details in c.all(_class(kind), kind):
            entry = pb.file_entry(type=type_, id=details.id)  # type: ignore[attr-defined]
            getattr(entry, TYPES[type_][0]).CopyFrom(details)
            yield entry


def _class(kind: str) -> type[pb.Message]:
    from torpor.images.kinds import BY_ID

    return message_class(BY_ID[kind])


def _files(c: Context) -> None:
    for entry in _file_entries(c):
        image = "files.img"
        if is_own(entry):
            _add_file(c, entry)
            continue
        if entry.type not in TYPES:
            text = f"file {entry.id} has the unknown type {entry.type}"
            c.add("file-details", text, 0, image)
            continue
        details = c.details(entry)
        if details is None:
            name = pb.fd_types(entry.type).name
            c.add("file-details", f"file {entry.id} of type {name} lacks its details", 0, image)
            continue
        if details.id != entry.id:  # type: ignore[attr-defined]
            other = details.id  # type: ignore[attr-defined]
            c.add("file-details", f"file {entry.id} has the details of file {other}", 0, image)
            continue
        _add_file(c, entry)


def is_own(entry: pb.file_entry) -> bool:
    """Types that only torpor knows are described in torpor-files, which their rules look at."""
    return pb.fd_types(entry.type).name.startswith("TORPOR_")


def _add_file(c: Context, entry: pb.file_entry) -> None:
    """Only a tun descriptor shares its id with a file, the device node."""
    old = c.files.get(entry.id)
    tun = entry.type == pb.fd_types.TUNF
    if old is not None and tun == (old.type == pb.fd_types.TUNF):
        c.add("file-twice", f"file {entry.id} stands twice in files.img", 0, "files.img")
    elif old is None or tun:
        c.files[entry.id] = entry


# ------------------------------------------------------------------------------------- the tree


def _extras(c: Context) -> None:
    for entry in c.all(pb.torpor_task_entry, "TORPOR_STATE"):
        c.extras[entry.pid] = entry


def is_id(number: int) -> bool:
    """Whether the kernel could have such a number."""
    return 0 < number <= INT32_MAX


def _tree(c: Context) -> None:
    if not c.images.has("PSTREE"):
        c.add("image-missing", "image 'pstree.img' is missing", 0, "pstree.img")
        return
    n_threads, root = 0, 0
    for entry in c.all(pb.pstree_entry, "PSTREE"):
        _entry(c, entry)
        if not entry.ppid:
            if root:
                text = f"tasks {root} and {entry.pid} are both the root"
                c.add("tree-root", text, entry.pid, "pstree.img")
            root = root or entry.pid
        n_threads += 1 if c.states.get(entry.pid) == DEAD else len(entry.threads)
        if n_threads > IDS_MAX:
            c.add("tree-threads", f"there are more than {IDS_MAX} threads", 0, "pstree.img")
            break
    if not c.tree:
        c.add("tree-empty", "pstree.img is empty", 0, "pstree.img")
    for pid in c.extras:
        if c.states.get(pid) not in (ALIVE, STOPPED):
            text = f"torpor-state speaks of a task {pid} that does not live"
            c.add("state-task", text, 0, "torpor-state")


def _entry(c: Context, entry: pb.pstree_entry) -> None:
    pid, image = entry.pid, "pstree.img"
    if not is_id(pid):
        c.add("tree-numbers", f"pstree.img has a task {pid}", 0, image)
        return
    if entry.ppid and entry.ppid not in c.by_pid:
        text = f"task {pid} comes before its parent {entry.ppid}, or has none"
        c.add("tree-parent", text, pid, image)
    if entry.pgid > INT32_MAX or entry.sid > INT32_MAX:
        text = f"task {pid} has process group {entry.pgid} and session {entry.sid}"
        c.add("tree-numbers", text, pid, image)
    if pid in c.by_pid:
        c.add("task-twice", f"pid {pid} stands twice in the process tree", pid, image)
        return
    c.by_pid[pid] = entry
    c.tree.append(entry)
    core = c.need(pb.core_entry, "CORE", pid, pid)
    if core is not None:
        _state(c, entry, core)
    if c.states.get(pid) in (ALIVE, STOPPED):
        _alive(c, entry)


def _state(c: Context, entry: pb.pstree_entry, core: pb.core_entry) -> None:
    pid, image = entry.pid, f"core-{entry.pid}.img"
    if not core.HasField("tc"):
        c.add("core-task", f"{image} has no task part (tc)", pid, image)
        return
    state = core.tc.task_state
    if state not in (ALIVE, DEAD, STOPPED, OLD_DEAD):
        c.add("core-state", f"task {pid} is in the unknown state {state}", pid, image)
        return
    c.states[pid] = DEAD if state == OLD_DEAD else state
    if c.states[pid] == DEAD:
        c.exit_codes[pid] = core.tc.exit_code


def _alive(c: Context, entry: pb.pstree_entry) -> None:
    """A live task has more images; a table of descriptors may be that of another one."""
    pid = entry.pid
    if not len(entry.threads):
        c.add("tree-threads", f"task {pid} has no thread", pid, "pstree.img")
    for tid in entry.threads[1:]:
        if not is_id(tid):
            c.add("tree-numbers", f"task {pid} has a thread {tid}", pid, "pstree.img")
        else:
            c.need(pb.core_entry, "CORE", tid, pid)
    ids = c.need(pb.task_kobj_ids_entry, "IDS", pid, pid)
    c.need(pb.fs_entry, "FS", pid, pid)
    c.read.add(f"mm-{pid}.img")
    if not c.images.has("MM", pid):
        c.add("image-missing", f"image 'mm-{pid}.img' is missing", pid, f"mm-{pid}.img")
    if ids is None:
        return
    c.ids[pid] = ids
    c.table_of[pid] = ids.files_id
    if ids.files_id in c.tables:
        return
    name = f"fdinfo-{ids.files_id}.img"
    if not c.images.has("FDINFO", ids.files_id):
        c.add("image-missing", f"image '{name}' is missing", pid, name)
    c.tables[ids.files_id] = list(c.all(pb.fdinfo_entry, "FDINFO", ids.files_id))


# -------------------------------------------------------------------------------- unknown members


def unknown(c: Context) -> None:
    """Members of newer releases in images that nobody has read yet.

    Page runs are left out, there are too many; so are areas, of which each is looked at by itself.
    """
    for found in c.images.images():
        kind = found.kind
        if found.name in c.looked or kind.id in RUNS or kind.traits & Trait.RAW:
            continue
        try:
            for message in _messages(c, found):
                c.look_at(found.name, message)
        except ImageError as e:
            if found.name in c.read:
                c.add_error(e)
        except OSError:
            continue


def _messages(c: Context, found: Found) -> Iterator[pb.Message]:
    if found.kind.id == "MM":
        yield c.images.mm(found.number)[0]
        return
    with c.images.open(found.kind.id, found.number) as image:
        yield from image.messages()


def name_of(entry: pb.file_entry) -> str:
    """What people call an open file."""
    kind = pb.fd_types(entry.type).name if entry.type in TYPES else str(entry.type)
    name = crit.text_of(entry.reg.name) if entry.HasField("reg") else ""
    return f"{kind} '{name}'" if name else kind
