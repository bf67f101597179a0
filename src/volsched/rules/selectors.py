"""Label selectors in their three spellings, and field selectors.

Every spelling becomes a `Selector`: a list of requirements that all have to hold. A requirement is checked when it is made, so an invalid
selector is known before anything is compared with it; what an invalid one means differs from place to place (spec/scheduling.md 6.4) and
is the caller's business.

    LabelSelector (claims, capacity, spread, affinity)  --compile_selector-->      Selector
    NodeSelectorRequirement (topology.py)               --Requirement.make-->      Requirement
    `a=b,c!=d,e in (x,y),f,!g` (command line)           --parse_label_selector-->  Selector.matches
    `spec.nodeName=n1,status.phase!=Failed`             --parse_field_selector-->  test of an object's JSON

Source: apimachinery/pkg/labels/selector.go, apimachinery/pkg/fields/selector.go, apimachinery/pkg/api/validate/content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import NodeSelectorRequirement
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from volsched.errors import InputError
from volsched.rules.numbers import parse_int64
from volsched.rules.texts import aggregated, json_list, quoted

IN: Final = "In"
NOT_IN: Final = "NotIn"
EXISTS: Final = "Exists"
DOES_NOT_EXIST: Final = "DoesNotExist"
GT: Final = "Gt"
LT: Final = "Lt"

LABEL_VALUE_BYTES_MAX: Final = 63
LABEL_PREFIX_BYTES_MAX: Final = 253

NODE_OPERATORS: Final = (IN, NOT_IN, EXISTS, DOES_NOT_EXIST, GT, LT)

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")

_CHARACTERS: Final = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_KEY_RULE: Final = (
    f"{_CHARACTERS} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE: Final = (
    f"a valid label must be an empty string or {_CHARACTERS.removeprefix('must ')} (e.g. 'MyValue',  or 'my_value',  or '12345', "
    "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_PREFIX_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


class SelectorError(ValueError):
    """A selector that no object can be compared with; `problems` are what is wrong, each with the field it is wrong in."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(aggregated(problems))


def label_key_problems(key: str) -> list[str]:
    """What keeps the text from being a qualified name: an optional DNS subdomain and a slash, then a name of at most 63 characters."""
    parts = key.split("/")
    if len(parts) > 2:
        return [f"a valid label key {_KEY_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    problems: list[str] = []
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            if len(prefix.encode()) > LABEL_PREFIX_BYTES_MAX:
                problems.append(f"prefix part must be no more than {LABEL_PREFIX_BYTES_MAX} bytes")
            if not _SUBDOMAIN.fullmatch(prefix):
                problems.append(f"prefix part {_PREFIX_RULE}")
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name.encode()) > LABEL_VALUE_BYTES_MAX:
        problems.append(f"name part must be no more than {LABEL_VALUE_BYTES_MAX} bytes")
    if not _NAME.fullmatch(name):
        problems.append(f"name part {_KEY_RULE}")
    return problems


def label_value_problems(value: str) -> list[str]:
    """What keeps the text from being a label's value; the empty text is one."""
    problems: list[str] = []
    if len(value.encode()) > LABEL_VALUE_BYTES_MAX:
        problems.append(f"must be no more than {LABEL_VALUE_BYTES_MAX} bytes")
    if value and not _NAME.fullmatch(value):
        problems.append(_VALUE_RULE)
    return problems


def is_label_key(key: str) -> bool:
    """Whether the text may be a label's key."""
    return not label_key_problems(key)


class Requirement(NamedTuple):
    """One condition on a set of labels. Make it with `make`, which refuses what Kubernetes refuses."""

    key: str
    operator: str
    values: tuple[str, ...]

    @classmethod
    def make(cls, key: str, operator: str, values: Sequence[str] | None, *, path: str = "") -> Requirement:
        """A checked requirement. Raises SelectorError for an unknown operator, key, value or number of values (spec 6.1).

        `path` is where the requirement stands, such as `[0].matchExpressions[1]`; fields in messages are below it.
        """
        dot = f"{path}." if path else ""
        if operator not in NODE_OPERATORS:
            supported = ", ".join(quoted(name) for name in NODE_OPERATORS)
            raise SelectorError(f"{dot}operator: Unsupported value: {quoted(operator)}: supported values: {supported}")
        listed = tuple(values or ())
        problems: list[str] = []
        if wrong := label_key_problems(key):
            problems.append(f"{dot}key: Invalid value: {quoted(key)}: {'; '.join(wrong)}")
        counted = f"{dot}values: Invalid value: {json_list(values)}:"
        if operator in (IN, NOT_IN) and not listed:
            problems.append(f"{counted} for 'in', 'notin' operators, values set can't be empty")
        elif operator in (EXISTS, DOES_NOT_EXIST) and listed:
            problems.append(f"{counted} values set must be empty for exists and does not exist")
        elif operator in (GT, LT):
            if len(listed) != 1:
                problems.append(f"{counted} for 'Gt', 'Lt' operators, exactly one value is required")
            problems += [
                f"{dot}values[{index}]: Invalid value: {quoted(value)}: for 'Gt', 'Lt' operators, the value must be an integer"
                for index, value in enumerate(listed)
                if parse_int64(value) is None
            ]
        for index, value in enumerate(listed):
            if wrong := label_value_problems(value):
                problems.append(f"{dot}values[{index}][{key}]: Invalid value: {quoted(value)}: {'; '.join(wrong)}")
        if problems:
            raise SelectorError(*problems)
        return cls(key, operator, listed)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a set of labels satisfies the requirement."""
        value = labels.get(self.key)
        if self.operator == IN:
            return value is not None and value in self.values
        if self.operator == NOT_IN:
            return value is None or value not in self.values
        if self.operator == EXISTS:
            return value is not None
        if self.operator == DOES_NOT_EXIST:
            return value is None
        number = None if value is None else parse_int64(value)
        bound = parse_int64(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator == GT else number < bound


class Selector(NamedTuple):
    """A checked label selector. Without requirements it matches everything; `nothing` matches nothing."""

    requirements: tuple[Requirement, ...]
    nothing: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it matches everything because it asks for nothing."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a set of labels satisfies every requirement."""
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    def narrowed(self, other: Selector) -> Selector:
        """This selector with the requirements of another one added. One that matches nothing stays so."""
        return self if self.nothing or other.nothing else Selector(self.requirements + other.requirements)


NOTHING: Final = Selector((), nothing=True)


def exact_labels(labels: Mapping[str, str] | None) -> Selector:
    """The selector of a plain label map, unchecked as Services and nodeSelector are; an empty map matches everything."""
    return Selector(tuple(Requirement(key, IN, (value,)) for key, value in sorted((labels or {}).items())))


def compile_selector(selector: LabelSelector | None) -> Selector:
    """A LabelSelector, checked. None matches nothing, `{}` everything. Raises SelectorError; Gt and Lt are no operators here."""
    if selector is None:
        return NOTHING
    requirements = [Requirement.make(key, IN, (value,)) for key, value in sorted((selector.matchLabels or {}).items())]
    for expression in selector.matchExpressions or ():
        if expression.operator not in (IN, NOT_IN, EXISTS, DOES_NOT_EXIST):
            raise SelectorError(f"{quoted(expression.operator)} is not a valid label selector operator")
        # upstream copies the values first, which turns an empty list into none; the message shows it
        requirements.append(Requirement.make(expression.key, expression.operator, expression.values or None))
    return Selector(tuple(requirements))


@lru_cache(maxsize=1 << 14)
def _is_valid(key: str, operator: str, values: tuple[str, ...]) -> bool:
    try:
        Requirement.make(key, operator, values)
    except SelectorError:
        return False
    return True


def are_valid(requirements: Iterable[NodeSelectorRequirement | LabelSelectorRequirement] | None) -> bool:
    """Whether all of them can be tested, Gt and Lt included. Answers for requirements seen before are remembered."""
    return all(_is_valid(item.key, item.operator, tuple(item.values or ())) for item in requirements or ())


def selector_problem(selector: LabelSelector) -> str:
    """What is wrong with a label selector, empty when nothing is."""
    expressions = selector.matchExpressions or ()
    labels = selector.matchLabels or {}
    if (
        all(_is_valid(key, IN, (value,)) for key, value in labels.items())
        and are_valid(expressions)
        and not any(item.operator in (GT, LT) for item in expressions)
    ):
        return ""
    try:
        compile_selector(selector)
    except SelectorError as problem:
        return str(problem)
    return ""


def match_labels(selector: LabelSelector | None, labels: Mapping[str, str] | None) -> bool:
    """Whether labels satisfy a LabelSelector; None matches nothing. Raises SelectorError when the selector is invalid."""
    return compile_selector(selector).matches(labels or {})


# The command line's spelling ----------------------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+))")


class _Tokens:
    """The text cut into operators, brackets and words, with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [match.group(1) or match.group(2) for match in _TOKEN.finditer(text)]
        self._next = 0

    def peek(self) -> str:
        """The next token, empty at the end."""
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._next += 1
        return token

    def take_word(self) -> str:
        """The next token if it is a word, else the empty word, which stands for an empty value."""
        return self.take() if self.peek() and self.peek()[0] not in "=!<>()," else ""

    def fail(self, wanted: str) -> InputError:
        found = self.peek()
        return InputError(f'label selector "{self._text}": found {f"{found!r}" if found else "the end"}, expected {wanted}')


def _parse_requirement(tokens: _Tokens) -> tuple[str, str, tuple[str, ...]]:
    if tokens.peek() == "!":
        tokens.take()
        key = tokens.take_word()
        if not key:
            raise tokens.fail("a label key")
        return key, DOES_NOT_EXIST, ()
    key = tokens.take_word()
    if not key:
        raise tokens.fail("a label key")
    operator = tokens.peek()
    if operator in ("", ","):
        return key, EXISTS, ()
    tokens.take()
    if operator in ("=", "=="):
        return key, IN, (tokens.take_word(),)
    if operator == "!=":
        return key, NOT_IN, (tokens.take_word(),)
    if operator in (">", "<"):
        return key, GT if operator == ">" else LT, (tokens.take_word(),)
    if operator not in ("in", "notin"):
        raise InputError(f'label selector: unable to parse "{operator}" after "{key}": expected one of =, ==, !=, in, notin, >, <')
    if tokens.take() != "(":
        raise InputError(f'label selector: expected "(" after "{key} {operator}"')
    values = [tokens.take_word()]
    while tokens.peek() == ",":
        tokens.take()
        values.append(tokens.take_word())
    if tokens.take() != ")":
        raise InputError(f'label selector: expected ")" to close the values of "{key}"')
    return key, IN if operator == "in" else NOT_IN, tuple(values)


def parse_label_selector(text: str) -> Callable[[Mapping[str, str]], bool]:
    """kubectl's `-l`: comma-separated requirements that all have to hold; the empty text matches everything. Raises InputError."""
    requirements: list[Requirement] = []
    tokens = _Tokens(text)
    while tokens.peek():
        key, operator, values = _parse_requirement(tokens)
        try:
            requirements.append(Requirement.make(key, operator, values))
        except SelectorError as problem:
            raise InputError(f'label selector "{text}": {problem}') from problem
        if not tokens.peek():
            break
        if tokens.take() != ",":
            raise InputError(f'label selector "{text}": expected "," between requirements')
        if not tokens.peek():
            raise tokens.fail("a label key after the comma")
    return Selector(tuple(requirements)).matches


# Field selectors ----------------------------------------------------------------------------------------------------------------------


def _split_terms(text: str) -> list[str]:
    """Cut at commas that no backslash escapes; the escapes stay in the parts."""
    parts: list[str] = [""]
    escaped = False
    for character in text:
        if character == "," and not escaped:
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return [part for part in parts if part]


def _unescape(text: str, whole: str) -> str:
    plain = ""
    escaped = False
    for character in text:
        if escaped:
            if character not in "\\,=":
                raise InputError(f'field selector "{whole}": invalid escape sequence "\\{character}"')
            plain += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            raise InputError(f'field selector "{whole}": "{character}" in a value has to be escaped with a backslash')
        else:
            plain += character
    if escaped:
        raise InputError(f'field selector "{whole}": ends in a lone backslash')
    return plain


def field_text(value: Mapping[str, Any], path: str) -> str:
    """The field at a dotted path of an object's JSON as a field selector sees it: text, empty when absent."""
    found: Any = value
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is None or isinstance(found, (Mapping, list)):
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found)


def parse_field_selector(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """kubectl's `--field-selector`: `path=value`, `path==value`, `path!=value`, comma-separated, over an object's JSON.

    Any dotted path may be named; a field that is not there reads as the empty text. Raises InputError.
    """
    terms: list[tuple[str, str, bool]] = []
    for part in _split_terms(text):
        match = re.search(r"!=|==|=", part)
        if match is None or not part[: match.start()].strip():
            raise InputError(f'field selector "{text}": "{part}" is not of the form path=value or path!=value')
        terms.append((part[: match.start()].strip(), _unescape(part[match.end() :], text), match.group() != "!="))

    def matches(value: Mapping[str, Any]) -> bool:
        return all((field_text(value, path) == wanted) is equal for path, wanted, equal in terms)

    return matches
