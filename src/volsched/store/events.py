"""Kubernetes Events: what happened to an object, told once and counted after that.

Two reports with the same source, object, type, reason and message are one Event whose count and lastTimestamp move. Its name is made of
those five, so the repeat is found by name, in a state file too, and no index is needed. An Event lives in the namespace of its object,
`default` for a cluster-scoped one. Source: client-go tools/record/events_cache.go.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Any, Final

from lightkube.models.core_v1 import Event, EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta

from volsched.api.edit import replace
from volsched.api.kinds import kind_of, meta
from volsched.api.watch import WatchEvent

MESSAGE_BYTES_MAX: Final = 1024
_CUT_MARK: Final = " ..."
_NAME_CHARACTERS_MAX: Final = 253
_HASH_CHARACTERS: Final = 16


def is_object_change(event: WatchEvent) -> bool:
    """Whether a change counts as one of the cluster. Telling that something happened does not keep a run from being idle."""
    return event.kind != "Event"


def cut(message: str) -> str:
    """A message of at most 1024 bytes, longer ones ending in ` ...`."""
    raw = message.encode()
    if len(raw) <= MESSAGE_BYTES_MAX:
        return message
    return raw[: MESSAGE_BYTES_MAX - len(_CUT_MARK)].decode(errors="ignore") + _CUT_MARK


def reference(obj: Any) -> ObjectReference:
    """The reference to an object that an Event carries."""
    kind, metadata = kind_of(obj), meta(obj)
    return ObjectReference(
        apiVersion=kind.api_version,
        kind=kind.name,
        namespace=(metadata.namespace or "default") if kind.namespaced else None,
        name=metadata.name,
        uid=metadata.uid,
        resourceVersion=metadata.resourceVersion,
    )


def event_name(regarding: ObjectReference, *, type: str, reason: str, message: str, source: str) -> str:  # noqa: A002 Kubernetes' field name
    """`<object>.<hash>`, the same for every repeat."""
    identity = (source, regarding.kind, regarding.namespace, regarding.name, regarding.uid, type, reason, message)
    digest = hashlib.sha256("\0".join(part or "" for part in identity).encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{(regarding.name or '')[: _NAME_CHARACTERS_MAX - 1 - len(digest)]}.{digest}"


def first(
    regarding: ObjectReference,
    *,
    name: str,
    type: str,  # noqa: A002 Kubernetes' field name
    reason: str,
    message: str,
    source: str,
    action: str,
    now: datetime.datetime,
) -> Event:
    """The Event of a first report, without uid and resourceVersion."""
    return Event(
        apiVersion="v1",
        kind="Event",
        metadata=ObjectMeta(name=name, namespace=regarding.namespace or "default"),
        involvedObject=regarding,
        type=type,
        reason=reason,
        message=message,
        source=EventSource(component=source),
        reportingComponent=source,
        action=action or None,
        firstTimestamp=now,
        lastTimestamp=now,
        count=1,
    )


def repeated(event: Event, *, now: datetime.datetime) -> Event:
    """The Event after one more report."""
    return replace(event, count=(event.count or 1) + 1, lastTimestamp=now)
