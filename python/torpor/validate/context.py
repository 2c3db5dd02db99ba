# SPDX-License-Identifier: MIT
"""What rules look at: the set, its graph, its tasks one after the other, the computer it is for."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from torpor.images import ImageError, ImageSet, crit, wire
from torpor.images import messages as pb
from torpor.images.kinds import BY_ID, file_name
from torpor.images.wire import Lazy
from torpor.resgraph import Graph, Node
from torpor.resgraph.rooms_file import TYPES
from torpor.validate import bpf
from torpor.validate.findings import Finding, Findings

if TYPE_CHECKING:
    from torpor.validate.facts import Facts

M = TypeVar("M", bound=pb.Message)
ALIVE, DEAD, STOPPED, OLD_DEAD = 1, 2, 3, 6
INT32_MAX = (1 << 31) - 1
# How a task has a file, what it knows by a number first.
HAVING = (("refers",), ("runs", "works in", "rooted in"), ("maps",))


@dataclass(frozen=True)
class Options:
    """What restore will be told, as far as it decides whether a set can be restored."""

    shell_job: bool = False
    tcp_established: bool = False
    tcp_close: bool = False
    file_locks: bool = False
    ext_unix_sk: bool = False
    skip_file_rwx_check: bool = False
    file_validation: str = "buildid"
    evasive_devices: bool = False
    lazy_pages: bool = False
    page_filters: bool = False  # where those of plugins are: --page-filter, --libdir
    inherit: frozenset[str] = frozenset()  # keys of --inherit-fd
    root: str = ""  # directory that becomes the root of the mounts

    def gives(self, key: str) -> bool:
        """Whether --inherit-fd provides this: pipe[N], socket[N], tty[X:Y], a path."""
        return same_key(key) in self._given

    @functools.cached_property
    def _given(self) -> set[str]:
        return {same_key(k) for k in self.inherit}


def same_key(key: str) -> str:
    """What all ways to write a key of --inherit-fd have in common (options/outside.c).

    The kernel writes pipe:[1234], options have pipe[1234]; a path may lack its first slash.
    """
    return key.removeprefix("/").replace(":[", "[")


@dataclass
class ThreadView:
    """One thread and its image."""

    tid: int
    core: pb.core_entry | None

    @property
    def part(self) -> pb.thread_core_entry | None:
        """Its thread part."""
        if self.core is None or not self.core.HasField("thread_core"):
            return None
        return self.core.thread_core


@dataclass
class TaskView:
    """One task with its images, parsed once for all rules."""

    pid: int
    entry: pb.pstree_entry
    core: pb.core_entry | None
    state: int = 0  # 0: unknown
    threads: list[ThreadView] = field(default_factory=list)
    ids: pb.task_kobj_ids_entry | None = None
    mm: pb.mm_entry | None = None
    areas: Lazy[pb.vma_entry] | None = None
    fs: pb.fs_entry | None = None
    extra: pb.torpor_task_entry | None = None
    owns_table: bool = False

    @property
    def alive(self) -> bool:
        """Whether it is no zombie."""
        return self.state in (ALIVE, STOPPED)

    @property
    def leader_dead(self) -> bool:
        """Whether its leader has ended and other threads live on."""
        return bool(self.extra and self.extra.leader_dead)

    @property
    def comm(self) -> str:
        """Name of its leader."""
        return crit.text_of(self.core.tc.comm) if self.core and self.core.HasField("tc") else "?"

    def running(self) -> Iterator[ThreadView]:
        """Threads that have registers."""
        for i, t in enumerate(self.threads):
            if i or not self.leader_dead:
                yield t


class Context:
    """Everything rules may ask for."""

    def __init__(
        self, images: ImageSet, graph: Graph, options: Options, here: Facts | None = None
    ) -> None:
        self.images = images
        self.graph = graph
        self.options = options
        self.here = here
        self.findings = Findings()
        self.inventory: pb.inventory_entry | None = None
        self.tree: list[pb.pstree_entry] = []
        self.by_pid: dict[int, pb.pstree_entry] = {}
        self.states: dict[int, int] = {}
        """pid -> task_state, of all tasks."""
        self.exit_codes: dict[int, int] = {}
        """pid -> wait status, of zombies."""
        self.files: dict[int, pb.file_entry] = {}
        self.tables: dict[int, list[pb.fdinfo_entry]] = {}
        """files_id -> descriptors"""
        self.table_of: dict[int, int] = {}
        """pid -> files_id, of live tasks"""
        self.ids: dict[int, pb.task_kobj_ids_entry] = {}
        self.extras: dict[int, pb.torpor_task_entry] = {}
        self.file_extras: dict[int, pb.torpor_file_entry] = {}
        self.remaps: dict[int, pb.remap_file_path_entry] = {}
        """File -> how it is reached instead of by its name."""
        self.all_remaps: list[pb.remap_file_path_entry] = []
        self.tids: set[int] = set()
        self.opened: set[int] = set()
        """Files that are made as descriptors."""
        self.used: set[int] = set()
        """Files that restore needs in any way."""
        self.watched: dict[tuple[int, int], int] = {}
        """(epoll file, index) -> file it watches, where the descriptor does not tell."""
        self.programs: set[int] = set()
        """Files that are run."""
        self.memfds: dict[int, pb.memfd_inode_entry] = {}
        self.bpf_contents: dict[int, pb.bpfmap_data_entry] = {}
        """BPF map -> what is in it."""
        self.ttys: dict[int, pb.tty_info_entry] = {}
        self.filters: list[pb.seccomp_filter] = []
        self.segments: dict[int, int] | None = None
        """System V shared memory -> bytes, once they were asked for."""
        self._filter_problems: dict[int, str] = {}
        self.pages_of: dict[tuple[tuple[int, int], int], str] = {}
        """ImageSet.identity and number of a filtered pages file -> pagemap."""
        self.queues: dict[int, pb.torpor_mqueue_content | None] = {}
        """POSIX message queue that is used -> what is in it."""
        self.queue_contents: dict[int, pb.torpor_mqueue_content] = {}
        """The same of all queues; the first of its descriptions has it."""
        self.filters_of: dict[tuple[int, int], int] = {}
        """ImageSet.identity -> page filters, of sets where they were looked at."""
        self.decoded: dict[tuple[ImageSet, str], list[tuple[int, int]]] = {}
        """Set and name of a pagemap -> ranges of its pages that restore decodes, as bytes of what
        its pages file would be without filters."""
        self.read: set[str] = set()
        """Names of images that restore reads."""
        self.looked: set[str] = set()
        """Names of images whose messages went through look_at()."""
        self._strange: set[str] = set()
        self.chain: list[ImageSet] = [images]
        """The set and those it builds on, as far as they were looked at."""

    # --------------------------------------------------------------------------------- findings

    def add(
        self, rule: str, text: str, task: int = 0, image: str = "", node: Node | None = None
    ) -> None:
        """A broken rule, and what of the dump it is about."""
        self.findings.add(Finding(rule, text, task, image, node.id if node else None))

    def add_error(self, e: Exception, task: int = 0) -> None:
        """What reading an image came to."""
        if isinstance(e, ImageError):
            self.add(e.rule, f"{e}", task, e.name)
        elif isinstance(e, FileNotFoundError):
            self.add("image-missing", f"image '{e.filename}' is missing", task, str(e.filename))
        else:
            self.add("image-framing", f"{e}", task)

    def about_file(self, rule: str, id_: int, text: str) -> None:
        """A broken rule of an open file."""
        node = self.graph.find("file", id_)
        self.add(rule, f"{text} (file {id_})", self.user_of(id_), "files.img", node)

    def is_given(self, reg: pb.reg_file_entry) -> bool:
        """Whether a file comes from outside instead of being opened."""
        return reg.ext or self.options.gives(crit.text_of(reg.name))

    def user_of(self, id_: int) -> int:
        """pid of the first task that has a file as descriptor, or else is at it; 0 if none."""
        node = self.graph.find("file", id_)
        edges = (e for reasons in HAVING for e in node.into(*reasons)) if node else iter(())
        for edge in edges:
            task: Node | None = edge.source
            while task is not None and task.kind != "task":
                task = task.one("in", "of")
            if task is not None and isinstance(task.key, int):
                return task.key
        return 0

    # ---------------------------------------------------------------------------------- reading

    def need(self, make: type[M], kind: str, number: int, task: int = 0) -> M | None:
        """The only message of an image that has to be there; a finding if it is not."""
        name = file_name(BY_ID[kind], number)
        self.read.add(name)
        if not self.images.has(kind, number):
            self.add("image-missing", f"image '{name}' is missing", task, name)
            return None
        try:
            message = self.images.one(make, kind, number)
            self.look_at(name, message)
            return message
        except (ImageError, OSError) as e:
            self.add_error(e, task)
            return None

    def look_at(self, name: str, message: pb.Message) -> None:
        """Are there members of newer releases? One finding for each image.

        A known member in a wrong encoding looks the same to protobuf, not to others: ImageError.
        """
        self.looked.add(name)
        if name in self._strange or not _has_unknown(message):
            return
        self._strange.add(name)
        if wire.contradicts_deep(message):
            kind = message.DESCRIPTOR.name
            raise ImageError(name, f"there is no valid {kind}", None, "image-message")
        text = f"image '{name}' holds members that this version does not know"
        self.add("image-unknown", text, 0, name)

    def all(self, make: type[M], kind: str, number: int = 0) -> Iterator[M]:
        """Messages of an image, as far as it can be read."""
        name = file_name(BY_ID[kind], number)
        first = name not in self.looked
        self.read.add(name)
        try:
            for message in self.images.messages(kind, number):
                assert isinstance(message, make)
                if first:
                    self.look_at(name, message)
                yield message
        except (ImageError, OSError) as e:
            self.add_error(e)

    def view(self, entry: pb.pstree_entry) -> TaskView:
        """A task with all its images. What is missing was found by the container's rules."""
        t = TaskView(entry.pid, entry, self._quiet(pb.core_entry, "CORE", entry.pid))
        t.state = self.states.get(entry.pid, 0)
        t.extra = self.extras.get(entry.pid)
        t.threads.append(ThreadView(entry.pid, t.core))
        if not t.alive:
            return t
        for tid in entry.threads[1:]:
            t.threads.append(ThreadView(tid, self._quiet(pb.core_entry, "CORE", tid)))
        t.ids = self.ids.get(entry.pid)
        t.fs = self._quiet(pb.fs_entry, "FS", entry.pid)
        try:
            t.mm, t.areas = self.images.mm(entry.pid)
            self.look_at(f"mm-{entry.pid}.img", t.mm)
        except FileNotFoundError:
            pass
        except (ImageError, OSError) as e:
            self.add_error(e, entry.pid)
        return t

    def _quiet(self, make: type[M], kind: str, number: int) -> M | None:
        try:
            return self.images.one(make, kind, number)
        except (ImageError, OSError):
            return None

    def filter_problem(self, index: int) -> str:
        """Why the kernel would refuse a seccomp filter; "" if it would not."""
        if index not in self._filter_problems:
            self._filter_problems[index] = bpf.problem(self.filters[index].filter)
        return self._filter_problems[index]

    def details(self, entry: pb.file_entry) -> pb.Message | None:
        """The message that describes an open file."""
        known = TYPES.get(entry.type)
        if known and entry.HasField(known[0]):
            found = getattr(entry, known[0])
            assert isinstance(found, pb.Message)
            return found
        return None


def _has_unknown(message: pb.Message) -> bool:
    """Looked at in a copy, which loses them."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy.ByteSize() != message.ByteSize()
