"""`apply`: a three-way merge of what the user applied last, what is applied now, and what is stored.

What was applied last is kept in the annotation kubectl uses. A field that was applied then and is missing now is removed; a field that is
applied now is set; everything else, written by controllers or by defaulting, stays. Maps merge key by key, lists are replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from volsched.api.kinds import Json, from_json, key_of, kind_of, to_json
from volsched.errors import NotFoundError
from volsched.ports import ApiClient

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
Outcome = Literal["created", "configured", "unchanged"]


def merge_patch(last: Mapping[str, Json], wanted: Mapping[str, Json], stored: Mapping[str, Json]) -> dict[str, Json]:
    """The JSON merge patch that turns `stored` into what is wanted; empty when nothing has to change."""
    patch: dict[str, Json] = {}
    for key in last:
        if key not in wanted and key in stored:
            patch[key] = None
    for key, value in wanted.items():
        present = stored.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            before = last.get(key)
            inner = merge_patch(before if isinstance(before, Mapping) else {}, value, present)
            if inner:
                patch[key] = inner
        elif key not in stored or present != value:
            patch[key] = value
    return patch


def _applied(obj: Any) -> dict[str, Json]:
    """What the user gave, without what only a server sets."""
    given = to_json(obj)
    given.pop("status", None)
    metadata = dict(given.get("metadata") or {})
    for name in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink"):
        metadata.pop(name, None)
    annotations = {key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key != LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": kind_of(obj).api_version, "kind": kind_of(obj).name} | given | {"metadata": metadata}


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
    if not patch or (patch == annotation_only and last == given):
        return stored, "unchanged"
    return client.patch(kind, namespace, name, patch, user=user), "configured"
