"""The part of kubectl's JSONPath that scripts use: `-o jsonpath=`, `-o custom-columns=`, `--sort-by`.

    {.status.phase}   {.items[*].metadata.name}   {.spec.containers[0].image}   {.metadata.labels['a.b/c']}   {.metadata.labels.a\\.b/c}
    {.status.conditions[?(@.type=="Ready")].status}   {range .items[*]}{.metadata.name}{"\\n"}{end}   text outside braces as it is

What is not there prints as nothing. Filters compare with == and != only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from volsched.api.kinds import Json, to_json
from volsched.api.quantity import parse as parse_quantity
from volsched.errors import InputError

_NAME: Final = re.compile(r"\.((?:\\.|[^.\[\]{}\\'\" ])+)")
_INDEX: Final = re.compile(r"\[(-?\d+)\]")
_ANY: Final = re.compile(r"\[\*\]|\.\*")
_KEY: Final = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\")\]")
_FILTER: Final = re.compile(r"\[\?\(\s*@(?P<path>[^=!\s]*)\s*(?P<operator>==|!=)\s*(?P<value>'[^']*'|\"[^\"]*\"|[^\s)]+)\s*\)\]")

Step = Callable[[Json], Iterator[Json]]


class _Range(NamedTuple):
    """`{range PATH}…{end}`."""

    steps: list[Step]
    body: list[Any]


def _member(name: str) -> Step:
    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, dict) and value.get(name) is not None:
            yield value[name]

    return step


def _element(index: int) -> Step:
    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _every(value: Json) -> Iterator[Json]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from (value[key] for key in sorted(value))


def _chosen(path: list[Step], operator: str, wanted: str) -> Step:
    def step(value: Json) -> Iterator[Json]:
        for element in value if isinstance(value, list) else ():
            found = [_plain(item) for item in _walk(element, path)]
            if (wanted in found) is (operator == "=="):
                yield element

    return step


def parse_path(text: str) -> list[Step]:
    """The steps of a path; braces, `$` and the leading dot are optional. Raises InputError."""
    path = text.strip()
    if path.startswith("{") and path.endswith("}"):
        path = path[1:-1].strip()
    path = path.removeprefix("$")
    if path and path[0] not in ".[":
        path = "." + path
    steps: list[Step] = []
    at = 0
    while at < len(path) and path != ".":
        for pattern, make in _STEPS:
            match = pattern.match(path, at)
            if match:
                steps.append(make(match))
                at = match.end()
                break
        else:
            raise InputError(f"JSONPath {text!r} is not understood from {path[at:]!r} on")
    return steps


_STEPS: Final[Sequence[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]]]] = (
    (_ANY, lambda match: _every),
    (_NAME, lambda match: _member(re.sub(r"\\(.)", r"\1", match[1]))),
    (_INDEX, lambda match: _element(int(match[1]))),
    (_KEY, lambda match: _member(match[1] if match[1] is not None else match[2])),
    (_FILTER, lambda match: _chosen(parse_path(match["path"] or "."), match["operator"], match["value"].strip("'\""))),
)


def _walk(value: Json, steps: Sequence[Step]) -> list[Json]:
    values = [value]
    for step in steps:
        values = [found for item in values for found in step(item)]
    return values


def _plain(value: Json) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Template:
    """A text with expressions in braces. Raises InputError when it cannot be read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parts, rest = self._parsed(text, nested=False)
        if rest:
            raise InputError(f"JSONPath template {text!r}: {{end}} without {{range}}")

    def _parsed(self, text: str, *, nested: bool) -> tuple[list[Any], str]:
        parts: list[Any] = []
        while text:
            head, brace, text = text.partition("{")
            if head:
                parts.append(head)
            if not brace:
                break
            inside, text = self._braced(text)
            if inside == "end":
                return parts, text if nested else "{end}"
            if inside.startswith("range "):
                body, text = self._parsed(text, nested=True)
                parts.append(_Range(parse_path(inside[6:]), body))
            elif inside[:1] in "\"'" and inside[:1] == inside[-1:] and len(inside) > 1:
                parts.append(self._literal(inside))
            else:
                parts.append(parse_path(inside))
        if nested:
            raise InputError(f"JSONPath template {self._text!r}: {{range}} without {{end}}")
        return parts, ""

    def _braced(self, text: str) -> tuple[str, str]:
        """Up to the brace that closes, those in quotes aside."""
        quote = ""
        for at, char in enumerate(text):
            if quote:
                quote = "" if char == quote and text[at - 1] != "\\" else quote
            elif char in "\"'":
                quote = char
            elif char == "}":
                return text[:at].strip(), text[at + 1 :]
        raise InputError(f"JSONPath template {self._text!r}: a brace is not closed")

    def _literal(self, quoted: str) -> str:
        try:
            return str(json.loads(f'"{quoted[1:-1]}"'))
        except ValueError as error:
            raise InputError(f"JSONPath template {self._text!r}: {quoted} is no text") from error

    def render(self, value: Json) -> str:
        """The text for one value."""
        return self._rendered(self._parts, value)

    def _rendered(self, parts: Sequence[Any], value: Json) -> str:
        out = []
        for part in parts:
            if isinstance(part, str):
                out.append(part)
            elif isinstance(part, _Range):
                out += [self._rendered(part.body, item) for item in _walk(value, part.steps)]
            else:
                out.append(" ".join(_plain(found) for found in _walk(value, part)))
        return "".join(out)


def custom_columns(spec: str, objects: Sequence[Any]) -> tuple[list[str], list[list[str]]]:
    """TITLE:PATH,…: the titles and a row for each object. Raises InputError."""
    titles, paths = [], []
    for column in re.split(r",(?![^\[]*\])", spec):
        title, colon, path = column.partition(":")
        if not colon or not title or not path:
            raise InputError(f'custom-columns: "{column}" is not TITLE:PATH')
        titles.append(title)
        paths.append(parse_path(path))
    rows = []
    for obj in objects:
        value = to_json(obj)
        rows.append([",".join(_plain(found) for found in _walk(value, path)) or "<none>" for path in paths])
    return titles, rows


def sorted_by(objects: Sequence[Any], path: str) -> list[Any]:
    """Objects by a field: numbers and quantities by value, everything else as text; objects without it first."""
    steps = parse_path(path)

    def rank(obj: Any) -> tuple[int, Any, str]:
        found = _walk(to_json(obj), steps)
        if not found:
            return 0, 0, ""
        text = _plain(found[0])
        try:
            return 1, parse_quantity(text), text
        except InputError:
            return 2, 0, text

    return sorted(objects, key=rank)
