# SPDX-License-Identifier: MIT
"""Images as JSON and back: the form of CRIU's tool crit, byte exact in both directions.

    {"magic": "PSTREE", "entries": [{"pid": 1, ...}, ...]}

Numbers are plain, or with `pretty` as people read them; raw bytes are base64. What crit's form
cannot say stands in keys of our own, only where it is needed: `layout` beside `magic` (1: no common
magic number, 3: torpor's), and `torpor_raw` in an entry whose bytes would otherwise come back
differently (unknown fields, unusual encodings). It is ignored when the entry has been edited.
"""

from __future__ import annotations

import base64
import json
import quopri
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, cast

from torpor.images import hints, kinds, payload
from torpor.images import messages as pb
from torpor.images.errors import ImageError
from torpor.images.hints import Hint
from torpor.images.kinds import Kind, Trait
from torpor.images.messages import Field, Message
from torpor.images.reader import Entry, Image
from torpor.images.writer import pack

Json = dict[str, Any]
RAW = "torpor_raw"
_MESSAGE, _STRING, _BYTES, _ENUM, _BOOL, _REPEATED = 11, 9, 12, 14, 8, 3


class FormError(ValueError):
    """JSON that is not an image; the text names the place: "entries[3].reg.flags: ..."."""


# ------------------------------------------------------------------------------- to JSON


def text_of(value: str | bytes) -> str:
    """A string member as text; bytes that are not UTF-8 become surrogates."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def base64_of(value: bytes | memoryview) -> str:
    """In lines of 76 characters, each with its end."""
    return base64.encodebytes(bytes(value)).decode("ascii")


def message_json(message: Message, pretty: bool = False, inherited: Hint | None = None) -> Json:
    """One message; `inherited` is the hint that holds for all numbers in it."""
    found: Json = {}
    table = hints.HINTS.get(message.DESCRIPTOR.full_name, {})
    for field, value in message.ListFields():
        hint = (table.get(field.name) or inherited) if pretty else None
        found[field.name] = field_json(message.DESCRIPTOR.full_name, field, value, hint, pretty)
    return found


def field_json(owner: str, field: Field, value: Any, hint: Hint | None, pretty: bool) -> Any:
    """The value of one member of the message type `owner`."""

    def one(v: Any) -> Any:
        if field.type == _MESSAGE:
            return message_json(v, pretty, hint)
        if field.type == _STRING:
            return text_of(v)
        if field.type == _BYTES:
            if (owner, field.name) in hints.QUOTED:
                return quopri.encodestring(v).decode("ascii")
            return base64_of(v)
        if field.type == _ENUM and field.enum_type:
            return field.enum_type.values_by_number[v].name
        return hint.show(v) if hint and field.type != _BOOL else v

    if field.label != _REPEATED:
        return one(value)
    if pretty and (owner, field.name) in hints.ADDRESSES:
        shown = hints.show_address(list(value))
        if shown is not None:
            return [shown]
    return [one(v) for v in value]


def _messages_extra(entry: Entry, name: str) -> list[Any]:
    parts: list[Any] = []
    for m in payload.ipc_messages(cast(pb.ipc_msg_entry, entry.message), entry.payload, name):
        parts += [message_json(m.head), base64_of(m.text)]
    return parts


def _tcp_extra(entry: Entry, name: str) -> Json:
    size = cast(pb.tcp_stream_entry, entry.message).inq_len
    return {"inq": base64_of(entry.payload[:size]), "outq": base64_of(entry.payload[size:])}


def _shm_extra(entry: Entry, name: str) -> str:
    size = cast(pb.ipc_shm_entry, entry.message).size if len(entry.payload) else 0
    return base64_of(entry.payload[:size])


# By crit's name of the kind: what stands under the key "extra".
_EXTRAS: dict[str, Callable[[Entry, str], Any]] = {
    "PIPES_DATA": lambda e, n: base64_of(e.payload),
    "FIFO_DATA": lambda e, n: base64_of(e.payload),
    "SK_QUEUES": lambda e, n: base64_of(e.payload),
    "BPFMAP_DATA": lambda e, n: base64_of(e.payload),
    "TORPOR_DIGEST": lambda e, n: base64_of(e.payload),
    "TCP_STREAM": _tcp_extra,
    "IPCNS_SHM": _shm_extra,
    "IPCNS_SEM": lambda e, n: list(
        payload.semaphores(cast(pb.ipc_sem_entry, e.message), e.payload)
    ),
    "IPCNS_MSG": _messages_extra,
}


def _ghost_json(image: Image, entry: Entry, pretty: bool) -> list[Json]:
    ghost = cast(pb.ghost_file_entry, entry.message)
    head = message_json(ghost, pretty)
    if not ghost.chunks:
        head["extra"] = base64_of(entry.payload)
        return [head]
    parts = [head]
    for chunk in payload.ghost_chunks(ghost, entry.payload, image.name):
        parts.append(message_json(chunk.entry, pretty) | {"extra": base64_of(chunk.data)})
    return parts


def entry_json(image: Image, entry: Entry, pretty: bool = False) -> list[Json]:
    """An entry; that of a sparse ghost file is several objects."""
    if image.kind.name == "GHOST_FILE":
        parts = _ghost_json(image, entry, pretty)
    else:
        parts = [message_json(entry.message, pretty)]
        extra = _EXTRAS.get(image.kind.name)
        if extra:
            parts[0]["extra"] = extra(entry, image.name)
    head = isinstance(entry.message, pb.pagemap_head)
    size = 4 + struct.unpack_from("<I", image.data, entry.offset)[0] + len(entry.payload)
    raw = image.data[entry.offset : entry.offset + size]
    if _pack_entry(image.kind, parts, head, "") != raw:
        parts[0][RAW] = base64_of(raw)
    return parts


def image_json(image: Image, pretty: bool = False) -> Json:
    """A whole image."""
    whole: Json = _top(image)
    whole["entries"] = [part for entry in image for part in entry_json(image, entry, pretty)]
    return whole


def _top(image: Image) -> Json:
    if image.kind.traits & Trait.RAW:
        text = "it holds raw bytes and no messages: there is nothing to decode"
        raise ImageError(image.name, text)
    usual = kinds.header(image.kind) == kinds.header(image.kind, image.layout)
    return {"magic": image.kind.name} | ({} if usual else {"layout": image.layout})


def dump(image: Image, out: TextIO, pretty: bool = False) -> None:
    """Writes the JSON text of an image, entry by entry, as json.dump() would write the whole."""
    margin, inner, join = ("\n    ", "\n        ", ",") if pretty else ("", "", ", ")
    head = json.dumps(_top(image))[1:-1]
    if pretty:
        head = head.replace(", ", f",{margin}")
    out.write(f'{{{margin}{head}{"," if pretty else ", "}{margin}"entries": [')
    between = inner
    for entry in image:
        for part in entry_json(image, entry, pretty):
            text = json.dumps(part, indent=4 if pretty else None)
            out.write(between + (text.replace("\n", inner) if pretty else text))
            between = join + inner
    out.write((margin if between != inner else "") + "]" + ("\n}" if pretty else "}") + "\n")


# ----------------------------------------------------------------------------- from JSON


def _bad(where: str, what: str) -> FormError:
    return FormError(f"{where}: {what}")


def _bytes_of(value: Any, where: str) -> bytes:
    if not isinstance(value, str):
        raise _bad(where, "base64 text is expected")
    try:
        return base64.decodebytes(value.encode("ascii"))
    except ValueError:
        raise _bad(where, "this is no base64") from None


def _number_of(field: Field, value: Any, hint: Hint | None, where: str) -> int:
    if field.type == _ENUM and field.enum_type and isinstance(value, str):
        if value not in field.enum_type.values_by_name:
            raise _bad(where, f"there is no {field.enum_type.full_name} '{value}'")
        return field.enum_type.values_by_name[value].number
    try:
        if isinstance(value, str):
            return (hint or hints.HEX).read(value)
        if isinstance(value, int):
            return value
    except ValueError:
        pass
    raise _bad(where, f"'{value}' is no number for this member")


def _delimited(number: int, value: bytes) -> bytes:
    """A field with its length, encoded."""
    parts = bytearray()
    for n in (number << 3 | 2, len(value)):
        while n >= 0x80:
            parts.append(n & 0x7F | 0x80)
            n >>= 7
        parts.append(n)
    return bytes(parts) + value


def _scalar_of(owner: str, field: Field, value: Any, hint: Hint | None, where: str) -> Any:
    if field.type == _STRING:
        if not isinstance(value, str):
            raise _bad(where, "text is expected")
        return value
    if field.type == _BYTES:
        if (owner, field.name) in hints.QUOTED and isinstance(value, str):
            return quopri.decodestring(value.encode("ascii", "surrogateescape"))
        return _bytes_of(value, where)
    if field.type == _BOOL:
        if not isinstance(value, bool):
            raise _bad(where, "true or false is expected")
        return value
    return _number_of(field, value, hint, where)


def fill(message: Message, value: Any, where: str = "", inherited: Hint | None = None) -> None:
    """Sets the members of an empty message; FormError names what does not fit."""
    if not isinstance(value, dict):
        raise _bad(where, "an object is expected")
    owner = message.DESCRIPTOR.full_name
    table = hints.HINTS.get(owner, {})
    for name, v in value.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        here = f"{where}.{name}" if where else name
        if field is None:
            raise _bad(here, f"{owner} has no such member")
        _fill_field(message, field, v, table.get(name) or inherited, here)


def _fill_field(message: Message, field: Field, value: Any, hint: Hint | None, where: str) -> None:
    owner = message.DESCRIPTOR.full_name
    values = [value]
    if field.label == _REPEATED:
        if not isinstance(value, list):
            raise _bad(where, "a list is expected")
        values = value
        if (owner, field.name) in hints.ADDRESSES and len(value) == 1 and isinstance(value[0], str):
            try:
                values = list(hints.read_address(value[0]))
            except ValueError:
                raise _bad(where, f"'{value[0]}' is no internet address") from None
    for i, v in enumerate(values):
        here = f"{where}[{i}]" if field.label == _REPEATED else where
        if field.type == _MESSAGE:
            member = getattr(message, field.name)
            inner = member.add() if field.label == _REPEATED else member
            inner.SetInParent()
            fill(inner, v, here, hint)
        else:
            _set(message, field, _scalar_of(owner, field, v, hint, here), here)


def _set(message: Message, field: Field, value: Any, where: str) -> None:
    try:
        if field.label == _REPEATED:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    except UnicodeEncodeError:
        # bytes that are not UTF-8: protobuf takes them only in encoded form
        raw = value.encode("utf-8", "surrogateescape")
        message.MergeFromString(_delimited(field.number, raw))
    except (ValueError, TypeError, OverflowError):
        raise _bad(where, f"'{value}' does not fit into this member") from None


def _words(value: Any, where: str) -> bytes:
    try:
        return struct.pack(f"<{len(value)}H", *value)
    except (struct.error, TypeError):
        raise _bad(where, "a list of numbers below 65536 is expected") from None


def _messages_bytes(value: Any, where: str) -> bytes:
    if not isinstance(value, list) or len(value) % 2:
        raise _bad(where, "a list of messages and texts in turn is expected")
    parts = []
    for i in range(0, len(value), 2):
        head = pb.ipc_msg()
        fill(head, value[i], f"{where}[{i}]")
        text = _bytes_of(value[i + 1], f"{where}[{i + 1}]")
        parts += [pack(head), text, b"\0" * (-len(text) % 8)]
    return b"".join(parts)


def _pair(value: Any, first: str, second: str, where: str) -> bytes:
    if not isinstance(value, dict) or set(value) != {first, second}:
        raise _bad(where, f"an object with '{first}' and '{second}' is expected")
    return _bytes_of(value[first], where) + _bytes_of(value[second], where)


def _bpf_bytes(value: Any, where: str) -> bytes:
    """Releases differ: one text, or two."""
    if isinstance(value, str):
        return _bytes_of(value, where)
    return _pair(value, "keys", "values", where)


def _shm_bytes(value: Any, where: str) -> bytes:
    data = _bytes_of(value, where)
    return data + b"\0" * (-len(data) % 4)


def _sem_bytes(value: Any, where: str) -> bytes:
    data = _words(value, where)
    return data + b"\0" * (-len(data) % 8)


_BYTES_OF: dict[str, Callable[[Any, str], bytes]] = {
    "PIPES_DATA": _bytes_of,
    "FIFO_DATA": _bytes_of,
    "SK_QUEUES": _bytes_of,
    "GHOST_FILE": _bytes_of,
    "TORPOR_DIGEST": _bytes_of,
    "BPFMAP_DATA": _bpf_bytes,
    "TCP_STREAM": lambda v, w: _pair(v, "inq", "outq", w),
    "IPCNS_SHM": _shm_bytes,
    "IPCNS_SEM": _sem_bytes,
    "IPCNS_MSG": _messages_bytes,
}


def _pack_one(
    make: type[Message], value: Json, take: Callable[[Any, str], bytes] | None, where: str
) -> bytes:
    message = make()
    extra = value.get("extra")
    if extra is not None and take is None:
        raise _bad(where, "this kind has no 'extra'")
    fill(message, {k: v for k, v in value.items() if k not in ("extra", RAW)}, where)
    try:
        head = pack(message)
    except pb.EncodeError as e:
        raise _bad(where, str(e)) from None
    return head + (take(extra, f"{where}.extra") if take and extra is not None else b"")


def _pack_entry(kind: Kind, parts: list[Json], head: bool, where: str) -> bytes:
    """The bytes of one entry, which is several objects for a sparse ghost file."""
    take = _BYTES_OF.get(kind.name)
    make = (kinds.head_class(kind) if head else None) or kinds.message_class(kind)
    packed = _pack_one(make, parts[0], take, where)
    return packed + b"".join(
        _pack_one(pb.ghost_chunk_entry, part, take, where) for part in parts[1:]
    )


def _groups(kind: Kind, entries: list[Any]) -> Iterable[list[Any]]:
    if kind.name == "GHOST_FILE":
        return [entries] if entries else []
    return ([e] for e in entries)


def _unedited(kind: Kind, parts: list[Any], head: bool, where: str) -> bytes | None:
    """The original bytes of an entry, if it still says what they say."""
    if not isinstance(parts[0], dict) or RAW not in parts[0]:
        return None
    raw = _bytes_of(parts[0][RAW], f"{where}.{RAW}")
    before = b"" if head or not kinds.head_class(kind) else pack(pb.pagemap_head(pages_id=1))
    data = kinds.header(kind) + before + raw
    try:
        image = Image(memoryview(data), "torpor_raw", kind)
        entry = list(image)[-1]
        same = any(parts == entry_json(image, entry, pretty) for pretty in (False, True))
    except ImageError:
        return None
    return raw if same else None


def image_bytes(value: Any) -> bytes:
    """The image file of a JSON object; FormError says what is wrong with it."""
    if not isinstance(value, dict) or not isinstance(value.get("entries"), list):
        raise FormError("this is no image: an object with 'magic' and 'entries' is expected")
    kind = _kind_of(value.get("magic"))
    layout = value.get("layout", 2)
    if layout not in kinds.LAYOUTS:
        raise _bad("layout", "1, 2 or 3 is expected")
    parts = [kinds.header(kind, layout)]
    for i, group in enumerate(_groups(kind, value["entries"])):
        parts.append(_entry_bytes(kind, group, i))
    return b"".join(parts)


def _entry_bytes(kind: Kind, group: list[Any], index: int) -> bytes:
    where, head = f"entries[{index}]", index == 0
    for part in group:
        if not isinstance(part, dict):
            raise _bad(where, "an object is expected")
    return _unedited(kind, group, head, where) or _pack_entry(kind, group, head, where)


def _kind_of(name: Any) -> Kind:
    """The kind crit calls so; where two share a name they share everything else here."""
    for kind in kinds.KINDS:
        if kind.name == name and kind.magic and kind.message:
            return kind
    raise _bad("magic", f"there is no kind of image '{name}'")


def entries_of(image: Image, pretty: bool = False) -> Iterator[Json]:
    """The entries of an image as JSON, one after the other."""
    for entry in image:
        yield from entry_json(image, entry, pretty)
