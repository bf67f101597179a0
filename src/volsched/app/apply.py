"""`apply`: a three-way merge of what the user applied last, what is applied now, and what is stored.

What was applied last is kept in the annotation kubectl uses. A field that was applied then and is missing now is removed; a field that is
applied now is set; everything else, written by controllers or by defaulting, stays. Maps merge key by key. Lists whose elements have a name
of some sort (`MERGE_KEYS`) merge element by element, so that a container's defaults are no difference; other lists are replaced as a whole.

A Node's status is the user's here, since no kubelet reports it: it is applied through the status subresource. Other statuses belong to
controllers and count at creation only, as far as the API server takes them.

Source: kubectl/pkg/cmd/apply/patcher.go, apimachinery/pkg/util/strategicpatch; the keys are the patchMergeKey tags of k8s.io/api.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from volsched.api.kinds import Json, from_json, key_of, meta, to_json, to_manifest
from volsched.errors import NotFoundError
from volsched.ports import ApiClient
from volsched.store.patching import merge_patch as patched

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
Outcome = Literal["created", "configured", "unchanged"]

# list field -> what tells its elements apart; the first that all of them have
MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "drivers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "port"),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}


def merge_patch(last: Mapping[str, Json], wanted: Mapping[str, Json], stored: Mapping[str, Json]) -> dict[str, Json]:
    """The JSON merge patch that turns `stored` into what is wanted; empty when nothing has to change."""
    patch: dict[str, Json] = {}
    for key in last:
        if key not in wanted and key in stored:
            patch[key] = None
    for key, value in wanted.items():
        present, before = stored.get(key), last.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            inner = merge_patch(before if isinstance(before, Mapping) else {}, value, present)
            if inner:
                patch[key] = inner
            continue
        if isinstance(value, list) and isinstance(present, list):
            value = _merged_list(key, before if isinstance(before, list) else [], value, present)
        if key not in stored or present != value:
            patch[key] = value
    return patch


def _merged_list(field: str, last: Sequence[Json], wanted: Sequence[Json], stored: Sequence[Json]) -> list[Json]:
    """What the list shall be: wanted elements in their order, over what is stored of them; then those that others have added."""
    for name in MERGE_KEYS.get(field, ()):
        before, given, present = (_by_key(elements, name) for elements in (last, wanted, stored))
        if given is not None and present is not None:
            merged = [_merged_element((before or {}).get(key, {}), element, present.get(key)) for key, element in given.items()]
            return merged + [element for key, element in present.items() if key not in given and key not in (before or {})]
    return list(wanted)


def _by_key(elements: Sequence[Json], name: str) -> dict[Json, Mapping[str, Json]] | None:
    """Elements by their key; None unless each has one of its own."""
    found = {element.get(name): element for element in elements if isinstance(element, Mapping)}
    return found if len(found) == len(elements) and None not in found else None


def _merged_element(last: Mapping[str, Json], wanted: Mapping[str, Json], stored: Mapping[str, Json] | None) -> Json:
    return wanted if stored is None else patched(stored, merge_patch(last, wanted, stored))


def _applied(obj: Any) -> dict[str, Json]:
    """What the user gave, without what only a server sets."""
    given = to_manifest(obj)
    given.pop("status", None)
    metadata = dict(given.get("metadata") or {})
    for name in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink"):
        metadata.pop(name, None)
    annotations = {key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key != LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    return given | {"metadata": metadata}


def _annotated(value: Mapping[str, Json]) -> dict[str, Json]:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    metadata = dict(value["metadata"])
    return dict(value) | {"metadata": metadata | {"annotations": dict(metadata.get("annotations") or {}) | {LAST_APPLIED: text}}}


def apply(client: ApiClient, obj: Any, *, user: str) -> tuple[Any, Outcome]:
    """Create the object or bring the stored one to what is given. Answers (stored object, what happened)."""
    kind, namespace, name = key_of(obj)
    given = _applied(obj)
    wanted = _annotated(given)
    try:
        stored = client.get(kind, namespace, name)
    except NotFoundError:
        created = from_json(kind, wanted | ({"status": to_json(obj)["status"]} if getattr(obj, "status", None) else {}))
        return client.create(created, user=user), "created"
    present = to_json(stored)
    annotations = (present.get("metadata") or {}).get("annotations") or {}
    try:
        last = json.loads(annotations.get(LAST_APPLIED) or "{}")
    except ValueError:
        last = {}  # somebody else's text in the annotation: nothing is known to have been applied, so nothing is removed
    patch = merge_patch(last, wanted, present | {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"]})
    annotation_only = {"metadata": {"annotations": {LAST_APPLIED: wanted["metadata"]["annotations"][LAST_APPLIED]}}}
    result = stored
    if patch and not (patch == annotation_only and last == given):
        result = client.patch(kind, namespace, name, patch, user=user)
    if kind == "Node":
        result = _with_status(client, obj, result, user=user)
    # a patch of what defaulting says anyway changes nothing, and then the server keeps the version
    return result, "unchanged" if meta(result).resourceVersion == meta(stored).resourceVersion else "configured"


def _with_status(client: ApiClient, obj: Any, stored: Any, *, user: str) -> Any:
    """The stored object with the status that is given, if one is."""
    wanted, present = to_json(obj).get("status") or {}, to_json(stored).get("status") or {}
    patch = merge_patch({}, wanted, present)
    if not patch:
        return stored
    kind, namespace, name = key_of(obj)
    return client.patch(kind, namespace, name, {"status": patch}, user=user, subresource="status")
