# SPDX-License-Identifier: MIT
"""A directory of images: what is there, what must be there, the sets it builds on."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from torpor.images import messages as pb
from torpor.images.errors import ImageError
from torpor.images.kinds import (
    BY_ID,
    LAYOUT,
    LAYOUT_OLD,
    Kind,
    Trait,
    file_name,
    parse_name,
)
from torpor.images.keys import Keys
from torpor.images.limits import GROWTH
from torpor.images.reader import SEALED, Image
from torpor.images.sealed import Sealed
from torpor.images.tables import VERSION_TORPOR
from torpor.images.wire import Lazy

M = TypeVar("M", bound=pb.Message)
# Traits of images that are never encrypted as a whole.
PLAIN = Trait.RAW | Trait.SERVICE
# Sets behind each other; a chain of links that bites its own tail ends here.
CHAIN_MAX = 1000


class Needs(enum.IntFlag):
    """What a reader must be able to do (torpor_set_entry.needs)."""

    FILTERS = 1  # pages are compressed, encrypted or otherwise changed
    KEY = 2  # all images are encrypted


class Found(NamedTuple):
    """An image file of a set."""

    kind: Kind
    number: int  # in the file name; 0 where there is none
    name: str


class ImageSet:
    """An images directory, opened for reading.

    Nothing but the names of the files is read before it is asked for, so a set of any size opens
    at once. Images that were opened are the caller's to close; closing the set closes only its
    own descriptor.
    """

    def __init__(self, path: str | Path, growth: int = GROWTH, keys: Keys | None = None) -> None:
        """OSError if there is no such directory. An empty one is no error yet.

        `growth`: memory a parsed message may take for each of its bytes (limits.GROWTH_STRICT for
        sets of strangers). `keys` open this set and its parents, if they are encrypted; `locked`
        says what came of it.
        """
        self.path = Path(path)
        self.growth = growth
        self._keys = keys
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._found: dict[tuple[str, int], Found] = {}
        self.others: list[str] = []
        """Names of files that are no images: logs, pidfiles."""
        self._scan()
        self._layout: int | None = None
        self._needs = 0
        self.sealed: Sealed | None = None
        """What reads the files of an encrypted set, once it was opened."""
        self._locked: ImageError | None = None
        if keys:
            self._unlock(keys)

    def close(self) -> None:
        """Closes the directory; a second time is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> ImageSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _scan(self) -> None:
        with os.scandir(self._fd) as entries:
            names = sorted(e.name for e in entries)
        for name in names:
            known = parse_name(name)
            if known:
                kind, number = known
                self._found[(kind.id, number)] = Found(kind, number, name)
            else:
                self.others.append(name)

    def _unlock(self, keys: Keys) -> None:
        """From then on the set has the files its manifest names, and those that are not sealed."""
        try:
            if not self.encrypted:
                return
            self.sealed = Sealed(self._fd, self.inventory().torpor, keys)
        except ImageError as e:
            self._locked = e  # an inventory that cannot be read is found again by who reads it
            return
        self._found = {
            where: found
            for where, found in self._found.items()
            if found.kind.traits & Trait.SERVICE
            or found.kind.id == "INVENTORY"
            or found.name in self.sealed.files
        }

    # ---------------------------------------------------------------------------- which there are

    def images(self, kind: str | Kind | None = None) -> Iterator[Found]:
        """The images of the directory, or those of one kind, by name."""
        wanted = kind.id if isinstance(kind, Kind) else kind
        for found in self._found.values():
            if wanted is None or found.kind.id == wanted:
                yield found

    def numbers(self, kind: str) -> list[int]:
        """Numbers of the images of a kind, ascending."""
        return sorted(f.number for f in self.images(kind))

    def has(self, kind: str, number: int = 0) -> bool:
        """Whether the directory holds this image."""
        return (kind, number) in self._found

    def find(self, kind: str, number: int = 0) -> Found | None:
        """The image of a kind with this number, if there is one."""
        return self._found.get((kind, number))

    # ----------------------------------------------------------------------------------- opening

    def open(self, kind: str, number: int = 0) -> Image:
        """Opens an image; FileNotFoundError if the set has none of that kind and number."""
        type_ = BY_ID[kind]
        name = file_name(type_, number)
        layout: int | None = None
        if self.sealed and kind != "PAGES" and not type_.traits & Trait.SERVICE:
            data = self._content(kind, name)
            return Image(memoryview(data), name, type_, None, self.growth)
        if kind != "INVENTORY":
            layout = self.layout
            if self._needs:
                if self.encrypted and not type_.traits & PLAIN:
                    raise ImageError(name, SEALED, None, "set-encrypted")
                # files of such a set begin in different ways
                layout = layout if layout == LAYOUT_OLD else None
        return Image.open(name, type_, layout, self._fd, self.growth)

    def _content(self, kind: str, name: str) -> bytes:
        """Of a file of an encrypted set that was opened."""
        assert self.sealed
        return self.sealed.inventory if kind == "INVENTORY" else self.sealed.content(name)

    def get(self, kind: str, number: int = 0) -> Image | None:
        """Same, but None if there is none: for readers that is the same as an empty one."""
        return self.open(kind, number) if self.has(kind, number) else None

    def messages(self, kind: str, number: int = 0) -> Iterator[pb.Message]:
        """All messages of an image; none if it is not there."""
        image = self.get(kind, number)
        if image:
            with image:
                yield from image.messages()

    def one(self, make: type[M], kind: str, number: int = 0) -> M:
        """The only message of an image that has to be there."""
        with self.open(kind, number) as image:
            return image.one(make)

    def mm(self, number: int) -> tuple[pb.mm_entry, Lazy[pb.vma_entry]]:
        """An address space: the message without its areas, and the areas, parsed one at a time."""
        image = self.open("MM", number)
        rest, areas = image.one_split(pb.mm_entry, "vmas", pb.vma_entry)
        return rest, areas

    def _learn(self) -> tuple[int, int]:
        """Layout of the files, and what reading the set needs (Needs)."""
        if not self.has("INVENTORY"):
            return LAYOUT, 0
        entry = self.inventory()
        version = entry.img_version
        # a pre-dump says 0; its layout is the current one
        if version not in (0, LAYOUT_OLD, LAYOUT, VERSION_TORPOR):
            text = f"version {version} was made by a newer program"
            raise ImageError("inventory.img", text, None, "inventory-version")
        needs = entry.torpor.needs if entry.HasField("torpor") else 0
        return LAYOUT_OLD if version == LAYOUT_OLD else LAYOUT, needs

    @property
    def layout(self) -> int:
        """How the files of the set begin, as the inventory says (kinds.LAYOUT ...)."""
        if self._layout is None:
            self._layout, self._needs = self._learn()
        return self._layout

    @property
    def needs(self) -> int:
        """What is needed to read this set (Needs); 0 for sets that CRIU can read."""
        return self._needs if self.layout else 0

    @property
    def encrypted(self) -> bool:
        """Whether all images but the inventory are encrypted: only torpor can read them."""
        return bool(self.needs & int(Needs.KEY))

    @property
    def locked(self) -> ImageError | None:
        """Why an encrypted set cannot be read; None if it can, or is none.

        A keys.WrongKeyError if the keys that were given are not its own.
        """
        if self.sealed or not self.encrypted:
            return None
        text = "the set is encrypted; this looks only at its inventory"
        return self._locked or ImageError("inventory.img", text, None, "set-encrypted")

    def inventory(self) -> pb.inventory_entry:
        """The head of the set."""
        return self.one(pb.inventory_entry, "INVENTORY")

    def size(self, found: Found) -> int:
        """Bytes of an image file, of its content if the file is sealed."""
        if self.sealed and found.name in self.sealed.files and found.kind.id != "PAGES":
            return self.sealed.length(found.name)
        return os.stat(found.name, dir_fd=self._fd).st_size

    # ----------------------------------------------------------------------------------- parents

    def parent(self) -> ImageSet | None:
        """The set this one builds on (the link `parent`); OSError if the link leads nowhere."""
        try:
            os.readlink("parent", dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise ImageError("parent", f"this is no link ({e.strerror})", None, "chain-link") from e
        return ImageSet(self.path / "parent", self.growth, self._keys)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the directory."""
        st = os.fstat(self._fd)
        return st.st_dev, st.st_ino

    def chain(self) -> list[ImageSet]:
        """This set and all it builds on, newest first; ImageError for a circle.

        Whoever asks closes them.
        """
        sets, seen = [self], {self.identity}
        try:
            while parent := sets[-1].parent():
                sets.append(parent)
                if len(sets) > CHAIN_MAX or parent.identity in seen:
                    text = "the chain of parents leads back into itself"
                    raise ImageError("parent", text, None, "chain-circle")
                seen.add(parent.identity)
        except BaseException:
            for parent in sets[1:]:
                parent.close()
            raise
        return sets
