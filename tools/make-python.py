#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the parts of the Python package that come from the tables of the C side.

usage: make-python.py [--protoc PROGRAM] [--copy] [--depfile FILE] SOURCE OUT

SOURCE is the root of the source tree. Into OUT, which becomes the package `torpor`, go
images/tables.py (image/types.*, kinds/file_kinds.c), images/messages.py, messages.pyi and
messages.bin (proto/*.proto), validate/catalogue.py (model/rules.def), and with --copy everything of
python/torpor. The depfile lists what was read, for ninja. The same script serves meson and pip
(python/setup.py).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)

HEAD = (
    '# SPDX-License-Identifier: MIT\n"""{}\n\nMade by tools/make-python.py: do not edit.\n"""\n\n'
)

# ------------------------------------------------------------------------------ image types

IMAGE = re.compile(
    r'^IMAGE\((\w+),\s*"([^"]+)",\s*"([^"]+)",\s*(0x[0-9a-fA-F]+|0),\s*([&\w]+),\s*([^)]*)\)', re.M
)
FLAG = re.compile(r"^\s*IMGF_(\w+)\s*=\s*(\d+),", re.M)
FILTER = re.compile(r"^\s*TORPOR_FILTER_(\w+) = ([0-9 *]+),", re.M)
MAGIC = re.compile(r"^#define IMAGE_((?:MAGIC|VERSION)_\w+) (0x[0-9a-fA-F]+)u?\b", re.M)
FILE_KIND = re.compile(
    r"^const struct file_kind (file_kind_\w+) = \{.*?^\t\.type = FD_TYPES__(\w+),", re.M | re.S
)


def restorable(source: Path) -> list[str]:
    """Types of files that kinds/file_kinds.c registers."""
    types = {}
    for path in sorted((source / "kinds").glob("*/*.c")):
        types.update(FILE_KIND.findall(path.read_text()))
    names = re.findall(r"^\t&(file_kind_\w+),", (source / "kinds/file_kinds.c").read_text(), re.M)
    if not names or not types.keys() >= set(names):
        sys.exit("kinds/file_kinds.c has a line of a form that make-python.py does not know")
    return sorted(types[n] for n in names)


def image_rows(text: str) -> Iterator[str]:
    """The lines of the table KINDS."""
    found = IMAGE.findall(text)
    if len(found) != len(re.findall(r"^IMAGE\(", text, re.M)):
        sys.exit("types.def has a line of a form that make-python.py does not know")
    for name, crit, pattern, magic, message, flags in found:
        words = [w.strip() for w in flags.split("|")]
        bits = " | ".join(f"Trait.{w.removeprefix('IMGF_')}" for w in words if w != "0")
        entry = message.removeprefix("&").removesuffix("__descriptor")
        entry = "" if entry == "IMAGE_NO_MSG" else entry
        shape = re.sub(r"%l([ux])", r"%\1", pattern).replace("%u", "%d")
        yield (
            f'    Kind("{name}", "{crit}", "{shape}", {magic}, "{entry}", '
            f'{bits or "Trait.NONE"}),\n'
        )


def tables(source: Path) -> str:
    """tables.py"""
    header = (source / "image/types.h").read_text()
    priv = (source / "image/priv.h").read_text()
    flags = "".join(f"    {name} = {bit}\n" for name, bit in FLAG.findall(header))
    magics = "".join(f"{name} = {value}\n" for name, value in MAGIC.findall(priv))
    filters = (source / "include/torpor/page_filter.h").read_text()
    for name, value in FILTER.findall(filters):
        magics += f"{name} = {value}\n"
    files = "".join(f'    "{name}",\n' for name in restorable(source))
    rows = "".join(image_rows((source / "image/types.def").read_text()))
    return (
        HEAD.format("The table of image kinds, from image/types.def.")
        + "from __future__ import annotations\n\nfrom typing import NamedTuple\n\n"
        + magics
        + "\n\nclass Trait:\n"
        + '    """What is special about a kind: bits (image/types.h)."""\n\n    NONE = 0\n'
        + flags
        + "\n\nclass Kind(NamedTuple):\n"
        + '    """One kind of image file."""\n\n'
        + "    id: str  # unique: PAGEMAP_SHMEM\n"
        + "    name: str  # crit's name, which two kinds may share: PAGEMAP\n"
        + "    pattern: str  # of the file name, with at most one number: core-%d.img\n"
        + "    magic: int  # 0: raw, without header and messages\n"
        + '    message: str  # type of the entries, "" if raw\n'
        + "    traits: int  # of Trait\n"
        + "\n\nKINDS: tuple[Kind, ...] = (\n"
        + rows
        + ")\n\n# Types of open files (fd_types) that torpor can restore.\nRESTORABLE = frozenset((\n"
        + files
        + "))\n"
    )


# ------------------------------------------------------------------------------------ rules

RULE = re.compile(
    r'^RULE\("([a-z0-9-]+)", (\w+), (\w+), (\w+),\s*((?:"(?:[^"\\]|\\.)*"[\s,]*)+)\)$', re.M
)


def catalogue(text: str) -> str:
    """catalogue.py, from model/rules.def."""
    rows = []
    found = RULE.findall(text)
    if len(found) != len(re.findall(r"^RULE\(", text, re.M)):
        sys.exit("rules.def has a line of a form that make-python.py does not know")
    for name, severity, stage, area, rest in found:
        words = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
        if len(words) != 3:
            sys.exit(f"rules.def: rule {name} needs three texts")
        texts = "".join(f'        "{w}",\n' for w in words)
        rows.append(
            f'    Rule(\n        "{name}",\n        Severity.{severity},\n        Stage.{stage},\n'
            f'        "{area.lower()}",\n{texts}    ),\n'
        )
    return (
        HEAD.format("The catalogue of rules, from model/rules.def.")
        + "from __future__ import annotations\n\n"
        + "from torpor.validate.rule import Rule, Severity, Stage\n\n"
        + "RULES: dict[str, Rule] = {\n    r.id: r\n    for r in (\n"
        + "".join(rows).replace("\n    ", "\n        ").replace("    Rule(", "        Rule(", 1)
        + "    )\n}\n"
    )


# --------------------------------------------------------------------------------- messages

F = FieldDescriptorProto
INTEGERS = {
    F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_INT32, F.TYPE_FIXED64, F.TYPE_FIXED32, F.TYPE_UINT32,
    F.TYPE_SFIXED32, F.TYPE_SFIXED64, F.TYPE_SINT32, F.TYPE_SINT64, F.TYPE_ENUM,
}  # fmt: skip
SCALARS = {
    F.TYPE_BOOL: "bool",
    F.TYPE_STRING: "str",
    F.TYPE_BYTES: "bytes",
    F.TYPE_DOUBLE: "float",
    F.TYPE_FLOAT: "float",
}


def take_defaults(files: FileDescriptorSet) -> None:
    """Lets a required field that has a default be absent, as the readers in C do (protobuf-c)."""
    for file in files.file:
        for _, m in all_messages(file.message_type):
            for field in m.field:
                if field.label == F.LABEL_REQUIRED and field.default_value:
                    field.label = F.LABEL_OPTIONAL


def flat(name: str) -> str:
    """Python's name of a message or enumeration: core_entry.march is core_entry_march."""
    return name.lstrip(".").replace(".", "_")


def python_type(field: FieldDescriptorProto) -> str:
    """Type of one value of the field."""
    if field.type == F.TYPE_MESSAGE:
        return flat(field.type_name)
    return "int" if field.type in INTEGERS else SCALARS[field.type]


def all_messages(
    messages: Iterable[DescriptorProto], prefix: str = ""
) -> Iterator[tuple[str, DescriptorProto]]:
    """Every message with its full name, nested ones behind the outer one."""
    for m in messages:
        yield prefix + m.name, m
        yield from all_messages(m.nested_type, f"{prefix}{m.name}.")


def all_enums(files: FileDescriptorSet) -> Iterator[tuple[str, EnumDescriptorProto]]:
    """Every enumeration with its full name."""
    for file in files.file:
        for e in file.enum_type:
            yield e.name, e
        for name, m in all_messages(file.message_type):
            for e in m.enum_type:
                yield f"{name}.{e.name}", e


def enum_classes(files: FileDescriptorSet) -> str:
    """The enumerations: the same text for .py and .pyi."""
    text = ""
    for name, e in all_enums(files):
        values = "".join(f"    {v.name} = {v.number}\n" for v in e.value)
        text += f"\n\nclass {flat(name)}(enum.IntEnum):\n{values}"
    return text


def runtime(files: FileDescriptorSet) -> str:
    """messages.py: classes made from messages.bin in a pool of their own.

    The default pool is left alone, so that other software may load its own idea of the same files.
    """
    names = [n for file in files.file for n, _ in all_messages(file.message_type)]
    return (
        HEAD.format("Classes of all image messages, and their enumerations.")
        + "from __future__ import annotations\n\nimport enum\nfrom importlib import resources\n\n"
        + "from google.protobuf.descriptor import Descriptor as MessageType\n"
        + "from google.protobuf.descriptor import FieldDescriptor as Field\n"
        + "from google.protobuf.descriptor_pb2 import FileDescriptorSet\n"
        + "from google.protobuf.descriptor_pool import DescriptorPool\n"
        + "from google.protobuf.message import DecodeError, EncodeError, Message\n"
        + "\ntry:\n    from google.protobuf.message_factory import GetMessageClass\n"
        + "except ImportError:  # before 4.22\n"
        + "    from google.protobuf.message_factory import MessageFactory\n\n"
        + "    GetMessageClass = MessageFactory().GetPrototype\n\n"
        + '__all__ = ["DecodeError", "EncodeError", "Field", "Message", "MessageType"]\n\n'
        + "_files = FileDescriptorSet()\n"
        + "_files.ParseFromString("
        + 'resources.files(__package__).joinpath("messages.bin").read_bytes())\n'
        + "_pool = DescriptorPool()\nfor _f in _files.file:\n"
        + "    _pool.AddSerializedFile(_f.SerializeToString())\n\n\n"
        + "def _class(name):\n"
        + "    return GetMessageClass(_pool.FindMessageTypeByName(name))\n\n\n"
        + "".join(f'{flat(n)} = _class("{n}")\n' for n in names)
        + f"BY_NAME = {{c.DESCRIPTOR.full_name: c for c in ({', '.join(map(flat, names))},)}}\n"
        + enum_classes(files)
    )


STUB_HEAD = """import enum
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from typing import Any, TypeVar, overload

M = TypeVar("M", bound=Message)
T = TypeVar("T")

class DecodeError(Exception): ...
class EncodeError(Exception): ...

class EnumValue:
    name: str
    number: int

class EnumType:
    full_name: str
    values_by_name: dict[str, EnumValue]
    values_by_number: dict[int, EnumValue]

class Field:
    name: str
    number: int
    type: int
    label: int
    message_type: MessageType | None
    enum_type: EnumType | None
    containing_type: MessageType
    default_value: Any
    has_default_value: bool

class MessageType:
    full_name: str
    name: str
    fields: list[Field]
    fields_by_name: dict[str, Field]
    fields_by_number: dict[int, Field]

class UnknownField:
    field_number: int
    wire_type: int
    data: Any

class Message:
    DESCRIPTOR: MessageType
    def UnknownFields(self) -> Sequence[UnknownField]: ...
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...
    def SerializePartialToString(self, *, deterministic: bool = ...) -> bytes: ...
    def ParseFromString(self, serialized: bytes | memoryview) -> int: ...
    def MergeFromString(self, serialized: bytes | memoryview) -> int: ...
    def CopyFrom(self: M, other: M) -> None: ...
    def MergeFrom(self: M, other: M) -> None: ...
    def Clear(self) -> None: ...
    def ClearField(self, name: str) -> None: ...
    def HasField(self, name: str) -> bool: ...
    def ListFields(self) -> list[tuple[Field, Any]]: ...
    def IsInitialized(self) -> bool: ...
    def FindInitializationErrors(self) -> list[str]: ...
    def DiscardUnknownFields(self) -> None: ...
    def ByteSize(self) -> int: ...
    def SetInParent(self) -> None: ...

class Scalars(MutableSequence[T]):
    def insert(self, index: int, value: T) -> None: ...
    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    @overload
    def __setitem__(self, index: int, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...
    @overload
    def __delitem__(self, index: int) -> None: ...
    @overload
    def __delitem__(self, index: slice) -> None: ...
    def __len__(self) -> int: ...

class Messages(Scalars[M]):
    def add(self, **fields: Any) -> M: ...
    def append(self, value: M) -> None: ...
    def __iter__(self) -> Iterator[M]: ...
"""


def stub_of(name: str, message: DescriptorProto) -> str:
    """Class of one message. A member named like its type hides it: that type gets an alias."""
    members = {field.name for field in message.field}
    types = {python_type(field) for field in message.field}
    text = "".join(f"_{t} = {t}\n" for t in sorted(members & types))
    text += f"\nclass {flat(name)}(Message):\n"
    arguments = ""
    for field in message.field:
        one = python_type(field)
        one = f"_{one}" if one in members else one
        if field.label == F.LABEL_REPEATED:
            many = "Messages" if field.type == F.TYPE_MESSAGE else "Scalars"
            text += f"    @property\n    def {field.name}(self) -> {many}[{one}]: ...\n"
            arguments += f", {field.name}: Iterable[{one}] = ..."
            continue
        if field.type == F.TYPE_MESSAGE:
            text += f"    @property\n    def {field.name}(self) -> {one}: ...\n"
        else:
            text += f"    {field.name}: {one}\n"
        arguments += f", {field.name}: {one} | None = ..."
    star = ", *" if arguments else ""
    return text + f"    def __init__(self{star}{arguments}) -> None: ...\n"


def stubs(files: FileDescriptorSet) -> str:
    """messages.pyi"""
    text = HEAD.format("Types of messages.py: a field that is not set reads as its default.")
    text += STUB_HEAD
    for file in files.file:
        for name, message in all_messages(file.message_type):
            text += stub_of(name, message)
    return text + "\nBY_NAME: dict[str, type[Message]]\n" + enum_classes(files)


def descriptors(protoc: str, folder: Path) -> bytes:
    """What protoc understands of all .proto files, without places in the source."""
    names = sorted(p.name for p in folder.glob("*.proto"))
    with tempfile.NamedTemporaryFile() as out:
        command = [protoc, f"-I{folder}", f"--descriptor_set_out={out.name}", *names]
        done = subprocess.run(command, check=False, cwd=folder)
        if done.returncode != 0:
            sys.exit(f"{protoc} failed")
        return Path(out.name).read_bytes()


# ------------------------------------------------------------------------------------- files


def put(path: Path, content: str | bytes) -> None:
    """Writes a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        path.unlink()
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def generate(source: Path, out: Path, protoc: str = "protoc") -> list[Path]:
    """Writes the generated modules below out; returns what they were made from."""
    files = FileDescriptorSet.FromString(descriptors(protoc, source / "proto"))
    take_defaults(files)
    put(out / "images/messages.bin", files.SerializeToString())
    put(out / "images/messages.py", runtime(files))
    put(out / "images/messages.pyi", stubs(files))
    put(out / "images/tables.py", tables(source))
    rules = source / "model/rules.def"
    put(out / "validate/catalogue.py", catalogue(rules.read_text()))
    used = [source / "image" / n for n in ("types.def", "types.h", "priv.h")]
    used += [rules, source / "include/torpor/page_filter.h"]
    used += [source / "kinds/file_kinds.c", *sorted((source / "kinds").glob("*/*.c"))]
    return [Path(__file__).resolve(), *used, *sorted((source / "proto").glob("*.proto"))]


def copy(package: Path, out: Path) -> list[Path]:
    """Copies the package; what is not in it any more goes from out. Returns what was read."""
    found = [package, *(p for p in package.rglob("*") if "__pycache__" not in p.parts)]
    kept = [p for p in found if p.is_file()]
    shutil.rmtree(out, ignore_errors=True)
    for path in kept:
        put(out / path.relative_to(package), path.read_bytes())
    return sorted(found)  # folders too: a new file changes them


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--protoc", default="protoc")
    parser.add_argument("--copy", action="store_true")
    parser.add_argument("--depfile", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    source, used = args.source.resolve(), []
    if args.copy:
        used += copy(source / "python/torpor", args.out)
    used += generate(source, args.out, args.protoc)
    if args.depfile:
        names = " ".join(str(p).replace(" ", "\\ ") for p in used)
        args.depfile.write_text(f"{args.out}: {names}\n")


if __name__ == "__main__":
    main()
