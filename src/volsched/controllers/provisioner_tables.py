"""The provisioner as tables: when a claim is provisioned, what a failed preparation or CSI answer means, when a volume is deleted.

    claim event ─> PROVISIONING (3.2) ─> preparation, CHECK_STATE (3.3) ─> CreateVolume, CREATE_OUTCOME (3.7) ─> volume saved
    volume event ─> FINALIZER (2) ─> DELETION (3.8) ─> DeleteVolume

Source: spec/volumes.md 3.2, 3.3, 3.7, 3.8; sig-storage-lib-external-provisioner controller/controller.go, external-provisioner checkError.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.errors import CsiCode, ReconcileError

_BOOL: Final = (False, True)


# 3.2


class ProvisioningRow(enum.Enum):
    STOP = "nothing to do; a later event may change that"
    RETRY = "the class is not there: look again with backoff"
    GO = "one attempt"


# fmt: off
PROVISIONING: Final = DecisionTable[ProvisioningRow](
    {
        "volume_named": _BOOL, "ours": _BOOL, "class_found": _BOOL, "class_ours": _BOOL,
        "waits": _BOOL, "node_selected": _BOOL, "volume_exists": _BOOL,
    },
    (
        #                         volume_named ours   class_found class_ours waits  node_selected volume_exists
        (ProvisioningRow.STOP,   (True,        ANY,   ANY,        ANY,       ANY,   ANY,          ANY)),
        (ProvisioningRow.STOP,   (False,       False, ANY,        ANY,       ANY,   ANY,          ANY)),
        (ProvisioningRow.RETRY,  (False,       True,  False,      ANY,       ANY,   ANY,          ANY)),
        (ProvisioningRow.STOP,   (False,       True,  True,       ANY,       True,  False,        ANY)),
        (ProvisioningRow.STOP,   (False,       True,  True,       ANY,       False, ANY,          True)),
        (ProvisioningRow.STOP,   (False,       True,  True,       ANY,       True,  True,         True)),
        (ProvisioningRow.STOP,   (False,       True,  True,       False,     False, ANY,          False)),
        (ProvisioningRow.STOP,   (False,       True,  True,       False,     True,  True,         False)),
        (ProvisioningRow.GO,     (False,       True,  True,       True,      False, ANY,          False)),
        (ProvisioningRow.GO,     (False,       True,  True,       True,      True,  True,         False)),
    ),
)
# fmt: on


# 3.3 and 3.7


class State(enum.Enum):
    """Where an attempt left things."""

    FINISHED = "nothing is under way at the driver"
    IN_BACKGROUND = "the driver may still be working: keep calling, even if the claim goes"
    NO_CHANGE = "as before the attempt"
    RESCHEDULE = "finished, and the pod should be scheduled anew"
    INFEASIBLE = "finished, and not tried again for five minutes"


class Effect(NamedTuple):
    """What a state does to what is remembered of a claim. `in_progress`: True store, False drop, None leave."""

    in_progress: bool | None
    forget_topology: bool  # only when the state came from CreateVolume, never from a preparation
    reschedule: bool
    lock_out: bool


# fmt: off
EFFECTS: Final[Mapping[State, Effect]] = {
    #                            in_progress  forget_topology  reschedule  lock_out
    State.FINISHED:       Effect(False,       True,            False,      False),
    State.IN_BACKGROUND:  Effect(True,        False,           False,      False),
    State.NO_CHANGE:      Effect(None,        False,           False,      False),
    State.RESCHEDULE:     Effect(False,       True,            True,       False),
    State.INFEASIBLE:     Effect(False,       True,            False,      True),
}


class Check(enum.Enum):
    """The steps of a preparation, numbered as in the specification."""

    CLASS = 1
    SOURCE_FORM = 2
    SOURCE_KIND = 3
    POPULATOR = 4
    CAPABILITIES = 5
    SELECTOR = 6
    NAME = 7
    FS_TYPE = 8
    ACCESS_MODES = 9
    CONTENT_SOURCE = 10
    SOURCE_FINALIZER = 11
    TOPOLOGY = 12
    TOPOLOGY_NODE_GONE = 112  # 12 again: the selected node's CSINode is not there
    SECRETS = 13
    PARAMETERS = 14
    ATTRIBUTES_READ = 15
    ATTRIBUTES_DRIVER = 115  # 15 again: the attributes class is for another driver


CHECK_STATE: Final[Mapping[Check, State]] = {
    Check.CLASS:              State.FINISHED,
    Check.SOURCE_FORM:        State.FINISHED,
    Check.SOURCE_KIND:        State.FINISHED,
    Check.POPULATOR:          State.FINISHED,
    Check.CAPABILITIES:       State.FINISHED,
    Check.SELECTOR:           State.FINISHED,
    Check.NAME:               State.FINISHED,
    Check.FS_TYPE:            State.FINISHED,
    Check.ACCESS_MODES:       State.FINISHED,
    Check.CONTENT_SOURCE:     State.NO_CHANGE,
    Check.SOURCE_FINALIZER:   State.NO_CHANGE,
    Check.TOPOLOGY:           State.NO_CHANGE,
    Check.TOPOLOGY_NODE_GONE: State.RESCHEDULE,
    Check.SECRETS:            State.NO_CHANGE,
    Check.PARAMETERS:         State.FINISHED,
    Check.ATTRIBUTES_READ:    State.NO_CHANGE,
    Check.ATTRIBUTES_DRIVER:  State.FINISHED,
}

# ResourceExhausted is final here, unlike in CreateSnapshot; with a selected node and topology it becomes RESCHEDULE (`create_outcome`).
CREATE_OUTCOME: Final[Mapping[CsiCode, State]] = {
    CsiCode.OK:                  State.FINISHED,
    CsiCode.CANCELLED:           State.IN_BACKGROUND,
    CsiCode.UNKNOWN:             State.FINISHED,
    CsiCode.INVALID_ARGUMENT:    State.INFEASIBLE,
    CsiCode.DEADLINE_EXCEEDED:   State.IN_BACKGROUND,
    CsiCode.NOT_FOUND:           State.FINISHED,
    CsiCode.ALREADY_EXISTS:      State.FINISHED,
    CsiCode.PERMISSION_DENIED:   State.FINISHED,
    CsiCode.RESOURCE_EXHAUSTED:  State.FINISHED,
    CsiCode.FAILED_PRECONDITION: State.FINISHED,
    CsiCode.ABORTED:             State.IN_BACKGROUND,
    CsiCode.OUT_OF_RANGE:        State.FINISHED,
    CsiCode.UNIMPLEMENTED:       State.FINISHED,
    CsiCode.INTERNAL:            State.FINISHED,
    CsiCode.UNAVAILABLE:         State.IN_BACKGROUND,
    CsiCode.DATA_LOSS:           State.FINISHED,
    CsiCode.UNAUTHENTICATED:     State.FINISHED,
}
# fmt: on


def create_outcome(code: CsiCode, *, has_topology: bool, node_selected: bool) -> State:
    """The state after CreateVolume answered this code."""
    if code is CsiCode.RESOURCE_EXHAUSTED and has_topology and node_selected:
        return State.RESCHEDULE
    return CREATE_OUTCOME[code]


class Refusal(ReconcileError):
    """A preparation that stopped. `ignored`: not a failure, somebody else provisions this claim."""

    def __init__(self, check: Check, message: object, *, ignored: bool = False) -> None:
        super().__init__(str(message))
        self.check = check
        self.state = CHECK_STATE[check]
        self.ignored = ignored


# 2 and 3.8


class FinalizerRow(enum.Enum):
    KEEP = "leave the finalizer as it is"
    ADD = "put it on"
    REMOVE = "take it off"


# fmt: off
FINALIZER: Final = DecisionTable[FinalizerRow](
    {"ours": _BOOL, "policy_delete": _BOOL, "bound": _BOOL, "deleting": _BOOL, "held": _BOOL},
    (
        #                        ours   policy_delete bound  deleting held
        (FinalizerRow.KEEP,     (False, ANY,          ANY,   ANY,     ANY)),
        (FinalizerRow.REMOVE,   (True,  False,        ANY,   ANY,     True)),
        (FinalizerRow.KEEP,     (True,  False,        ANY,   ANY,     False)),
        (FinalizerRow.ADD,      (True,  True,         True,  False,   False)),
        (FinalizerRow.KEEP,     (True,  True,         True,  False,   True)),
        (FinalizerRow.KEEP,     (True,  True,         True,  True,    ANY)),
        (FinalizerRow.KEEP,     (True,  True,         False, ANY,     ANY)),
    ),
)
# fmt: on


def should_delete(*, ours: bool, policy_delete: bool, phase: str, deleting: bool, held: bool) -> bool:
    """Whether the volume behind a PV is to be deleted now. `Failed` volumes are not; one being deleted only while we hold it."""
    return ours and policy_delete and phase == "Released" and (held or not deleting)
