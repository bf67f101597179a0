"""Values inside messages, spelled as Kubernetes' own messages spell them, and lists in messages of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

_ESCAPES: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_DELETE: Final = 0x7F
_BASIC_PLANE_END: Final = 0x10000


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < ord(" ") or code == _DELETE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _BASIC_PLANE_END else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """The text in double quotes, with what cannot be printed escaped, as Go's %q does it."""
    return f'"{"".join(_escaped(character) for character in text)}"'


def json_list(values: Sequence[str] | None) -> str:
    """A list as field errors print it; None is `null`."""
    return json.dumps(values if values is None else list(values), separators=(",", ":"), ensure_ascii=False)


def first_of(names: Sequence[str], most: int) -> str:
    """The first names, and how many there are besides: `a, b, c and 1,204 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def aggregated(problems: Iterable[str]) -> str:
    """Several problems in one text: the only one as it is, more in brackets, each once."""
    listed = list(dict.fromkeys(problems))
    return listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
