"""What the controllers that talk to CSI drivers share: safe writes, secrets, Go's way of printing.

Writes. Upstream patches without a precondition, so two controllers that computed from the same cached copy can undo each other's change.
Here every patch is a merge patch that carries the resourceVersion it was computed from, and `amend` computes it again from a fresh read
when somebody else was faster (spec/snapshots.md 1.6, RULE).

Secrets. A class names a secret by two templates, name and namespace; both or none. Tokens are `${…}`, expanded as Go's os.Expand does.
Sources: external-provisioner pkg/controller/controller.go (getSecretReference), external-snapshotter pkg/utils/util.go.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import Secret, SecretReference

from volsched.api.edit import uid_of
from volsched.api.kinds import Json, key_of, meta
from volsched.errors import ApiError, ConflictError, NotFoundError, ReconcileError
from volsched.ports import Intent, Patch, Read, Steps, WorkItem

CONFLICT_ATTEMPTS_MAX: Final = 5
NS_PER_S: Final = 1_000_000_000
CSI_PREFIX: Final = "csi.storage.k8s.io/"

_TOKEN: Final = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*)|([*#$@!?0-9-]))")
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_PART: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN: Final = re.compile(rf"{_DNS_PART}(\.{_DNS_PART})*")
_DNS_SUBDOMAIN_CHARACTERS_MAX: Final = 253


# writes


def patch_of(obj: Any, body: Mapping[str, Json], *, status: bool = False) -> Patch:
    """A merge patch of an object, refused with ConflictError when the object is no longer the one it was computed from."""
    key = key_of(obj)
    metadata = {**body.get("metadata", {}), "resourceVersion": meta(obj).resourceVersion}
    return Patch(key.kind, key.namespace, key.name, {**body, "metadata": metadata}, subresource="status" if status else "")


def read_of(obj: Any) -> Read:
    """A live read of the object of the same name."""
    return Read(*key_of(obj))


def amend(obj: Any, change: Callable[[Any], Intent | None]) -> Steps[Any]:
    """Write `change(obj)`; after a conflict, `change` of a fresh read. None from `change` means nothing is left to do.

    Answers the object as stored. Raises NotFoundError when the object, or this incarnation of it, is gone.
    """
    current = obj
    for _ in range(CONFLICT_ATTEMPTS_MAX):
        intent = change(current)
        if intent is None:
            return current
        try:
            return (yield intent)
        except ConflictError:
            current = yield read_of(obj)
            if uid_of(current) != uid_of(obj):
                raise NotFoundError(f"{key_of(obj)} was replaced by another object") from None
    raise ConflictError(f"{key_of(obj)} kept changing; {CONFLICT_ATTEMPTS_MAX} writes were refused")


class Handoff:
    """Work that one pass finds for another queue. A pass cannot add to a queue itself; the decider asks to be woken at once instead."""

    def __init__(self) -> None:
        self._items: dict[WorkItem, None] = {}

    def add(self, item: WorkItem) -> None:
        self._items[item] = None

    def take(self) -> list[WorkItem]:
        """Everything that was handed over, in order, once."""
        items = list(self._items)
        self._items.clear()
        return items

    def __bool__(self) -> bool:
        return bool(self._items)


# time and text


def time_of(now_ns: int) -> datetime.datetime:
    """An instant as objects carry it: UTC, whole seconds."""
    return datetime.datetime.fromtimestamp(now_ns // NS_PER_S, tz=datetime.UTC)


def ns_of(moment: datetime.datetime) -> int:
    """Nanoseconds since the epoch, exact to the microsecond a datetime holds."""
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1) * 1000


def quoted(text: object) -> str:
    """Text as Go's %q prints it."""
    return json.dumps(str(text), ensure_ascii=False)


def printed_map(values: Mapping[str, str]) -> str:
    """A map as Go's %v prints it: keys sorted."""
    return "map[" + " ".join(f"{key}:{values[key]}" for key in sorted(values)) + "]"


# secrets


class SecretParams(NamedTuple):
    """Class parameters that name one secret; the deprecated pair counts as the same parameter written twice."""

    label: str
    name_key: str
    namespace_key: str
    deprecated_name_key: str = ""
    deprecated_namespace_key: str = ""


def _templates(slot: SecretParams, parameters: Mapping[str, str]) -> tuple[str, str] | None:
    names = [parameters[key] for key in (slot.deprecated_name_key, slot.name_key) if key and key in parameters]
    spaces = [parameters[key] for key in (slot.deprecated_namespace_key, slot.namespace_key) if key and key in parameters]
    if len(names) > 1 or len(spaces) > 1:
        raise ReconcileError(f'{slot.label} secrets specified in parameters with both "csi" and "{CSI_PREFIX}" keys')
    if len(names) != len(spaces):
        raise ReconcileError(f"either name and namespace for {slot.label} secrets specified, Both must be specified")
    if not names:
        return None
    if not names[0] or not spaces[0]:
        raise ReconcileError(f"{slot.label} secrets specified in parameters but value of either namespace or name is empty")
    return names[0], spaces[0]


def expand_template(template: str, tokens: Mapping[str, str]) -> str:
    """A template with its tokens replaced. Raises ReconcileError naming every unknown token."""
    unknown: set[str] = set()

    def value(match: re.Match[str]) -> str:
        token = next((group for group in match.groups() if group is not None), "")
        if token not in tokens:
            unknown.add(token)
        return tokens.get(token, "")

    text = _TOKEN.sub(value, template)
    if unknown:
        raise ReconcileError("invalid tokens: [" + " ".join(map(quoted, sorted(unknown))) + "]")
    return text


def _resolved(template: str, tokens: Mapping[str, str], *, what: str, valid: Callable[[str], bool]) -> str:
    try:
        text = expand_template(template, tokens)
    except ReconcileError as problem:
        raise ReconcileError(f"error resolving value {quoted(template)}: {problem}") from None
    if valid(text):
        return text
    came_from = f"{quoted(template)} resolved to {quoted(text)} which is" if template != text else f"{quoted(template)} is"
    raise ReconcileError(f"{came_from} not a valid {what} name")


def secret_reference(
    slots: Sequence[SecretParams], parameters: Mapping[str, str], *, name_tokens: Mapping[str, str], namespace_tokens: Mapping[str, str]
) -> SecretReference | None:
    """The secret that the first present of `slots` names, None when none is. Raises ReconcileError."""
    found: tuple[str, str] | None = None
    for position, slot in enumerate(slots):
        try:
            found = _templates(slot, parameters)
        except ReconcileError as problem:
            which = "default name" if position else "name"
            raise ReconcileError(f"failed to get {which} and namespace template from params: {problem}") from None
        if found is not None:
            break
    if found is None:
        return None
    name_template, namespace_template = found
    namespace = _resolved(namespace_template, namespace_tokens, what="namespace", valid=lambda text: _DNS_LABEL.fullmatch(text) is not None)
    name = _resolved(
        name_template,
        name_tokens,
        what="secret",
        valid=lambda text: len(text) <= _DNS_SUBDOMAIN_CHARACTERS_MAX and _DNS_SUBDOMAIN.fullmatch(text) is not None,
    )
    return SecretReference(name=name, namespace=namespace)


def secret_data(secret: Secret) -> dict[str, str]:
    """Content of a secret, base64 undone."""
    values = {key: _decoded(value) for key, value in (secret.data or {}).items()}
    return values | dict(secret.stringData or {})


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error:
        raise ReconcileError("the secret's data is not base64; write it as stringData or encode it") from None


def read_credentials(reference: SecretReference | None) -> Steps[dict[str, str]]:
    """Read a secret live; no reference is no secret. Raises ReconcileError."""
    if reference is None:
        return {}
    try:
        secret = yield Read("Secret", reference.namespace or "", reference.name or "")
    except ApiError as problem:
        raise ReconcileError(f"error getting secret {reference.name} in namespace {reference.namespace}: {problem}") from None
    return secret_data(secret)
