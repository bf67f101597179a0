"""The decision tables of the volume binder: conditions in, row out. Nothing here looks at an object.

Exactly one row of a table fits any combination of its conditions, so the order of the rows carries no meaning (a test walks all
combinations). The rows have the names of spec/volumes.md 1.4, 1.8 and 1.8.1.
Source: pkg/controller/volume/persistentvolume/pv_controller.go, syncClaim, syncVolume, reclaimVolume.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from volsched.controllers.decision_table import ANY, DecisionTable


class ClaimRow(enum.Enum):
    """What one pass over a claim does."""

    U1 = "unbound, a volume matches: bind"
    U2 = "unbound, no class set, a default class exists: take it"
    U3 = "unbound, its class waits for a pod: say what is waited for, Pending"
    U4 = "unbound, has a class: provision"
    U5 = "unbound, no class: say so, Pending"
    N1 = "names a volume that is unknown: Pending"
    N2 = "names an unclaimed volume that satisfies it: bind"
    N2_MISFIT = "names an unclaimed volume that does not satisfy it: say why, Pending"
    N3 = "names a volume that names it: bind without any check"
    N4 = "names another claim's volume, asked for by the user: say so, Pending"
    N5 = "names another claim's volume, chosen by a controller: say so, error"
    B1 = "was bound, names no volume any more: Lost"
    B2 = "was bound, its volume is unknown: Lost"
    B3 = "was bound, its volume lost the reference: bind again"
    B4 = "bound both ways: finish what is missing"
    B5 = "was bound, its volume belongs to another claim: Lost"


class VolumeRow(enum.Enum):
    """What one pass over a volume does."""

    V1 = "no claimRef: Available"
    V2 = "claimRef without uid, reserved by a user: Available"
    V3 = "its claim is gone: Released, reclaim"
    V4 = "its claim is not bound yet: look at the claim"
    V4_MISFIT = "its claim has another volumeMode: say so"
    V5 = "bound both ways: Bound"
    V6 = "its claim took another volume, it was provisioned for it: Released, reclaim"
    V7_DROP = "its claim took another volume, a controller had bound it: remove the reference"
    V7_CLEAR = "its claim took another volume, a user had reserved it: clear the reference's uid"


class ReclaimRow(enum.Enum):
    """What becomes of a released volume."""

    MIGRATED = "handed over to a CSI driver: nothing here"
    RETAIN = "kept until an administrator clears claimRef"
    EXTERNAL = "its external provisioner deletes it"
    IN_TREE = "deleted in the tree; Failed where nothing there can"
    RECYCLE = "recycle"
    UNKNOWN = "unknown policy: Failed"


class ClaimFacts(NamedTuple):
    """The conditions of the claim table. Conditions about a volume mean the one that spec.volumeName names."""

    bind_completed: bool  # the annotation is present, whatever its value
    names_volume: bool
    match_found: bool  # by the search of spec 1.5
    takes_default: bool  # neither class field nor beta annotation, and a default class exists
    waits_for_pod: bool  # the class delays binding and no node has been selected
    has_class: bool
    volume_known: bool
    volume_unclaimed: bool
    volume_names_claim: bool  # claimRef has its name and namespace, and no uid or its uid
    volume_has_uid: bool  # claimRef has its uid
    volume_fits: bool  # spec 1.6
    bound_by_controller: bool


class VolumeFacts(NamedTuple):
    """The conditions of the volume table. Conditions about a claim mean the one that claimRef names, by uid."""

    claimed: bool
    has_uid: bool
    claim_found: bool
    claim_unbound: bool
    claim_names_volume: bool
    modes_differ: bool
    provisioned_for_it: bool  # provisioned-by and policy Delete
    bound_by_controller: bool


class ReclaimFacts(NamedTuple):
    """The conditions of the reclaim table."""

    migrated: bool
    retain: bool
    delete: bool
    recycle: bool
    external: bool  # a CSI volume, or provisioned by something outside Kubernetes


_BOOL: Final = (False, True)
_Y, _N, _x = True, False, ANY

# fmt: off
CLAIM_TABLE: Final = DecisionTable[ClaimRow](dict.fromkeys(ClaimFacts._fields, _BOOL), (
    #                     bind  names match takes waits has   known un-   names has   fits  by
    #                     done  PV    found dflt  pod   class PV    clmd  claim uid         ctrl
    (ClaimRow.U1,        (_N,  _N,   _Y,   _x,   _x,   _x,   _x,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.U2,        (_N,  _N,   _N,   _Y,   _x,   _x,   _x,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.U3,        (_N,  _N,   _N,   _N,   _Y,   _x,   _x,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.U4,        (_N,  _N,   _N,   _N,   _N,   _Y,   _x,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.U5,        (_N,  _N,   _N,   _N,   _N,   _N,   _x,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.N1,        (_N,  _Y,   _x,   _x,   _x,   _x,   _N,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.N2,        (_N,  _Y,   _x,   _x,   _x,   _x,   _Y,   _Y,   _x,   _x,   _Y,   _x)),
    (ClaimRow.N2_MISFIT, (_N,  _Y,   _x,   _x,   _x,   _x,   _Y,   _Y,   _x,   _x,   _N,   _x)),
    (ClaimRow.N3,        (_N,  _Y,   _x,   _x,   _x,   _x,   _Y,   _N,   _Y,   _x,   _x,   _x)),
    (ClaimRow.N4,        (_N,  _Y,   _x,   _x,   _x,   _x,   _Y,   _N,   _N,   _x,   _x,   _N)),
    (ClaimRow.N5,        (_N,  _Y,   _x,   _x,   _x,   _x,   _Y,   _N,   _N,   _x,   _x,   _Y)),
    (ClaimRow.B1,        (_Y,  _N,   _x,   _x,   _x,   _x,   _x,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.B2,        (_Y,  _Y,   _x,   _x,   _x,   _x,   _N,   _x,   _x,   _x,   _x,   _x)),
    (ClaimRow.B3,        (_Y,  _Y,   _x,   _x,   _x,   _x,   _Y,   _Y,   _x,   _x,   _x,   _x)),
    (ClaimRow.B4,        (_Y,  _Y,   _x,   _x,   _x,   _x,   _Y,   _N,   _x,   _Y,   _x,   _x)),
    (ClaimRow.B5,        (_Y,  _Y,   _x,   _x,   _x,   _x,   _Y,   _N,   _x,   _N,   _x,   _x)),
))

VOLUME_TABLE: Final = DecisionTable[VolumeRow](dict.fromkeys(VolumeFacts._fields, _BOOL), (
    #                      claimed has   claim claim claim modes prov. by
    #                              uid   found unbnd names diff  for   ctrl
    (VolumeRow.V1,        (_N,    _x,   _x,   _x,   _x,   _x,   _x,   _x)),
    (VolumeRow.V2,        (_Y,    _N,   _x,   _x,   _x,   _x,   _x,   _x)),
    (VolumeRow.V3,        (_Y,    _Y,   _N,   _x,   _x,   _x,   _x,   _x)),
    (VolumeRow.V4,        (_Y,    _Y,   _Y,   _Y,   _x,   _N,   _x,   _x)),
    (VolumeRow.V4_MISFIT, (_Y,    _Y,   _Y,   _Y,   _x,   _Y,   _x,   _x)),
    (VolumeRow.V5,        (_Y,    _Y,   _Y,   _N,   _Y,   _x,   _x,   _x)),
    (VolumeRow.V6,        (_Y,    _Y,   _Y,   _N,   _N,   _x,   _Y,   _x)),
    (VolumeRow.V7_DROP,   (_Y,    _Y,   _Y,   _N,   _N,   _x,   _N,   _Y)),
    (VolumeRow.V7_CLEAR,  (_Y,    _Y,   _Y,   _N,   _N,   _x,   _N,   _N)),
))

RECLAIM_TABLE: Final = DecisionTable[ReclaimRow](dict.fromkeys(ReclaimFacts._fields, _BOOL), (
    #                        migrated retain delete recycle external
    (ReclaimRow.MIGRATED,   (_Y,     _x,    _x,    _x,     _x)),
    (ReclaimRow.RETAIN,     (_N,     _Y,    _x,    _x,     _x)),
    (ReclaimRow.EXTERNAL,   (_N,     _N,    _Y,    _x,     _Y)),
    (ReclaimRow.IN_TREE,    (_N,     _N,    _Y,    _x,     _N)),
    (ReclaimRow.RECYCLE,    (_N,     _N,    _N,    _Y,     _x)),
    (ReclaimRow.UNKNOWN,    (_N,     _N,    _N,    _N,     _x)),
))
# fmt: on


def classify_claim(facts: ClaimFacts) -> ClaimRow:
    """The row of a claim pass."""
    return CLAIM_TABLE.decide(**facts._asdict())


def classify_volume(facts: VolumeFacts) -> VolumeRow:
    """The row of a volume pass."""
    return VOLUME_TABLE.decide(**facts._asdict())


def classify_reclaim(facts: ReclaimFacts) -> ReclaimRow:
    """What becomes of a released volume."""
    return RECLAIM_TABLE.decide(**facts._asdict())
