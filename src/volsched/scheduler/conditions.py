"""Pod conditions and the patches that write them.

A condition keeps its lastTransitionTime while its status stays the same, and is written only if something a reader can see has changed;
a new observedGeneration alone is no such thing.

Source: pkg/api/v1/pod/util.go (UpdatePodCondition), pkg/scheduler/schedule_one.go (updatePod), pkg/scheduler/util/utils.go;
spec/scheduling.md 9.7.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from lightkube.models.core_v1 import Pod, PodCondition

from volsched.api.edit import replace
from volsched.api.kinds import meta
from volsched.ports import Patch
from volsched.scheduler.nominator import nominated_node

NOTE_BYTES_MAX: Final = 1024
_CUT: Final = " ..."
_NS: Final = 1_000_000_000
# what Go's Printf reads after a percent sign: flags, width, precision, argument index, verb
_VERB: Final = re.compile(r"%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d*))?(.)?", re.DOTALL)


def at(now_ns: int) -> datetime.datetime:
    """An instant as objects carry it: UTC, whole seconds."""
    return datetime.datetime.fromtimestamp(now_ns // _NS, datetime.UTC)


def conditions_of(pod: Pod) -> list[PodCondition]:
    return list((pod.status.conditions if pod.status else None) or ())


def with_condition(pod: Pod, condition: PodCondition, now_ns: int) -> list[PodCondition] | None:
    """The pod's conditions with this one added or replaced; None when that would change nothing."""
    conditions = conditions_of(pod)
    new = replace(condition, lastTransitionTime=at(now_ns))
    for index, old in enumerate(conditions):
        if old.type != new.type:
            continue
        if old.status == new.status:
            new = replace(new, lastTransitionTime=old.lastTransitionTime)
        if (old.status, old.reason, old.message, old.lastTransitionTime) == (new.status, new.reason, new.message, new.lastTransitionTime):
            return None
        conditions[index] = new
        return conditions
    return [*conditions, new]


def status_patch(pod: Pod, *, conditions: Sequence[PodCondition] | None = None, nominated: str | None = None) -> Patch | None:
    """The patch of a pod's status, None when there is nothing to write.

    conditions: the whole new list, None to leave it. nominated: the new nominatedNodeName, "" to clear it, None to leave it.
    """
    status: dict[str, Any] = {}
    if conditions is not None:
        status["conditions"] = msgspec.to_builtins(list(conditions))
    if nominated is not None and nominated != nominated_node(pod):
        status["nominatedNodeName"] = nominated or None
    if not status:
        return None
    metadata = meta(pod)
    return Patch("Pod", metadata.namespace or "default", metadata.name or "", {"status": status}, subresource="status")


def event_note(message: str) -> str:
    """A message as it ends up in an event: cut to 1024 bytes, then read as a format by Go's Printf, which has no arguments to offer.

    So "%%" becomes "%", and any other percent sign becomes a complaint about what follows it.
    """
    raw = message.encode()
    if len(raw) > NOTE_BYTES_MAX:
        message = raw[: NOTE_BYTES_MAX - len(_CUT)].decode(errors="ignore") + _CUT

    def complain(match: re.Match[str]) -> str:
        _flags, width, precision, verb = match.groups()
        bad = ("%!(BADWIDTH)" if width == "*" else "") + ("%!(BADPREC)" if precision == "*" else "")
        if verb is None:
            return bad + "%!(NOVERB)"
        return bad + ("%" if verb == "%" else f"%!{verb}(MISSING)")

    return _VERB.sub(complain, message) if "%" in message else message
