"""A plan of faults as a YAML (or JSON) file: strict, and one clear line for what is wrong in it.

    seed: 7
    faults:
    - name: lost-create          # a fault: what selects calls …
      rpc: CreateVolume
      match: "pvc-*"
      calls: 1
      loseAnswer: DEADLINE_EXCEEDED   # … and what happens to them

Keys and their meaning: docs/faults.md. The file is read as manifests are, so messages have its name, the line and the path of the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path as FilePath
from typing import Any, Final, Literal, cast

from volsched.api.csi import METHODS
from volsched.api.documents import Document, Part, TextError, decoded_text, documents, locate, path_text
from volsched.api.quantity import parse as parse_quantity
from volsched.csi.checks import duration_ns
from volsched.csi.faults import CAPACITY_METHODS, NOT_READY_METHODS, Fault, FaultPlan, Kind
from volsched.errors import CsiCode, InputError

INT64_MAX: Final = (1 << 63) - 1
PERCENT_MAX: Final = 100_000
_RANGE: Final = re.compile(r"(\d{1,9})(-(\d{1,9})?)?")
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_CODES: Final = {code.name.replace("_", "").lower(): code for code in CsiCode if code is not CsiCode.OK}
_SELECT: Final = ("name", "rpc", "match", "node", "calls", "probability", "times", "from", "until")
_DECIDES: Final = (Kind.ERROR, Kind.LOSE_ANSWER, Kind.CRASH)
_KEYS: Final = (*_SELECT, *(str(kind) for kind in Kind), "message")


def load_plan(path: FilePath) -> FaultPlan:
    """The plan in a file. Raises InputError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from None
    try:
        text = decoded_text(raw)
    except TextError as error:
        raise InputError(error.message, source=str(path), line=error.line) from None
    return parse_plan(text, source=str(path))


def parse_plan(text: str, *, source: str = "") -> FaultPlan:
    """The plan in a text. Raises InputError."""
    duplicates: list[str] = []
    try:
        found = list(documents(text, duplicate=duplicates.append))
    except TextError as error:
        raise InputError(error.message, source=source or None, line=error.line) from None
    if len(found) != 1:
        raise InputError(f"holds {len(found)} documents, has to hold one: a map with `faults`", source=source or None)
    reader = _Reader(text, found[0], source)
    if duplicates:
        raise InputError("is given twice", source=source or None, path=duplicates[0])
    return reader.plan()


class _Reader:
    """Reads one document. Every complaint is an InputError with the file, the line and the path of what it is about."""

    def __init__(self, text: str, document: Document, source: str) -> None:
        self._text = text
        self._document = document
        self._source = source

    def wrong(self, path: Sequence[Part], message: str) -> InputError:
        return InputError(message, source=self._source or None, line=locate(self._text, self._document, path), path=path_text(path) or None)

    def plan(self) -> FaultPlan:
        root = self._map((), self._document.value, ("seed", "faults"))
        items = root.get("faults")
        if not isinstance(items, list):
            raise self.wrong(("faults",) if "faults" in root else (), "`faults` has to be a list of faults")
        seed = root.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise self.wrong(("seed",), f"is {_shown(seed)}, has to be a whole number")
        faults: list[Fault] = []
        for index, item in enumerate(items):
            fault = self._fault(("faults", index), item, index)
            if any(fault.name == other.name for other in faults):
                raise self.wrong(("faults", index, "name"), f"{fault.name} is the name of another fault")
            faults.append(fault)
        return FaultPlan(tuple(faults), seed)

    # one fault

    def _fault(self, path: tuple[Part, ...], value: Any, index: int) -> Fault:
        item = self._map(path, value, _KEYS)
        does = [kind for kind in Kind if kind in item]
        if not does:
            raise self.wrong(path, f"does nothing; give it one of {', '.join(Kind)}")
        deciding = [kind for kind in _DECIDES if kind in item]
        if len(deciding) > 1:
            raise self.wrong((*path, deciding[1]), f"cannot go together with {deciding[0]}; make two faults of it")
        if "message" in item and not ({Kind.ERROR, Kind.LOSE_ANSWER} & set(does)):
            raise self.wrong((*path, "message"), f"is the text of {Kind.ERROR} or {Kind.LOSE_ANSWER}, and there is neither")
        methods = self._methods(path, item)
        capacity_bytes, capacity_percent = self._read(path, item, "capacity", self._capacity, (None, None))
        from_ns = self._read(path, item, "from", self._duration, 0)
        until_ns = self._read(path, item, "until", self._duration, None)
        if until_ns is not None and until_ns <= from_ns:
            raise self.wrong((*path, "until"), "has to be later than `from`")
        return Fault(
            name=self._read(path, item, "name", self._name, f"fault-{index + 1}"),
            methods=methods,
            match=self._read(path, item, "match", self._globs, ()),
            node=self._read(path, item, "node", self._globs, ()),
            calls=self._read(path, item, "calls", self._calls, ()),
            probability=self._read(path, item, "probability", self._probability, 1.0),
            times=self._read(path, item, "times", self._times, None),
            from_ns=from_ns,
            until_ns=until_ns,
            error=self._read(path, item, Kind.ERROR, self._code, None),
            lose_answer=self._read(path, item, Kind.LOSE_ANSWER, self._code, None),
            message=self._read(path, item, "message", self._message, ""),
            crash=self._read(path, item, Kind.CRASH, self._crash, None),
            delay_ns=self._read(path, item, Kind.DELAY, self._period, 0),
            not_ready_ns=self._read(path, item, Kind.NOT_READY, self._period, None),
            capacity_bytes=capacity_bytes,
            capacity_percent=capacity_percent,
        )

    def _methods(self, path: tuple[Part, ...], item: dict[str, Any]) -> frozenset[str]:
        """The methods that `rpc` selects. Two kinds are about certain methods only: without `rpc` these, and no others with it."""
        limited = None
        if Kind.CAPACITY in item:
            limited = (Kind.CAPACITY, CAPACITY_METHODS)
        if Kind.NOT_READY in item:
            if limited is not None:
                raise self.wrong((*path, Kind.NOT_READY), f"cannot go together with {Kind.CAPACITY}; make two faults of it")
            limited = (Kind.NOT_READY, NOT_READY_METHODS)
        if "rpc" not in item:
            return frozenset(METHODS) if limited is None else limited[1]
        found: set[str] = set()
        patterns = self._globs((*path, "rpc"), item["rpc"])
        for pattern in patterns:
            chosen = {method for method in METHODS if fnmatchcase(method, pattern)}
            if not chosen:
                raise self.wrong((*path, "rpc"), f"{pattern!r} is no CSI call; calls are named CreateVolume, NodePublishVolume, …")
            found |= chosen
        if limited is not None and not found <= limited[1]:
            raise self.wrong((*path, "rpc"), f"{limited[0]} is about {', '.join(sorted(limited[1]))}, not {min(found - limited[1])}")
        return frozenset(found)

    # values

    def _read(
        self, path: tuple[Part, ...], item: dict[str, Any], key: str, read: Callable[[tuple[Part, ...], Any], Any], default: Any
    ) -> Any:
        return read((*path, str(key)), item[key]) if key in item else default

    def _map(self, path: tuple[Part, ...], value: Any, known: Sequence[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(path, f"has to be a map with some of: {', '.join(known)}")
        for key in value:
            if key not in known:
                raise self.wrong((*path, key), f"unknown key; known: {', '.join(known)}")
        return value

    def _name(self, path: tuple[Part, ...], value: Any) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.wrong(path, f"is {_shown(value)}, has to be 1 to 63 letters, digits, '-', '_' or '.'")
        return value

    def _globs(self, path: tuple[Part, ...], value: Any) -> tuple[str, ...]:
        items = value if isinstance(value, list) else [value]
        for number, item in enumerate(items):
            if not isinstance(item, str) or not item:
                where = (*path, number) if isinstance(value, list) else path
                raise self.wrong(where, f"is {_shown(item)}, has to be a name or a pattern in quotes")
        if not items:
            raise self.wrong(path, "is an empty list; leave it out to mean any")
        return tuple(items)

    def _calls(self, path: tuple[Part, ...], value: Any) -> tuple[tuple[int, int | None], ...]:
        ranges: list[tuple[int, int | None]] = []
        for item in value if isinstance(value, list) else str(value).split(",") if isinstance(value, str) else [value]:
            text = str(item).strip() if isinstance(item, (str, int)) and not isinstance(item, bool) else ""
            parts = _RANGE.fullmatch(text)
            first = int(parts[1]) if parts else 0
            last = first if parts and parts[2] is None else int(parts[3]) if parts and parts[3] else None
            if first < 1 or (last is not None and last < first):
                raise self.wrong(path, f'is {_shown(value)}, has to be numbers of calls from 1: 3, "2-4", "5-" or "1,3,7-"')
            ranges.append((first, last))
        if not ranges:
            raise self.wrong(path, "is an empty list; leave it out to mean every call")
        return tuple(ranges)

    def _probability(self, path: tuple[Part, ...], value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= 1:
            raise self.wrong(path, f"is {_shown(value)}, has to be above 0 and at most 1")
        return float(value)

    def _times(self, path: tuple[Part, ...], value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(path, f"is {_shown(value)}, has to be a number from 1")
        return value

    def _duration(self, path: tuple[Part, ...], value: Any) -> int:
        found = duration_ns(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
        if found is None:
            raise self.wrong(path, f"is {_shown(value)}, has to be a duration like 500ms, 8s or 1m30s")
        return found

    def _period(self, path: tuple[Part, ...], value: Any) -> int:
        found = self._duration(path, value)
        if not found:
            raise self.wrong(path, "has to be longer than nothing")
        return found

    def _code(self, path: tuple[Part, ...], value: Any) -> CsiCode:
        found = _CODES.get(value.replace("_", "").lower()) if isinstance(value, str) else None
        if found is None:
            raise self.wrong(path, f"is {_shown(value)}, has to be the name of a gRPC code that is no success, like UNAVAILABLE")
        return found

    def _message(self, path: tuple[Part, ...], value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise self.wrong(path, f"is {_shown(value)}, has to be a text")
        return value

    def _crash(self, path: tuple[Part, ...], value: Any) -> Literal["before", "after"]:
        if value not in ("before", "after"):
            raise self.wrong(path, f"is {_shown(value)}, has to be before or after: the call is not, or is, carried out")
        return cast("Literal['before', 'after']", value)

    def _capacity(self, path: tuple[Part, ...], value: Any) -> tuple[int | None, int | None]:
        """(bytes, None) or (None, percent)."""
        expected = self.wrong(path, f"is {_shown(value)}, has to be bytes like 10Gi or a part of the truth like 50%")
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise expected
        text = str(value)
        if text.endswith("%"):
            number = text.removesuffix("%")
            if not (number.isascii() and number.isdecimal() and int(number) <= PERCENT_MAX):
                raise expected
            return None, int(number)
        try:
            size = parse_quantity(text).value()
        except InputError:
            raise expected from None
        if not 0 <= size <= INT64_MAX:
            raise expected
        return size, None


def _shown(value: Any) -> str:
    """A value as a message shows it."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return "a map" if isinstance(value, dict) else "a list"
    return repr(value) if isinstance(value, str) else str(value)
