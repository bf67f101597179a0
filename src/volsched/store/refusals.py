"""Refusals of the embedded API server, worded as kube-apiserver words them.

Scripts and people match on these texts, so they carry the group-qualified names of upstream. Source: apimachinery/pkg/api/errors/errors.go,
apiserver/pkg/registry/rest/delete.go, kubernetes pkg/registry/core/pod/storage/storage.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from volsched.api.kinds import Key, Kind
from volsched.errors import AlreadyExistsError, ConflictError, ExpiredError, ForbiddenError, InvalidError, NotFoundError

MODIFIED: Final = "the object has been modified; please apply your changes to the latest version and try again"


def _group_kind(kind: Kind) -> str:
    return f"{kind.name}.{kind.group}" if kind.group else kind.name


def quoted(text: str) -> str:
    """Text as Go's %q prints it, for the characters that names and messages hold."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def no_such_kind(alias: str) -> NotFoundError:
    """A kind the server does not serve."""
    return NotFoundError(f"the server doesn't have a resource type {quoted(alias)}")


def not_found(kind: Kind, key: Key) -> NotFoundError:
    """No object of that name."""
    return NotFoundError(f"{kind.qualified} {quoted(key.name)} not found", kind=kind.name, name=key.name, namespace=key.namespace or None)


def no_subresource(kind: Kind, key: Key) -> NotFoundError:
    """The kind has no status of its own."""
    return NotFoundError("the server could not find the requested resource", kind=kind.name, name=key.name, namespace=key.namespace or None)


def already_exists(kind: Kind, key: Key) -> AlreadyExistsError:
    """The name is taken."""
    return AlreadyExistsError(
        f"{kind.qualified} {quoted(key.name)} already exists", kind=kind.name, name=key.name, namespace=key.namespace or None
    )


def conflict(kind: Kind, key: Key, why: str = MODIFIED, *, subresource: str = "") -> ConflictError:
    """The write was meant for another state of the object."""
    resource = f"{kind.qualified}/{subresource}" if subresource else kind.qualified
    return ConflictError(
        f"Operation cannot be fulfilled on {resource} {quoted(key.name)}: {why}",
        kind=kind.name,
        name=key.name,
        namespace=key.namespace or None,
    )


def other_uid(kind: Kind, key: Key, *, wanted: str, found: str) -> ConflictError:
    """An update or binding that names another incarnation of the object."""
    path = "/".join(part for part in ("/registry", kind.plural, key.namespace, key.name) if part)
    return conflict(
        kind,
        key,
        f"StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMessage: "
        f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
    )


def delete_precondition(kind: Kind, key: Key, *, field: str, wanted: str, found: str) -> ConflictError:
    """A delete whose precondition does not hold. Upstream names the kind here, not the resource."""
    happened = "deleted and then recreated" if field == "UID" else "modified"
    why = (
        f"the {field} in the precondition ({wanted}) does not match the {field} in record ({found}). The object might have been {happened}"
    )
    return ConflictError(
        f"Operation cannot be fulfilled on {_group_kind(kind)} {quoted(key.name)}: {why}",
        kind=kind.name,
        name=key.name,
        namespace=key.namespace or None,
    )


def forbidden(kind: Kind, key: Key, why: str) -> ForbiddenError:
    """Admission refused."""
    return ForbiddenError(
        f"{kind.qualified} {quoted(key.name)} is forbidden: {why}", kind=kind.name, name=key.name, namespace=key.namespace or None
    )


def invalid(kind: Kind, key: Key, causes: Sequence[tuple[str, str]]) -> InvalidError:
    """Validation refused; several causes are listed in brackets as an aggregate prints them."""
    texts = [f"{path}: {message}" if path else message for path, message in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return InvalidError(
        f"{_group_kind(kind)} {quoted(key.name)} is invalid: {listed}",
        kind=kind.name,
        name=key.name,
        namespace=key.namespace or None,
        causes=causes,
    )


def expired(asked: int, oldest: int) -> ExpiredError:
    """The asked version is no longer retained; `oldest` is the oldest one a watch may start from."""
    return ExpiredError(f"too old resource version: {asked} ({oldest})")
