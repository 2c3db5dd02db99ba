# SPDX-License-Identifier: MIT
"""Can every task have come into its session? Sessions are only inherited at birth.

The ways there are: a parent gives its child the session it is in, or the one it was in before it
made its own; a child of the parent that leads the session makes a sibling; a task below makes the
child and the one between ends; a helper stands for a leader that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from torpor.images import messages as pb


class Births:
    """The tree as restore would make it."""

    def __init__(self, tree: list[pb.pstree_entry]) -> None:
        """`tree` is in order: parents before children, one root."""
        self.entries = {e.pid: e for e in tree}
        self.children: dict[int, list[pb.pstree_entry]] = {}
        self.depth: dict[int, int] = {}
        for e in tree:
            self.children.setdefault(e.ppid, []).append(e)
            self.depth[e.pid] = self.depth.get(e.ppid, -1) + 1
        root = tree[0]
        self.outer = root.sid if root.sid != root.pid else 0
        self.anchors = self._anchors(tree)
        self.helpers: dict[int, int] = {}  # session -> parent of the helper
        self._wanted: dict[int, int] = {}

    def problems(self) -> Iterator[tuple[pb.pstree_entry, int]]:
        """Tasks with a session that nobody can have given them."""
        wanted = self._wanted_sessions()
        born: dict[int, int] = {}
        for e in self.entries.values():
            if not e.ppid:
                born[e.pid] = 0 if e.sid == e.pid else e.sid
                continue
            parent = self.entries[e.ppid]
            sid = wanted[e.pid] if e.sid == e.pid else e.sid
            sid = sid or parent.sid
            born[e.pid] = sid
            if not self._can_be_born(e, parent, sid, born[parent.pid]):
                yield e, sid

    def _can_be_born(
        self, e: pb.pstree_entry, parent: pb.pstree_entry, sid: int, parent_born: int
    ) -> bool:
        if parent.sid == sid or (parent.sid == parent.pid and parent_born == sid):
            return True
        leader = self.entries.get(sid)
        if leader is not None:
            return leader.sid == leader.pid and self._below(leader.pid, parent.pid)
        anchor = self.anchors.get(sid)
        if anchor is None:
            return False
        return self.helpers.setdefault(sid, anchor) == parent.pid

    def _below(self, pid: int, above: int) -> bool:
        """Whether a task is below another one; both are in the tree."""
        up = self.depth[pid] - self.depth[above]
        if up <= 0:
            return False
        for _ in range(up):
            pid = self.entries[pid].ppid
        return pid == above

    def _anchors(self, tree: list[pb.pstree_entry]) -> dict[int, int]:
        """Session without leader -> lowest task above all its members."""
        anchors: dict[int, int] = {}
        for e in tree:
            if e.ppid and e.sid not in self.entries:
                old = anchors.get(e.sid)
                anchors[e.sid] = e.ppid if old is None else self._common(old, e.ppid)
        return anchors

    def _common(self, a: int, b: int) -> int:
        while a != b:
            if self.depth[a] >= self.depth[b]:
                a = self.entries[a].ppid
            else:
                b = self.entries[b].ppid
        return a

    def _wanted_sessions(self) -> dict[int, int]:
        """The session each session leader must be born in for the sake of its children; 0: any."""
        wanted: dict[int, int] = {}
        for e in reversed(list(self.entries.values())):
            wanted[e.pid] = 0
            for child in self.children.get(e.pid, ()):
                sid = wanted[child.pid] if child.sid == child.pid else child.sid
                if self._brings(e, sid):
                    wanted[e.pid] = sid
                    break
        return wanted

    def _brings(self, e: pb.pstree_entry, sid: int) -> bool:
        """Whether the birth of a task is the way by which a session came to its children."""
        if not sid or sid == e.sid:
            return False
        if sid in self.entries:
            return not self._below(sid, e.pid)
        return sid == self.outer or self.anchors.get(sid) != e.pid
