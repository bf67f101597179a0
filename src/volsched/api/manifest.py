"""Manifests to objects: files, directories, several documents, `List` kinds, decoded strictly.

A document is looked up in the table of kinds, walked along its type's plan (`volsched.api.schema`) and converted by msgspec. What is wrong
raises InputError with file, document, field path and line; unknown fields are told to `warn` in kubectl's words (`unknown field
"spec.foo"`, the caller adds `Warning: `) and left out, so that manifests of newer clusters still load. Objects are neither defaulted nor
validated here: that is `volsched.api.defaults` and `volsched.api.validation`.

Lines are looked up in the text only when there is something to complain about; the good path keeps no positions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from volsched.api import documents as text_documents
from volsched.api.documents import TEXT_BYTES_MAX, Document, Part, Path, TextError, decoded_text, locate, path_text, text_error
from volsched.api.kinds import KINDS, Kind
from volsched.api.schema import FieldError, Json, look_up, shaped, words
from volsched.api.snapshot import GROUP_SNAPSHOT_V1
from volsched.errors import InputError, UnsupportedError

SUFFIXES: Final = (".yaml", ".yml", ".json")
LIST_DEPTH_MAX: Final = 5  # lists of lists

_GROUP: Final = GROUP_SNAPSHOT_V1.partition("/")[0]
# Served by real clusters beside v1, with the same fields but for what schema.py names.
_AS_V1: Final = {f"{_GROUP}/v1beta1": GROUP_SNAPSHOT_V1, f"{_GROUP}/v1beta2": GROUP_SNAPSHOT_V1}

Warn = Callable[[str], None]
S = TypeVar("S", bound=msgspec.Struct)


class Loaded(NamedTuple):
    """An object and where it came from: file name, 1-based document and line (for an item of a `List`, its own line where known)."""

    object: Any
    source: str
    document: int
    line: int


def _ignore(message: str) -> None:
    """Warnings nobody asked for."""


# Files


def load_files(paths: Sequence[FilePath], *, warn: Warn) -> list[Loaded]:
    """Objects of files and directories in the order given; in a directory *.yaml, *.yml and *.json by name, not those below it."""
    found: list[Loaded] = []
    for path in paths:
        for file in _files_of(path):
            found.extend(_load_file(file, warn))
    return found


def _files_of(path: FilePath) -> list[FilePath]:
    if not path.is_dir():
        return [path]
    files = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES and child.is_file())
    if not files:
        raise InputError("the directory holds no manifest; *.yaml, *.yml and *.json are read", source=str(path))
    return files


def _load_file(path: FilePath, warn: Warn) -> list[Loaded]:
    source = str(path)
    try:
        if (size := path.stat().st_size) > TEXT_BYTES_MAX:
            raise InputError(f"{size} bytes are more than the {TEXT_BYTES_MAX} read from one file; split it", source=source)
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=source) from None
    try:
        text = decoded_text(raw)
    except TextError as error:
        raise text_error(error, source) from None
    return list(_load(text, source, warn, json_only=path.suffix == ".json"))


def load_text(text: str, *, source: str, warn: Warn) -> list[Loaded]:
    """Objects of a text: YAML or JSON, several documents, lists. Raises InputError."""
    return list(_load(text, source, warn, json_only=False))


def _load(text: str, source: str, warn: Warn, *, json_only: bool) -> Iterator[Loaded]:
    def duplicate(path: str) -> None:
        warn(f'duplicate field "{path}"')

    try:
        for document in text_documents.documents(text, json_only=json_only, duplicate=duplicate):
            yield from _objects(document, text, source, warn)
    except TextError as error:
        raise text_error(error, source) from None


def _objects(document: Document, text: str, source: str, warn: Warn) -> Iterator[Loaded]:
    try:
        for value, path in _flattened(document.value, (), None):
            line = document.line
            if len(path) == 2 and isinstance(path[1], int):
                line = document.item_lines.get(path[1], line)
            yield Loaded(_decoded(value, path, warn, lenient=False), source, document.number, line)
    except FieldError as error:
        line = locate(text, document, error.path)
        raise _input_error(error, source=source, document=document.number, line=line, prefix="") from None


def _flattened(value: Json, path: Path, listed_as: tuple[str, str] | None, depth: int = 0) -> Iterator[tuple[Json, Path]]:
    """The objects in a document: itself, or the items of a list, which take kind and version of a typed list such as PodList."""
    if not isinstance(value, dict):
        raise FieldError(path, f"a manifest is a mapping with apiVersion and kind, not {words(value)}")
    kind = value.get("kind")
    if listed_as is not None and kind is None:
        value = {**value, "apiVersion": value.get("apiVersion") or listed_as[0], "kind": listed_as[1]}
    elif isinstance(kind, str) and kind.endswith("List") and "items" in value:
        if depth >= LIST_DEPTH_MAX:
            raise FieldError(path, f"lists inside more than {LIST_DEPTH_MAX} lists")
        items = value["items"]
        if items is not None and not isinstance(items, list):
            raise FieldError((*path, "items"), f"expected a list, got {words(items)}")
        member = kind.removesuffix("List")
        below = (str(value.get("apiVersion") or ""), member) if member else None
        for index, item in enumerate(items or []):
            yield from _flattened(item, (*path, "items", index), below, depth + 1)
        return
    yield value, path


# Decoding


def from_manifest(
    value: Mapping[str, Json],
    *,
    source: str = "",
    document: int | None = None,
    path_prefix: str = "",
    warn: Warn | None = None,
    lenient: bool = False,
) -> Any:
    """The object of one plain dict. Raises InputError with the path of what is wrong.

    `lenient` takes whatever can be decoded at all: nothing is checked, values in string maps become strings, required fields that are
    missing become empty. `volsched verdict` reads with it, since it decides also what an API server would refuse.
    """
    try:
        return _decoded(value, (), warn or _ignore, lenient=lenient)
    except FieldError as error:
        raise _input_error(error, source=source, document=document, line=None, prefix=path_prefix) from None


def _input_error(error: FieldError, *, source: str, document: int | None, line: int | None, prefix: str) -> InputError:
    path = path_text(error.path)
    joined = f"{prefix}.{path}" if prefix and path and not path.startswith("[") else prefix + path
    made = UnsupportedError if error.unsupported else InputError
    return made(error.message, source=source or None, document=document, path=joined or None, line=line)


def _decoded(value: Mapping[str, Json], path: Path, warn: Warn, *, lenient: bool) -> Any:
    kind = _kind_of(value, path, warn)

    def unknown(at: Path) -> None:
        warn(f'unknown field "{path_text(at[len(path) :])}"')

    made = shaped(kind.type, value, path=path, lenient=lenient, unknown=unknown)
    made["apiVersion"] = kind.api_version
    obj = _converted(kind.type, made, path)
    if not lenient:
        _require_name(obj, path)
    return obj


def _converted(struct: type[S], made: Mapping[str, Json], path: Path) -> S:
    try:
        return msgspec.convert(made, struct)
    except msgspec.ValidationError as error:
        raise _from_msgspec(str(error), path, made) from None


def struct_from(struct: type[S], value: Mapping[str, Json], *, path: Path, unknown: Callable[[Path], None]) -> S:
    """A Struct of any type, as strictly as objects are decoded; `unknown` is told where a field is that the type does not have.

    For files that are no manifests. Raises FieldError.
    """
    return _converted(struct, shaped(struct, value, path=path, lenient=False, unknown=unknown), path)


def _require_name(obj: Any, path: Path) -> None:
    metadata = obj.metadata
    if metadata is None or not (metadata.name or metadata.generateName):
        raise FieldError((*path, "metadata", "name"), "Required value: name or generateName is required")


def _kind_of(value: Mapping[str, Json], path: Path, warn: Warn) -> Kind:
    name, version = value.get("kind"), value.get("apiVersion")
    for field, given in (("kind", name), ("apiVersion", version)):
        if given is None or given == "":
            raise FieldError((*path, field), f"Required value: a manifest has apiVersion and kind; volsched knows {_known()}")
        if not isinstance(given, str):
            raise FieldError((*path, field), f"expected a string, got {words(given)}")
    kind = KINDS.get(str(name))
    if kind is None:
        raise FieldError((*path, "kind"), f'no matches for kind "{name}" in version "{version}"; volsched knows {_known()}')
    if version == kind.api_version:
        return kind
    if _AS_V1.get(str(version)) == kind.api_version:
        warn(f"{version} {name} is deprecated; use {kind.api_version} {name}")
        return kind
    raise FieldError(
        (*path, "apiVersion"), f'no matches for kind "{name}" in version "{version}"; volsched knows {name} as {kind.api_version}'
    )


def _known() -> str:
    return ", ".join(KINDS)


_AT: Final = re.compile(r"^(.*?)(?: - at `(?:key in )?\$(.*)`)?$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_EXPECTED: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")
_WORDS: Final = {"array": "a list", "object": "a mapping", "str": "a string", "int": "an integer", "bool": "a boolean", "float": "a number"}


def _from_msgspec(text: str, path: Path, made: Json) -> FieldError:
    """msgspec's complaint in the words of this module, with the path of the value in the document."""
    match = _AT.match(text)
    message, at = (match[1], match[2] or "") if match else (text, "")
    below: list[Part] = [step[1] if step[1] is not None else int(step[2]) for step in _STEP.finditer(at)]
    missing = _MISSING.match(message)
    if missing:
        return FieldError((*path, *below, missing[1]), "Required value")
    expected = _EXPECTED.match(message)
    if expected:
        given = look_up(made, tuple(below))
        wanted = [_WORDS.get(name.strip(), name.strip()) for name in expected[1].split("|") if name.strip() != "null"]
        quotes = wanted == ["a string"] and isinstance(given, (bool, int, float))
        return FieldError((*path, *below), f"expected {' or '.join(wanted)}, got {words(given)}{'; put it in quotes' if quotes else ''}")
    return FieldError((*path, *below), message[:1].lower() + message[1:])
