"""YAML scalars as kubectl understands them.

YAML 1.1 by the rules of go.yaml.in/yaml/v2 (`yes` is a boolean, `0777` is 511, `1_000` is 1000; dates and sexagesimals stay text), then
what sigs.k8s.io/yaml makes of the result on the way to JSON: a float without a fraction is an integer, keys are strings. PyYAML's own
resolver differs in all of these.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from functools import lru_cache
from typing import Any, Final, TypeAlias

from volsched.api.quantity import number_text

Json: TypeAlias = Any

TAG: Final = "tag:yaml.org,2002:"

_WORDS: Final[dict[str, Json]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INTEGER: Final = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]([0-7]+)|0[bB]([01]+)|(0[0-7]*)|([1-9][0-9]*))", re.ASCII)
_BASES: Final = (16, 8, 2, 8, 10)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_DIGITS_MAX: Final = 400  # longer integers overflow a double as well, and stay text


@lru_cache(maxsize=1 << 16)
def resolve(text: str) -> Json:
    """What a plain scalar means to kubectl: a bool, an int, a float, None, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    plain = text if text[0] == "." else text.replace("_", "")
    match = _INTEGER.fullmatch(plain)
    if match is not None and len(plain) < _DIGITS_MAX:
        sign, *digits = match.groups()
        value = next(int(found, base) for found, base in zip(digits, _BASES, strict=True) if found is not None)
        if -(2**63) <= (-value if sign == "-" else value) < 2**63 or (not sign and value < 2**64):
            return -value if sign == "-" else value
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        if number not in (float("inf"), float("-inf")):
            return number
    return text


def as_json(value: Json) -> Json:
    """A float as JSON carries it on: without a fraction it is an integer there. Raises ValueError for what JSON cannot say."""
    if type(value) is not float:
        return value
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} is not a JSON number")
    text = number_text(value)
    return int(text) if text.lstrip("-").isdigit() else value


_EXPECTED: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
    "timestamp": (str,),
}


def tagged(tag: str, text: str) -> Json:
    """A scalar with an explicit tag. Tags other than YAML's own leave the text as it is."""
    name = tag.removeprefix(TAG) if tag.startswith(TAG) else ""
    if name == "binary":
        try:
            return base64.b64decode(text, validate=True).decode("utf-8", "replace")
        except binascii.Error:
            raise ValueError("!!binary value contains invalid base64 data") from None
    if name not in _EXPECTED:
        return text
    value = resolve(text)
    wanted = _EXPECTED[name]
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise ValueError(f"cannot decode `{text}` as a !!{name}")
    return value


def as_key(value: Json) -> str:
    """A mapping key as a string. Raises ValueError for a key that JSON cannot have."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value < 2**63:
        return str(value)
    if isinstance(value, float):
        return _float32_text(value)
    raise ValueError(f"a mapping key cannot be {'null' if value is None else value}; put it in quotes")


def _float32_text(value: float) -> str:
    """A float key as sigs.k8s.io/yaml prints it: shortest form that reads back as the same 32-bit float."""
    try:
        single = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        single = float("inf") if value > 0 else float("-inf")
    if single != single or single in (float("inf"), float("-inf")):
        return ".nan" if single != single else ".inf" if single > 0 else "-.inf"
    digits, power = next(
        (text.partition("e")[0], int(text.partition("e")[2]))
        for text in (f"{single:.{places}e}" for places in range(10))
        if struct.unpack("f", struct.pack("f", float(text)))[0] == single
    )
    if power < -4 or power >= 6:
        return f"{digits}e{'-' if power < 0 else '+'}{abs(power):02d}"
    places = max(len(digits.replace("-", "").replace(".", "")) - 1 - power, 0)
    return f"{single:.{places}f}"
