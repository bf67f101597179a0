"""The snapshot sidecar as tables: which row of a content applies, and what a CreateSnapshot answer means.

    volume handle, no status ──P3──> handle, not ready ──P6 again and again──> ready ──P4
    snapshot handle ──P5──> ready                        deletion accepted ──P1, P2──> gone

Source: spec/snapshots.md 2.5; external-snapshotter pkg/sidecar-controller/snapshot_controller.go (syncContent, isFinalError).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from volsched.api.edit import annotations_of, finalizers_of
from volsched.api.snapshot import VolumeSnapshotContent, VolumeSnapshotContentStatus
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.controllers.snapshot_names import CONTENT_FINALIZER, DELETE, GROUP_MEMBER, is_ready, may_delete
from volsched.errors import CsiCode

_BOOL: Final = (False, True)


class SidecarRow(enum.Enum):
    P1 = "delete the backend snapshot, clear the status, take the finalizer off"
    P2 = "take the finalizer off"
    P3 = "create"
    P4 = "ready: take being-created off"
    P5 = "ask for the status of an existing snapshot"
    P6 = "create again: the readiness poll"
    P7 = "member of a group without handles: wait for the group"
    # RULE (spec/snapshots.md 4, W4-W7): without its finalizer a content could vanish under a running CreateSnapshot.
    UNGUARDED = "wait for the content's finalizer"


# fmt: off
SIDECAR: Final = DecisionTable[SidecarRow](
    {
        "may_delete": _BOOL, "policy_delete": _BOOL, "handle": _BOOL, "group_handle": _BOOL,
        "volume_source": _BOOL, "status_set": _BOOL, "member": _BOOL, "ready": _BOOL, "guarded": _BOOL,
    },
    (
        #                        may_delete policy_delete handle group_handle volume_source status_set member ready  guarded
        (SidecarRow.P1,         (True,      True,         True,  False,       ANY,          ANY,       ANY,   ANY,   ANY)),
        (SidecarRow.P2,         (True,      ANY,          ANY,   ANY,         ANY,          ANY,       ANY,   ANY,   ANY)),
        (SidecarRow.UNGUARDED,  (False,     ANY,          ANY,   ANY,         True,         False,     False, ANY,   False)),
        (SidecarRow.P3,         (False,     ANY,          ANY,   ANY,         True,         False,     False, ANY,   True)),
        (SidecarRow.P4,         (False,     ANY,          ANY,   ANY,         ANY,          ANY,       ANY,   True,  ANY)),
        (SidecarRow.P5,         (False,     ANY,          ANY,   ANY,         False,        ANY,       ANY,   False, ANY)),
        (SidecarRow.P5,         (False,     ANY,          True,  True,        ANY,          ANY,       ANY,   False, ANY)),
        (SidecarRow.UNGUARDED,  (False,     ANY,          ANY,   ANY,         True,         ANY,       False, False, False)),
        (SidecarRow.P6,         (False,     ANY,          ANY,   ANY,         True,         ANY,       False, False, True)),
        (SidecarRow.P7,         (False,     ANY,          ANY,   ANY,         True,         ANY,       True,  False, ANY)),
    ),
    impossible=(
        # without a status there is nothing in it
        (ANY, ANY, True, ANY,  ANY, False, ANY, ANY,  ANY),
        (ANY, ANY, ANY,  True, ANY, False, ANY, ANY,  ANY),
        (ANY, ANY, ANY,  ANY,  ANY, False, ANY, True, ANY),
    ),
)
# fmt: on

# Whether an answer to CreateSnapshot is final: nothing is under way at the driver. ResourceExhausted is not, unlike in CreateVolume.
# fmt: off
CREATE_FINAL: Final[Mapping[CsiCode, bool]] = {
    CsiCode.OK:                  True,
    CsiCode.CANCELLED:           False,
    CsiCode.UNKNOWN:             True,
    CsiCode.INVALID_ARGUMENT:    True,
    CsiCode.DEADLINE_EXCEEDED:   False,
    CsiCode.NOT_FOUND:           True,
    CsiCode.ALREADY_EXISTS:      True,
    CsiCode.PERMISSION_DENIED:   True,
    CsiCode.RESOURCE_EXHAUSTED:  False,
    CsiCode.FAILED_PRECONDITION: True,
    CsiCode.ABORTED:             False,
    CsiCode.OUT_OF_RANGE:        True,
    CsiCode.UNIMPLEMENTED:       True,
    CsiCode.INTERNAL:            True,
    CsiCode.UNAVAILABLE:         False,
    CsiCode.DATA_LOSS:           True,
    CsiCode.UNAUTHENTICATED:     True,
}
# fmt: on


def sidecar_row(content: VolumeSnapshotContent) -> SidecarRow:
    """The P row of a content of this driver."""
    status = content.status or VolumeSnapshotContentStatus()
    return SIDECAR.decide(
        may_delete=may_delete(content),
        policy_delete=content.spec.deletionPolicy == DELETE,
        handle=status.snapshotHandle is not None,
        group_handle=status.volumeGroupSnapshotHandle is not None,
        volume_source=content.spec.source.volumeHandle is not None,
        status_set=content.status is not None,
        member=GROUP_MEMBER in annotations_of(content),
        ready=is_ready(content),
        guarded=CONTENT_FINALIZER in finalizers_of(content),
    )
