"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902) over decoded JSON. Pure: the document given is left as it is.

Two habits of the Go library behind kube-apiserver are kept because controllers rely on them: `replace` of a member that is not there adds
it, and a member set to null is absent once the object is decoded. Source: evanphx/json-patch v4.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from volsched.api.kinds import Json

OPERATIONS_MAX: Final = 10_000  # limit of kube-apiserver


class PatchError(ValueError):
    """A patch that is malformed or does not apply."""


class PreconditionFailedError(PatchError):
    """A `test` of the object's resourceVersion or uid found another one: the patch was computed from another state."""


_PRECONDITIONS: Final = ("/metadata/resourceVersion", "/metadata/uid")


def merge_patch(document: Json, patch: Json) -> Json:
    """`document` with a merge patch laid over it: null removes a member, maps merge, anything else replaces."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, Mapping) else {}
    for member, value in patch.items():
        if value is None:
            merged.pop(member, None)
        else:
            merged[member] = merge_patch(merged.get(member), value)
    return merged


def json_patch(document: Json, operations: Json) -> Json:
    """`document` after a list of operations. Raises PatchError at the first that does not apply."""
    if not isinstance(operations, Sequence) or isinstance(operations, str):
        raise PatchError("a JSON patch is a list of operations")
    if len(operations) > OPERATIONS_MAX:
        raise PatchError(f"the allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}")
    patched = copy.deepcopy(document)
    for operation in operations:
        patched = _apply(patched, operation)
    return patched


def _apply(document: Json, operation: Json) -> Json:
    if not isinstance(operation, Mapping) or not isinstance(operation.get("path"), str):
        raise PatchError(f"not an operation with a path: {operation!r}")
    name, path = operation.get("op"), operation["path"]
    if name in ("add", "replace", "test") and "value" not in operation:
        raise PatchError(f"{name} {path}: the value is missing")
    match name:
        case "add":
            return _put(document, path, copy.deepcopy(operation["value"]), insert=True)
        case "replace":
            return _put(document, path, copy.deepcopy(operation["value"]), insert=False)
        case "remove":
            return _remove(document, path)
        case "test":
            _test(document, path, operation["value"])
            return document
        case "move" | "copy":
            source = operation.get("from")
            if not isinstance(source, str):
                raise PatchError(f"{name} {path}: `from` is missing")
            value = copy.deepcopy(_get(document, source))
            return _put(_remove(document, source) if name == "move" else document, path, value, insert=True)
        case _:
            raise PatchError(f"unexpected kind of operation: {name!r}")


def _tokens(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise PatchError(f"path {path!r} does not start with a slash")
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def _index(holder: list[Any], token: str, path: str, *, size: int) -> int:
    if not token.isdigit() or (len(token) > 1 and token[0] == "0"):
        raise PatchError(f"path {path}: {token!r} is no list index")
    index = int(token)
    if index >= size:
        raise PatchError(f"path {path}: index {index} is out of range for a list of {len(holder)}")
    return index


def _child(holder: Json, token: str, path: str) -> Json:
    if isinstance(holder, list):
        return holder[_index(holder, token, path, size=len(holder))]
    if isinstance(holder, dict) and token in holder:
        return holder[token]
    raise PatchError(f"path {path} does not exist")


def _get(document: Json, path: str) -> Json:
    found = document
    for token in _tokens(path):
        found = _child(found, token, path)
    return found


def _holder(document: Json, path: str, tokens: list[str]) -> Json:
    holder = document
    for token in tokens[:-1]:
        holder = _child(holder, token, path)
    return holder


def _put(document: Json, path: str, value: Json, *, insert: bool) -> Json:
    tokens = _tokens(path)
    if not tokens:
        return value
    holder, last = _holder(document, path, tokens), tokens[-1]
    if isinstance(holder, list):
        if insert:
            holder.insert(len(holder) if last == "-" else _index(holder, last, path, size=len(holder) + 1), value)
        else:
            holder[_index(holder, last, path, size=len(holder))] = value
    elif isinstance(holder, dict):
        holder[last] = value
    else:
        raise PatchError(f"path {path} does not exist")
    return document


def _remove(document: Json, path: str) -> Json:
    tokens = _tokens(path)
    if not tokens:
        raise PatchError("the whole document cannot be removed")
    holder, last = _holder(document, path, tokens), tokens[-1]
    _child(holder, last, path)
    if isinstance(holder, list):
        del holder[int(last)]
    else:
        del holder[last]
    return document


def _test(document: Json, path: str, wanted: Json) -> None:
    try:
        found = _get(document, path)
    except PatchError:
        found = None  # upstream compares an absent member with null
    if found != wanted:
        if path in _PRECONDITIONS:
            raise PreconditionFailedError(f"testing value {path} failed")
        raise PatchError(f"testing value {path} failed")
