"""A claim's status while its volume grows or is modified, computed: claim in, changed claim out; an equal one means nothing to write.

Four conditions tell of expansion (Resizing, FileSystemResizePending, ControllerResizeError, NodeResizeError), two of modification
(ModifyingVolume, ModifyVolumeError). Conditions of others are never touched, and a condition that stays True keeps its time.
Source: external-resizer pkg/controller/resize_status.go, pkg/modifycontroller/modify_status.go; kubernetes pkg/volume/util/resize_util.go.
"""

from __future__ import annotations

import datetime
from typing import Final

from lightkube.models.core_v1 import (
    ModifyVolumeStatus,
    PersistentVolumeClaim,
    PersistentVolumeClaimCondition,
    PersistentVolumeClaimStatus,
)

from volsched.api.edit import replace
from volsched.api.quantity import Quantity
from volsched.api.quantity import parse as parse_quantity
from volsched.controllers.resizer_tables import Progress

RESIZING: Final = "Resizing"
FS_PENDING: Final = "FileSystemResizePending"
CONTROLLER_ERROR: Final = "ControllerResizeError"
NODE_ERROR: Final = "NodeResizeError"
MODIFYING: Final = "ModifyingVolume"
MODIFY_ERROR: Final = "ModifyVolumeError"
RESIZE_CONDITIONS: Final = frozenset({RESIZING, FS_PENDING, CONTROLLER_ERROR, NODE_ERROR})
MODIFY_CONDITIONS: Final = frozenset({MODIFYING, MODIFY_ERROR})
FS_PENDING_TEXT: Final = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."

_STORAGE: Final = "storage"


def status_of(claim: PersistentVolumeClaim) -> PersistentVolumeClaimStatus:
    return claim.status or PersistentVolumeClaimStatus()


def has_condition(claim: PersistentVolumeClaim, kind: str) -> bool:
    """Whether a condition is True."""
    return any(entry.type == kind and entry.status == "True" for entry in status_of(claim).conditions or ())


def progress_of(claim: PersistentVolumeClaim) -> Progress:
    """How far an expansion got. An unknown word is a state of a newer Kubernetes and counts as none."""
    text = (status_of(claim).allocatedResourceStatuses or {}).get(_STORAGE, "")
    return Progress(text) if text in {entry.value for entry in Progress} else Progress.NONE


def status_size(claim: PersistentVolumeClaim) -> Quantity:
    """status.capacity[storage], zero when unset."""
    return parse_quantity((status_of(claim).capacity or {}).get(_STORAGE, "0"))


def allocated_size(claim: PersistentVolumeClaim) -> Quantity | None:
    """status.allocatedResources[storage]: the size last asked of the driver."""
    text = (status_of(claim).allocatedResources or {}).get(_STORAGE)
    return None if text is None else parse_quantity(text)


def condition(kind: str, now: datetime.datetime, message: str = "") -> PersistentVolumeClaimCondition:
    """A condition that is True as of now."""
    return PersistentVolumeClaimCondition(type=kind, status="True", lastTransitionTime=now, message=message or None)


def merged(
    old: list[PersistentVolumeClaimCondition] | None,
    new: PersistentVolumeClaimCondition | None,
    known: frozenset[str],
    *,
    keep: bool,
) -> list[PersistentVolumeClaimCondition] | None:
    """Conditions with one of the known ones set and, unless `keep`, the other known ones dropped."""
    result: list[PersistentVolumeClaimCondition] = []
    placed = new is None
    for entry in old or ():
        if new is not None and entry.type == new.type:
            same = (entry.status, entry.message or None) == (new.status, new.message or None)
            result.append(entry if same else new)
            placed = True
        elif keep or entry.type not in known:
            result.append(entry)
    if not placed and new is not None:
        result.append(new)
    return result or None


def _with(claim: PersistentVolumeClaim, **changes: object) -> PersistentVolumeClaim:
    new = replace(status_of(claim), **changes)
    return claim if new == claim.status else replace(claim, status=new)


def _progress(claim: PersistentVolumeClaim, progress: Progress) -> dict[str, str] | None:
    kept = {key: value for key, value in (status_of(claim).allocatedResourceStatuses or {}).items() if key != _STORAGE}
    return (kept if progress is Progress.NONE else {**kept, _STORAGE: progress.value}) or None


def _sized(old: dict[str, str] | None, size: Quantity) -> dict[str, str]:
    return {**(old or {}), _STORAGE: str(size)}


# expansion


def begun(claim: PersistentVolumeClaim, size: Quantity, now: datetime.datetime, *, again: bool) -> PersistentVolumeClaim:
    """The driver is about to be asked for a size. `again`: for the same one as before, so what is known about it stays."""
    status = status_of(claim)
    return _with(
        claim,
        conditions=merged(status.conditions, condition(RESIZING, now), RESIZE_CONDITIONS, keep=again),
        allocatedResources=_sized(status.allocatedResources, size),
        allocatedResourceStatuses=status.allocatedResourceStatuses if again else _progress(claim, Progress.CONTROLLER),
    )


def node_pending(claim: PersistentVolumeClaim, now: datetime.datetime) -> PersistentVolumeClaim:
    """The volume has grown, its file system has not."""
    entry = condition(FS_PENDING, now, FS_PENDING_TEXT)
    conditions = merged(status_of(claim).conditions, entry, RESIZE_CONDITIONS, keep=True)
    return _with(claim, conditions=conditions, allocatedResourceStatuses=_progress(claim, Progress.NODE_PENDING))


def node_begun(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    """A kubelet is about to have the file system grown."""
    return _with(claim, allocatedResourceStatuses=_progress(claim, Progress.NODE))


def finished(claim: PersistentVolumeClaim, size: Quantity) -> PersistentVolumeClaim:
    """All of it has grown."""
    status = status_of(claim)
    return _with(
        claim,
        capacity=_sized(status.capacity, size),
        conditions=merged(status.conditions, None, RESIZE_CONDITIONS, keep=False),
        allocatedResourceStatuses=_progress(claim, Progress.NONE),
    )


def refused(
    claim: PersistentVolumeClaim, problem: object, now: datetime.datetime, *, kind: str, infeasible: Progress | None
) -> PersistentVolumeClaim:
    """The driver refused for good. `kind`: the condition that says so; `infeasible`: the state that keeps it from being tried again."""
    entry = condition(kind, now, f"failed to expand pvc with {problem}")
    conditions = merged(status_of(claim).conditions, entry, RESIZE_CONDITIONS, keep=True)
    progress = status_of(claim).allocatedResourceStatuses if infeasible is None else _progress(claim, infeasible)
    return _with(claim, conditions=conditions, allocatedResourceStatuses=progress)


# modification


def modify_marked(
    claim: PersistentVolumeClaim, word: str, now: datetime.datetime, *, target: str | None, message: str | None
) -> PersistentVolumeClaim:
    """status.modifyVolumeStatus; with a message also the condition ModifyingVolume. `target` None keeps the class that was aimed at."""
    status = status_of(claim)
    before = status.modifyVolumeStatus.targetVolumeAttributesClassName if status.modifyVolumeStatus else None
    conditions = status.conditions
    if message is not None:
        conditions = merged(conditions, condition(MODIFYING, now, message), MODIFY_CONDITIONS, keep=False)
    mark = ModifyVolumeStatus(status=word, targetVolumeAttributesClassName=before if target is None else target)
    return _with(claim, modifyVolumeStatus=mark, conditions=conditions)


def modify_failed(claim: PersistentVolumeClaim, problem: object, now: datetime.datetime) -> PersistentVolumeClaim:
    """The driver's last answer was an error."""
    entry = condition(MODIFY_ERROR, now, f"ModifyVolume failed with error: {problem}. Waiting for retry.")
    return _with(claim, conditions=merged(status_of(claim).conditions, entry, MODIFY_CONDITIONS, keep=False))


def modified(claim: PersistentVolumeClaim, class_name: str) -> PersistentVolumeClaim:
    """The volume has the attributes of the class."""
    conditions = merged(status_of(claim).conditions, None, MODIFY_CONDITIONS, keep=False)
    return _with(claim, modifyVolumeStatus=None, currentVolumeAttributesClassName=class_name, conditions=conditions)
