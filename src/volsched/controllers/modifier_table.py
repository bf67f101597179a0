"""VolumeAttributesClass changes as a table: what a claim's wish and the state of the last modification ask for.

    wish ──> InProgress ──> (none), class in force
               │ InvalidArgument          a missing class: Pending
               └> Infeasible

A wish may be taken back. What the driver may have applied is then put right by modifying to the class in force; what it refused for good
is just forgotten. Source: spec/volumes.md 5; external-resizer pkg/modifycontroller.
"""

from __future__ import annotations

import enum
from typing import Final

from lightkube.models.core_v1 import PersistentVolumeClaim

from volsched.controllers.decision_table import DecisionTable
from volsched.rules.volumes import attributes_class_of


class Wish(enum.Enum):
    """spec.volumeAttributesClassName against status.currentVolumeAttributesClassName."""

    NONE = "no class asked for"
    SAME = "the class in force"
    OTHER = "another class"


class Change(enum.Enum):
    """status.modifyVolumeStatus.status."""

    NONE = ""
    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    INFEASIBLE = "Infeasible"


class ModifyRow(enum.Enum):
    NOTHING = "nothing to do"
    WANTED = "modify to the class asked for"
    TARGET = "the driver may have begun: finish"
    FORGET = "nothing was changed: take the status away"


_IDLE: Final = frozenset({Change.PENDING, Change.INFEASIBLE})
# fmt: off
MODIFY: Final = DecisionTable[ModifyRow](
    {"wish": tuple(Wish), "change": tuple(Change)},
    (
        #                    wish        change
        (ModifyRow.WANTED,  (Wish.OTHER, frozenset(Change))),
        (ModifyRow.WANTED,  (Wish.SAME,  Change.IN_PROGRESS)),
        (ModifyRow.TARGET,  (Wish.NONE,  Change.IN_PROGRESS)),
        (ModifyRow.FORGET,  (Wish.SAME,  _IDLE)),
        (ModifyRow.FORGET,  (Wish.NONE,  _IDLE)),
        (ModifyRow.NOTHING, (Wish.SAME,  Change.NONE)),
        (ModifyRow.NOTHING, (Wish.NONE,  Change.NONE)),
    ),
)
# fmt: on


def change_of(claim: PersistentVolumeClaim) -> Change:
    """How far a modification got. An unknown word is a state of a newer Kubernetes: the driver may have begun."""
    mark = claim.status.modifyVolumeStatus if claim.status else None
    if mark is None:
        return Change.NONE
    return Change(mark.status) if mark.status in {entry.value for entry in Change} else Change.IN_PROGRESS


def target_of(claim: PersistentVolumeClaim) -> str:
    """The class the last modification aimed at, empty when there is none."""
    mark = claim.status.modifyVolumeStatus if claim.status else None
    return (mark.targetVolumeAttributesClassName if mark else None) or ""


def modify_row(claim: PersistentVolumeClaim) -> ModifyRow:
    """What has to be done about a claim. Only bound claims are modified."""
    if claim.status is None or claim.status.phase != "Bound" or not (claim.spec and claim.spec.volumeName):
        return ModifyRow.NOTHING
    wanted, current = attributes_class_of(claim), claim.status.currentVolumeAttributesClassName or ""
    wish = Wish.NONE if not wanted else Wish.SAME if wanted == current else Wish.OTHER
    return MODIFY.decide(wish=wish, change=change_of(claim))
