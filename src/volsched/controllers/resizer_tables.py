"""Expansion as tables: which size the controller side works towards, and what an answer of the driver means.

A claim remembers in its status what was asked of the driver last (allocatedResources) and how far it got (allocatedResourceStatuses):

    (none) ──> ControllerResizeInProgress ──┬──> (none), grown
                  │ infeasible              └──> NodeResizePending ──> NodeResizeInProgress ──> (none), grown
                  └> ControllerResizeInfeasible                           │ infeasible
                                                                          └> NodeResizeInfeasible

The size last asked for may still be under way at the driver, so it comes before a new wish of the user; a wish may also be smaller than it.
Source: spec/volumes.md 5; external-resizer pkg/controller/expand_and_recover.go, kubernetes pkg/volume/csi/expander.go.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.controllers.snapshot_sidecar_table import CREATE_FINAL
from volsched.errors import CsiCode

_BOOL: Final = (False, True)


class Progress(enum.Enum):
    """status.allocatedResourceStatuses[storage] of a claim."""

    NONE = ""
    CONTROLLER = "ControllerResizeInProgress"
    CONTROLLER_INFEASIBLE = "ControllerResizeInfeasible"
    NODE_PENDING = "NodeResizePending"
    NODE = "NodeResizeInProgress"
    NODE_INFEASIBLE = "NodeResizeInfeasible"


class Target(enum.Enum):
    REQUEST = "what the claim asks for"
    ALLOCATED = "what was asked for last"
    NODE = "nothing: the node has to finish first"


_ON_NODE: Final = frozenset({Progress.NODE_PENDING, Progress.NODE})
_BEFORE_NODE: Final = frozenset({Progress.CONTROLLER, Progress.CONTROLLER_INFEASIBLE})
_FREE: Final = frozenset({Progress.NONE, Progress.CONTROLLER_INFEASIBLE})
# pv_small: the volume is smaller than the request. reached: it has the size last asked for. gave_up: the driver's last answer was final and
# no success. by_controller: the driver grows volumes on the controller side. fs_pending: the claim's condition FileSystemResizePending.
# fmt: off
TARGET: Final = DecisionTable[Target](
    {
        "pv_small": _BOOL, "progress": tuple(Progress), "allocated": _BOOL, "reached": _BOOL, "gave_up": _BOOL, "by_controller": _BOOL,
        "fs_pending": _BOOL,
    },
    (
        #                   pv_small progress                  allocated reached gave_up by_controller fs_pending
        (Target.REQUEST,   (True,    _FREE,                    ANY,      ANY,    ANY,    ANY,          ANY)),
        (Target.REQUEST,   (True,    ANY,                      False,    ANY,    ANY,    ANY,          ANY)),
        (Target.NODE,      (True,    _ON_NODE,                 True,     True,   ANY,    ANY,          ANY)),
        (Target.REQUEST,   (True,    Progress.CONTROLLER,      True,     ANY,    True,   ANY,          ANY)),
        (Target.ALLOCATED, (True,    ANY,                      True,     ANY,    ANY,    ANY,          ANY)),
        (Target.NODE,      (False,   _ON_NODE,                 ANY,      ANY,    ANY,    ANY,          ANY)),
        (Target.ALLOCATED, (False,   Progress.NODE_INFEASIBLE, True,     ANY,    ANY,    True,         ANY)),
        (Target.REQUEST,   (False,   Progress.NODE_INFEASIBLE, ANY,      ANY,    ANY,    ANY,          ANY)),
        (Target.ALLOCATED, (False,   _BEFORE_NODE,             True,     ANY,    ANY,    ANY,          ANY)),
        (Target.REQUEST,   (False,   _BEFORE_NODE,             False,    ANY,    ANY,    ANY,          ANY)),
        (Target.ALLOCATED, (False,   Progress.NONE,            True,     ANY,    ANY,    ANY,          ANY)),
        (Target.NODE,      (False,   Progress.NONE,            False,    ANY,    ANY,    ANY,          True)),
        (Target.REQUEST,   (False,   Progress.NONE,            False,    ANY,    ANY,    ANY,          False)),
    ),
)
# fmt: on


class Verdict(enum.Enum):
    """What a driver's refusal to expand or to modify means."""

    UNKNOWN = "it may be under way"
    IN_USE = "final: not while a pod uses the volume"
    INFEASIBLE = "final: not with these arguments"
    FAILED = "final"


_INFEASIBLE: Final = frozenset({CsiCode.INVALID_ARGUMENT, CsiCode.OUT_OF_RANGE, CsiCode.NOT_FOUND})


def _verdict(code: CsiCode) -> Verdict:
    if not CREATE_FINAL[code]:
        return Verdict.UNKNOWN
    if code is CsiCode.FAILED_PRECONDITION:
        return Verdict.IN_USE
    return Verdict.INFEASIBLE if code in _INFEASIBLE else Verdict.FAILED


EXPANSION_REFUSED: Final[Mapping[CsiCode, Verdict]] = {code: _verdict(code) for code in CsiCode if code is not CsiCode.OK}
