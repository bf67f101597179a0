"""Manifest text to plain values: YAML as kubectl reads it, JSON, several documents in one text, within limits.

YAML is read event by event with libyaml, never recursively, so that a hostile text can neither overflow the stack nor unfold: depth and
the number of values that aliases stand for are counted while building, an anchor inside itself is refused. What a scalar means stands in
`volsched.api.scalars`.

Nothing is remembered about lines on the way, except where each document and each item of a `List` starts. When something is found
wrong later, `locate` reads the text once more and follows the path to the offending value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from volsched.api.scalars import TAG, Json, as_json, as_key, resolve, tagged
from volsched.errors import InputError

DEPTH_MAX: Final = 100  # containers inside one another; Kubernetes' own objects stay below 20
_TOO_DEEP: Final = f"nested deeper than {DEPTH_MAX} levels"
ALIASED_VALUES_MAX: Final = 100_000  # values that all aliases of a document together stand for
TEXT_BYTES_MAX: Final = 512 * 2**20  # one file


class MapKey(str):
    """A part of a path that is the key of a map, printed in brackets: `labels[app]`."""

    __slots__ = ()


Part: TypeAlias = str | int
Path: TypeAlias = tuple[Part, ...]


class Document(NamedTuple):
    """One document of a text: 1-based number and line; `item_lines` is index -> line for the elements of a root `items` list.

    `offset` is where a JSON document starts in the text, None for YAML.
    """

    value: Json
    number: int
    line: int
    item_lines: dict[int, int]
    offset: int | None


class TextError(Exception):
    """A text that cannot be read: why, in which document and line."""

    def __init__(self, message: str, *, document: int | None, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.document = document
        self.line = line


def path_text(path: Sequence[Part]) -> str:
    """A path as Kubernetes prints it: `spec.containers[0].resources.requests[cpu]`."""
    text = ""
    for part in path:
        if isinstance(part, (int, MapKey)):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def decoded_text(raw: bytes) -> str:
    """File content as text: UTF-8, or UTF-16 with a byte order mark. Raises TextError."""
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TextError(
            f"not {encoding.removesuffix('-sig').upper()} text: byte 0x{raw[error.start]:02x}", document=None, line=line
        ) from None


def documents(text: str, *, json_only: bool = False, duplicate: Callable[[str], None] | None = None) -> Iterator[Document]:
    """The documents of a text, empty ones left out but counted. `duplicate` is told the path of a key given twice (YAML).

    A text that starts with `{` or `[` is tried as a stream of JSON values first, as kubectl does, then as YAML.
    Raises TextError.
    """
    start = text.lstrip()[:1]
    if not json_only and start not in ("{", "["):
        yield from _yaml_documents(text, duplicate)
        return
    try:
        found = list(_json_documents(text))
    except TextError as json_error:
        if json_only:
            raise
        try:
            found = list(_yaml_documents(text, duplicate))
        except TextError:
            # Two parsers refused it. Lines of JSON read as JSON to a human, and its message is the one to act on.
            raise json_error from None
    yield from found


# JSON


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_BLANK: Final = re.compile(r"[ \t\r\n]*")


def _skip_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _json_documents(text: str) -> Iterator[Document]:
    at, number, line, counted = _skip_blank(text, 0), 0, 1, 0
    while at < len(text):
        number += 1
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, end = _JSON.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise TextError(f"invalid JSON: {error.msg}", document=number, line=error.lineno) from None
        except RecursionError:
            raise TextError(_TOO_DEEP, document=number, line=line) from None
        except ValueError as error:
            raise TextError(f"invalid JSON: {str(error).partition(';')[0]}", document=number, line=line) from None
        if "\\ud" in text[at:end].lower():
            value = _without_surrogates(value)
        yield Document(value, number, line, {}, at)
        at = _skip_blank(text, end)


def _without_surrogates(value: Json) -> Json:
    """Halves of a surrogate pair become U+FFFD, as Go reads them: no encoder could write them again."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


# YAML documents

_MERGE: Final = MapKey("<<")
_NO_KEY: Final = object()


class _Frame:
    """A container under construction. `before` is how many values the document had when it began."""

    __slots__ = ("anchor", "before", "height", "key", "target")

    def __init__(self, target: Json, anchor: str | None, before: int) -> None:
        self.target = target
        self.key: Any = _NO_KEY
        self.anchor = anchor
        self.before = before
        self.height = 1


class _Anchored(NamedTuple):
    """What an anchor stands for; `size` None while it is still open, so that an alias to it would contain itself."""

    value: Json
    size: int | None
    height: int


class _Builder:
    """Builds one document from its events."""

    def __init__(self, duplicate: Callable[[str], None] | None) -> None:
        self._duplicate = duplicate
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchored] = {}
        self._count = 0
        self._aliased = 0
        self.root: Json = None
        self.item_lines: dict[int, int] = {}

    def scalar(self, event: Any) -> None:
        self._count += 1
        text: str = event.value
        tag: str | None = event.tag
        stack = self._stack
        frame = stack[-1] if stack else None
        is_key = frame is not None and frame.key is _NO_KEY and type(frame.target) is dict
        if tag is None or tag == "":
            plain = event.implicit[0]
            if is_key and plain and text == "<<":
                frame.key = _MERGE  # type: ignore[union-attr]
                return
            value = resolve(text) if plain else text
        elif tag == TAG + "merge" and is_key:
            frame.key = _MERGE  # type: ignore[union-attr]
            return
        else:
            value = tagged(tag, text)
        if not is_key:
            value = as_json(value)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, 1, 0)
        if is_key:
            self._set_key(frame, as_key(value))  # type: ignore[arg-type]
        else:
            self._add(value)

    def alias(self, event: Any) -> None:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise ValueError(f"unknown anchor '{event.anchor}' referenced")
        if found.size is None:
            raise ValueError(f"anchor '{event.anchor}' value contains itself")
        self._count += found.size
        self._aliased += found.size
        if self._aliased > ALIASED_VALUES_MAX:
            raise ValueError(f"aliases stand for more than {ALIASED_VALUES_MAX} values; write the document out")
        stack = self._stack
        if len(stack) + found.height > DEPTH_MAX:
            raise ValueError(_TOO_DEEP)
        if stack:
            frame = stack[-1]
            if frame.key is _NO_KEY and type(frame.target) is dict:
                if isinstance(found.value, (dict, list)):
                    raise ValueError("a mapping key cannot be a mapping or a list")
                self._set_key(frame, as_key(found.value))
                return
            frame.height = max(frame.height, found.height + 1)
        self._add(found.value)

    def start(self, target: Json, event: Any) -> None:
        self._count += 1
        stack = self._stack
        if stack:
            frame = stack[-1]
            if frame.key is _NO_KEY and type(frame.target) is dict:
                raise ValueError("a mapping key cannot be a mapping or a list")
            if len(stack) == 2 and type(target) is dict and stack[0].key == "items":
                self.item_lines[len(frame.target)] = _line(event)
            if len(stack) >= DEPTH_MAX:
                raise ValueError(_TOO_DEEP)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(target, None, 0)
        stack.append(_Frame(target, event.anchor, self._count))

    def end(self) -> None:
        stack = self._stack
        frame = stack.pop()
        if frame.anchor is not None:
            self._anchors[frame.anchor] = _Anchored(frame.target, self._count - frame.before + 1, frame.height)
        if stack:
            stack[-1].height = max(stack[-1].height, frame.height + 1)
        self._add(frame.target)

    def _set_key(self, frame: _Frame, key: str) -> None:
        if key in frame.target and self._duplicate is not None:
            self._duplicate(self._path(key))
        frame.key = key

    def _add(self, value: Json) -> None:
        if not self._stack:
            self.root = value
            return
        frame = self._stack[-1]
        if type(frame.target) is list:
            frame.target.append(value)
        elif frame.key is _MERGE:
            for merged in [value] if isinstance(value, dict) else reversed(value) if isinstance(value, list) else [None]:
                if not isinstance(merged, dict):
                    raise ValueError("map merge requires map or sequence of maps as the value")
                # As in Go: what is merged replaces what stands before it, whatever comes later replaces it.
                frame.target.update(merged)
            frame.key = _NO_KEY
        else:
            frame.target[frame.key] = value
            frame.key = _NO_KEY

    def _path(self, key: str) -> str:
        above = [len(frame.target) if type(frame.target) is list else str(frame.key) for frame in self._stack[:-1]]
        return path_text([*above, key])


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _yaml_documents(text: str, duplicate: Callable[[str], None] | None) -> Iterator[Document]:
    number, line, event = 0, 1, None
    builder = _Builder(duplicate)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                builder.scalar(event)
            elif kind is yaml.MappingStartEvent:
                if not builder._stack:
                    line = _line(event)
                builder.start({}, event)
            elif kind is yaml.SequenceStartEvent:
                if not builder._stack:
                    line = _line(event)
                builder.start([], event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                builder.end()
            elif kind is yaml.AliasEvent:
                builder.alias(event)
            elif kind is yaml.DocumentStartEvent:
                number += 1
                line = _line(event)
                builder = _Builder(duplicate)
            elif kind is yaml.DocumentEndEvent and builder.root is not None:
                yield Document(builder.root, number, line, builder.item_lines, None)
    except ValueError as error:
        raise TextError(str(error), document=number, line=_line(event) if event is not None else None) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or ""
        # libyaml reads ahead in flow collections, so its own, wider limit may be met before ours
        message = _TOO_DEEP if "nesting depth" in problem else f"invalid YAML: {problem}"
        raise TextError(message, document=max(number, 1), line=mark.line + 1 if mark is not None else None) from None
    except yaml.reader.ReaderError as error:
        at = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        raise TextError(f"invalid YAML: {error.reason}", document=max(number, 1), line=at) from None


# Lines, looked up only when something is wrong


def locate(text: str, document: Document, path: Sequence[Part]) -> int:
    """The line of the value at a path, or of the deepest part of the path that exists."""
    if document.offset is not None:
        return text.count("\n", 0, _json_offset(text, document.offset, path)) + 1
    try:
        for number, node in enumerate(yaml.compose_all(text, Loader=yaml.CSafeLoader), start=1):
            if number == document.number:
                return _yaml_line(node, path) or document.line
    except yaml.YAMLError:
        # A later document is broken; the one asked for is not in reach of the composer then.
        return document.line
    return document.line


def _yaml_line(node: Any, path: Sequence[Part]) -> int | None:
    if node is None:
        return None
    line: int = node.start_mark.line + 1
    for part in path:
        child = _yaml_child(node, part)
        if child is None:
            break
        key, node = child
        line = (key if key is not None else node).start_mark.line + 1
    return line


def _yaml_child(node: Any, part: Part) -> tuple[Any, Any] | None:
    """(key node or None, value node) of a child; an entry that came by a merge key is found where it is written."""
    if isinstance(node, yaml.SequenceNode):
        return (None, node.value[part]) if isinstance(part, int) and part < len(node.value) else None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in reversed(node.value):
        if isinstance(key, yaml.ScalarNode) and (key.value == str(part) or _spelled(key) == str(part)):
            return key, value
    for key, value in reversed(node.value):
        if isinstance(key, yaml.ScalarNode) and key.value == "<<":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                found = _yaml_child(merged, part)
                if found is not None:
                    return found
    return None


def _spelled(key: Any) -> str | None:
    try:
        return as_key(resolve(key.value))
    except ValueError:
        return None


def _json_offset(text: str, at: int, path: Sequence[Part]) -> int:
    """Where the value at a path starts; reads only the siblings before it at each level."""
    for part in path:
        below = _json_child(text, at, part)
        if below is None:
            return at
        at = below
    return at


def _json_child(text: str, at: int, part: Part) -> int | None:
    opening = text[at]
    if opening not in "{[":
        return None
    found, index = None, 0
    at = _skip_blank(text, at + 1)
    while text[at] not in "}]":
        if opening == "{":
            key, at = _JSON.raw_decode(text, at)
            at = _skip_blank(text, _skip_blank(text, at) + 1)
            if key == part:
                found = at  # the last of equal keys counts
        elif index == part:
            return at
        _, at = _JSON.raw_decode(text, at)
        at = _skip_blank(text, at)
        if text[at] == ",":
            at = _skip_blank(text, at + 1)
        index += 1
    return found


def text_error(error: TextError, source: str) -> InputError:
    """The error as the user sees it, with the file's name."""
    return InputError(error.message, source=source or None, document=error.document, line=error.line)


def only_document(path: FilePath) -> Json:
    """The value of a file that holds one document. Raises InputError for one that cannot be read or holds another number of them."""
    try:
        found = [document.value for document in documents(decoded_text(path.read_bytes()))]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from error
    except TextError as error:
        raise text_error(error, str(path)) from None
    if len(found) != 1:
        raise InputError(f"holds {len(found)} documents, one is wanted", source=str(path))
    return found[0]
