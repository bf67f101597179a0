"""What a DELETE does to an object: a pure function of its state.

    nothing holds it ──────────────────────────────────> removed
    finalizers ────> marked: deletionTimestamp, grace 0 ──last finalizer goes──> removed
    pod on a node ──> marked: deletionTimestamp = now + grace ──kubelet deletes with grace 0──> removed (or held by finalizers)

A further DELETE changes nothing, except that it may shorten a pod's grace period. The mark raises metadata.generation where the kind has
one. Source: apiserver/pkg/registry/rest/delete.go BeforeDelete, generic/registry/store.go, pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

import datetime
import enum
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import Pod

from volsched.api.edit import finalizers_of, with_metadata
from volsched.api.kinds import meta

POD_GRACE_S_DEFAULT: Final = 30
_TERMINAL: Final = ("Succeeded", "Failed")


class Fate(enum.Enum):
    """What becomes of the object."""

    REMOVED = "it is gone; watchers get its last state"
    MARKED = "it stays, changed"
    KEPT = "it stays as it is"


class Deletion(NamedTuple):
    """The answer to a DELETE: the fate and the object's state after it."""

    fate: Fate
    object: Any


def delete(obj: Any, *, grace_s: int | None, now: datetime.datetime) -> Deletion:
    """The effect of a DELETE at `now` with an optional grace period in seconds."""
    if isinstance(obj, Pod):
        return _delete_pod(obj, grace_s=grace_s, now=now)
    return _delete_at_once(obj, now=now)


def is_released(obj: Any) -> bool:
    """Whether a marked object has nothing left that holds it: it goes with the write that made it so."""
    metadata = meta(obj)
    return metadata.deletionTimestamp is not None and not metadata.finalizers and not metadata.deletionGracePeriodSeconds


def _marked(obj: Any, *, at: datetime.datetime, grace_s: int) -> Any:
    generation = meta(obj).generation
    first = meta(obj).deletionTimestamp is None
    return with_metadata(
        obj,
        deletionTimestamp=at,
        deletionGracePeriodSeconds=grace_s,
        generation=generation + 1 if generation and first else generation,
    )


def _delete_at_once(obj: Any, *, now: datetime.datetime) -> Deletion:
    if not finalizers_of(obj):
        return Deletion(Fate.REMOVED, obj)
    if meta(obj).deletionTimestamp is not None:
        return Deletion(Fate.KEPT, obj)
    return Deletion(Fate.MARKED, _marked(obj, at=now, grace_s=0))


def _delete_pod(pod: Pod, *, grace_s: int | None, now: datetime.datetime) -> Deletion:
    metadata = meta(pod)
    if metadata.deletionTimestamp is not None:
        left_s = metadata.deletionGracePeriodSeconds
        if left_s is None:
            return _delete_at_once(pod, now=now)
        if grace_s is None or grace_s >= left_s:
            # nothing holds it and its grace is over: only an object taken from a dump can stand so
            return Deletion(Fate.REMOVED if is_released(pod) else Fate.KEPT, pod)
        grace_s = max(grace_s, 0)
        shortened = _marked(pod, at=metadata.deletionTimestamp - datetime.timedelta(seconds=left_s - grace_s), grace_s=grace_s)
        return Deletion(Fate.REMOVED if is_released(shortened) else Fate.MARKED, shortened)
    marked = _marked(pod, at=now + datetime.timedelta(seconds=(period := _grace_s(pod, grace_s))), grace_s=period)
    return Deletion(Fate.REMOVED if is_released(marked) else Fate.MARKED, marked)


def _grace_s(pod: Pod, asked_s: int | None) -> int:
    """The period of a first DELETE: none when no kubelet runs the pod, else what was asked, the pod's own, or 30 s."""
    spec = pod.spec
    if spec is None or not spec.nodeName or (pod.status is not None and pod.status.phase in _TERMINAL):
        return 0
    own_s = POD_GRACE_S_DEFAULT if spec.terminationGracePeriodSeconds is None else spec.terminationGracePeriodSeconds
    period_s = own_s if asked_s is None else asked_s
    return period_s if period_s >= 0 else 1  # a negative period means "at once", which is one second
