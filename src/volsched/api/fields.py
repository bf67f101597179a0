"""Field errors in the API server's words, and the formats of names, labels and selectors they are about.

A problem is a (path, message) pair; printed as `path: message` it reads as kube-apiserver prints it. `Problems` collects them.
Source: apimachinery/pkg/util/validation/field/errors.go, pkg/api/validate/content, pkg/apis/meta/v1/validation,
kubernetes pkg/apis/core/validation (node selectors, quantities).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from lightkube.models.core_v1 import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from lightkube.models.meta_v1 import LabelSelector

from volsched.api.quantity import Quantity, parse
from volsched.errors import InputError

IMMUTABLE: Final = "field is immutable"
NOT_POSITIVE: Final = "must be greater than zero"
NEGATIVE: Final = "must be greater than or equal to 0"
BAD_OPERATOR: Final = "not a valid selector operator"

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_DNS1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = f"({_KEY})?"
_LABEL_RE, _SUBDOMAIN_RE, _DNS1035_RE = re.compile(_LABEL), re.compile(_SUBDOMAIN), re.compile(_DNS1035)
_KEY_RE, _VALUE_RE = re.compile(_KEY), re.compile(_VALUE)
_PORT_NAME_RE: Final = re.compile("[-a-z0-9]+")

_LABEL_MESSAGE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    f"character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_SUBDOMAIN_MESSAGE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_DNS1035_MESSAGE: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    f"alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS1035}')"
)
_KEY_MESSAGE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_KEY}')"
)
_VALUE_MESSAGE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '{_VALUE}')"
)


def shown(value: Any) -> str:
    """A value as an error shows it: strings quoted, everything else as JSON."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return msgspec.json.encode(value, order="deterministic").decode()


class Problems(list[tuple[str, str]]):
    """Field errors found so far, in order."""

    def required(self, path: str, detail: str = "") -> None:
        self.append((path, f"Required value: {detail}" if detail else "Required value"))

    def invalid(self, path: str, value: Any, detail: str) -> None:
        self.append((path, f"Invalid value: {shown(value)}: {detail}"))

    def rule(self, path: str, detail: str) -> None:
        """A rule over a whole object, which errors do not print."""
        self.append((path, f"Invalid value: {detail}"))

    def forbidden(self, path: str, detail: str) -> None:
        self.append((path, f"Forbidden: {detail}"))

    def unsupported(self, path: str, value: Any, supported: Iterable[str]) -> None:
        names = ", ".join(shown(name) for name in supported)
        self.append((path, f"Unsupported value: {shown(value)}: supported values: {names}"))

    def duplicate(self, path: str, value: Any, detail: str = "") -> None:
        self.append((path, f"Duplicate value: {shown(value)}" + (f": {detail}" if detail else "")))

    def not_found(self, path: str, value: Any) -> None:
        self.append((path, f"Not found: {shown(value)}"))

    def too_long(self, path: str, limit: int) -> None:
        self.append((path, f"Too long: may not be more than {limit} bytes"))

    def each(self, path: str, value: Any, details: Iterable[str]) -> None:
        """One Invalid error for each of a format's complaints."""
        for detail in details:
            self.invalid(path, value, detail)


# Formats: each gives its complaints, none for a good value


@lru_cache(maxsize=1 << 16)
def dns_subdomain(value: str) -> tuple[str, ...]:
    """Lower-case DNS subdomain, at most 253 bytes: the names of most objects."""
    found = ["must be no more than 253 bytes"] if len(value.encode()) > 253 else []
    if not _SUBDOMAIN_RE.fullmatch(value):
        found.append(_SUBDOMAIN_MESSAGE)
    return tuple(found)


@lru_cache(maxsize=1 << 14)
def dns_label(value: str) -> tuple[str, ...]:
    """Lower-case DNS label, at most 63 bytes: namespaces, containers, volumes of a pod."""
    found = ["must be no more than 63 bytes"] if len(value.encode()) > 63 else []
    if not _LABEL_RE.fullmatch(value):
        found.append("must not contain dots" if _SUBDOMAIN_RE.fullmatch(value) else _LABEL_MESSAGE)
    return tuple(found)


@lru_cache(maxsize=1 << 12)
def dns_1035_label(value: str) -> tuple[str, ...]:
    """DNS label that starts with a letter: services."""
    found = ["must be no more than 63 characters"] if len(value.encode()) > 63 else []
    if not _DNS1035_RE.fullmatch(value):
        found.append(_DNS1035_MESSAGE)
    return tuple(found)


@lru_cache(maxsize=1 << 16)
def label_key(value: str) -> tuple[str, ...]:
    """Qualified name: an optional DNS subdomain and `/`, then at most 63 bytes."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return (f"a valid label key {_KEY_MESSAGE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    found: list[str] = []
    if slash:
        found += [f"prefix part {text}" for text in dns_subdomain(prefix)] if prefix else ["prefix part must be non-empty"]
    if not name:
        found.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        found.append("name part must be no more than 63 bytes")
    if not _KEY_RE.fullmatch(name):
        found.append(f"name part {_KEY_MESSAGE}")
    return tuple(found)


@lru_cache(maxsize=1 << 16)
def label_value(value: str) -> tuple[str, ...]:
    """Value of a label: empty or at most 63 bytes."""
    found = ["must be no more than 63 bytes"] if len(value.encode()) > 63 else []
    if not _VALUE_RE.fullmatch(value):
        found.append(_VALUE_MESSAGE)
    return tuple(found)


def port_name(value: str) -> list[str]:
    """Name of a port: at most 15 of a-z, 0-9 and hyphens, a letter among them."""
    found = ["must be no more than 15 characters"] if len(value) > 15 else []
    if not _PORT_NAME_RE.fullmatch(value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


# Labels and selectors


def labels(problems: Problems, path: str, given: Mapping[str, str] | None) -> None:
    """Keys and values of a label map."""
    for key, value in (given or {}).items():
        problems.each(path, key, label_key(key))
        problems.each(path, value, label_value(value))


def driver_name(problems: Problems, path: str, name: str) -> None:
    """Name of a CSI driver."""
    if not name:
        problems.required(path)
        return
    if len(name.encode()) > 63:
        problems.too_long(path, 63)
    problems.each(path, name, dns_subdomain(name.lower()))


def label_selector(problems: Problems, path: str, selector: LabelSelector | None) -> None:
    """A label selector: keys, operators, values."""
    if selector is None:
        return
    labels(problems, f"{path}.matchLabels", selector.matchLabels)
    for index, expression in enumerate(selector.matchExpressions or ()):
        at = f"{path}.matchExpressions[{index}]"
        _set_operator(problems, at, expression.operator, expression.values or ())
        problems.each(f"{at}.key", expression.key, label_key(expression.key))
        for place, value in enumerate(expression.values or ()):
            problems.each(f"{at}.values[{place}]", value, label_value(value))


def _set_operator(problems: Problems, path: str, operator: str, values: Sequence[str]) -> None:
    """Operators of sets. Whatever else a kind of selector knows has been looked at before."""
    if operator in ("In", "NotIn"):
        if not values:
            problems.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            problems.forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    else:
        problems.invalid(f"{path}.operator", operator, BAD_OPERATOR)


def node_selector(problems: Problems, path: str, selector: NodeSelector, *, any_value: bool = False) -> None:
    """A node selector: at least one term. `any_value` leaves the values unchecked."""
    if not selector.nodeSelectorTerms:
        problems.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(selector.nodeSelectorTerms):
        node_selector_term(problems, f"{path}.nodeSelectorTerms[{index}]", term, any_value=any_value)


def node_selector_term(problems: Problems, path: str, term: NodeSelectorTerm, *, any_value: bool = False) -> None:
    """Expressions over labels and over fields of a node."""
    for index, expression in enumerate(term.matchExpressions or ()):
        at = f"{path}.matchExpressions[{index}]"
        values = expression.values or ()
        if expression.operator in ("Gt", "Lt"):
            if len(values) != 1:
                problems.required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        else:
            _set_operator(problems, at, expression.operator, values)
        problems.each(f"{at}.key", expression.key, label_key(expression.key))
        if not any_value:
            for place, value in enumerate(values):
                problems.each(f"{at}.values[{place}]", value, label_value(value))
    for index, expression in enumerate(term.matchFields or ()):
        _node_field(problems, f"{path}.matchFields[{index}]", expression)


def _node_field(problems: Problems, path: str, expression: NodeSelectorRequirement) -> None:
    values = expression.values or ()
    if expression.operator not in ("In", "NotIn"):
        problems.invalid(f"{path}.operator", expression.operator, BAD_OPERATOR)
    elif len(values) != 1:
        problems.required(f"{path}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
    if expression.key != "metadata.name":
        problems.invalid(f"{path}.key", expression.key, "not a valid field selector key")
        return
    for place, value in enumerate(values):
        problems.each(f"{path}.values[{place}]", value, dns_subdomain(value))


# Quantities


def quantity(problems: Problems, path: str, text: str) -> Quantity | None:
    """The quantity of a text; None and a problem when it cannot be parsed."""
    try:
        return parse(text)
    except InputError as error:
        problems.append((path, error.message))
        return None


def not_negative(problems: Problems, path: str, text: str) -> Quantity | None:
    """A quantity that must not be below zero."""
    found = quantity(problems, path, text)
    if found is not None and found.sign() < 0:
        problems.invalid(path, str(found), NEGATIVE)
    return found


def positive(problems: Problems, path: str, text: str) -> Quantity | None:
    """A quantity that must be above zero."""
    found = quantity(problems, path, text)
    if found is not None and found.sign() <= 0:
        problems.invalid(path, str(found), NOT_POSITIVE)
    return found


# Equality as the API server compares: unset equals empty, quantities by value

_AMOUNTS: Final = frozenset({"requests", "limits", "capacity", "allocatable", "overhead"})


def same(left: Any, right: Any) -> bool:
    """Semantic equality of two values of objects."""
    return bool(left == right or _normal(msgspec.to_builtins(left)) == _normal(msgspec.to_builtins(right)))


def _normal(value: Any, *, amounts: bool = False) -> Any:
    if isinstance(value, dict):
        made = {key: _normal(item, amounts=key in _AMOUNTS) for key, item in value.items()}
        if amounts:
            made = {key: _amount(item) for key, item in made.items()}
        return {key: item for key, item in made.items() if item is not None} or None
    if isinstance(value, list):
        return [_normal(item) for item in value] or None
    return value


def _amount(value: Any) -> Any:
    try:
        return parse(value) if isinstance(value, str) else value
    except InputError:
        return value
