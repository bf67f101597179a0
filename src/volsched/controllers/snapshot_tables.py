"""The common snapshot controller as decision tables: which row of the specification applies, and what that row does.

Every pass over a VolumeSnapshot goes ENTRY → SYNC → one of READY, PREBOUND, DYNAMIC, DELETION; a pass over a VolumeSnapshotContent goes
through CONTENT. The functions here only look; `snapshot_common` and `snapshot_deletion` carry the rows out.

    K  entry       class present, missing, to be defaulted         U  un-ready, names a content that exists
    S  sync        deleted, invalid, finalizers, which machine     D  un-ready, to be cut from a claim
    R  ready       content gone or no longer ours                  X  deletion, as a plan of steps
    C  content     finalizer, news for the snapshot, deletion mark

Row K5 (a resourceVersion older than the stored one ends the pass) has no cell here: the view refuses older objects. Row S1 (free the source
claim) runs before SYNC is asked and never ends the pass. Source: spec/snapshots.md 2.1-2.4; external-snapshotter pkg/common-controller.
"""

from __future__ import annotations

import enum
from typing import Final

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of
from volsched.api.snapshot import VolumeSnapshot, VolumeSnapshotContent
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.controllers.snapshot_names import (
    BEING_DELETED,
    BOUND_FINALIZER,
    CONTENT_FINALIZER,
    DELETE,
    IN_GROUP_FINALIZER,
    SOURCE_FINALIZER,
    bound_content_name,
    group_owner,
    is_ready,
    names_key,
    names_snapshot,
    needs_finalizers,
    source_claim,
)

_BOOL: Final = (False, True)


class ClassState(enum.Enum):
    """spec.volumeSnapshotClassName against the classes that exist."""

    UNSET = "unset"
    FOUND = "found"
    MISSING = "missing"


class SourceKind(enum.Enum):
    """spec.source of a snapshot."""

    CLAIM = "claim"
    CONTENT = "content"
    INVALID = "not exactly one"


# K


class EntryRow(enum.Enum):
    K1 = "drop it; look at the content it was bound to"
    K2 = "report the missing class and fail"
    K2_DELETING = "report the missing class and go on"
    K3 = "go on without a class"
    K4 = "set the default class, then go on"
    K6 = "go on"


_GONE, _HERE = False, True
_NO_CONTENT: Final = frozenset({SourceKind.CLAIM, SourceKind.INVALID})
_ONE: Final = frozenset({SourceKind.CLAIM, SourceKind.CONTENT})
# fmt: off
ENTRY: Final = DecisionTable[EntryRow](
    {"known": _BOOL, "deleting": _BOOL, "snapshot_class": tuple(ClassState), "source": tuple(SourceKind), "member": _BOOL},
    (
        #                        known  deleting snapshot_class       source              member
        (EntryRow.K1,           (_GONE, ANY,     ANY,                 ANY,                ANY)),
        (EntryRow.K2_DELETING,  (_HERE, True,    ClassState.MISSING,  ANY,                ANY)),
        (EntryRow.K2,           (_HERE, False,   ClassState.MISSING,  ANY,                ANY)),
        (EntryRow.K6,           (_HERE, ANY,     ClassState.FOUND,    ANY,                ANY)),
        # RULE: a snapshot that is being deleted always reaches its deletion, whatever became of class and claim.
        (EntryRow.K6,           (_HERE, True,    ClassState.UNSET,    ANY,                ANY)),
        (EntryRow.K3,           (_HERE, False,   ClassState.UNSET,    SourceKind.CONTENT, ANY)),
        (EntryRow.K3,           (_HERE, False,   ClassState.UNSET,    _NO_CONTENT,        True)),
        (EntryRow.K4,           (_HERE, False,   ClassState.UNSET,    _NO_CONTENT,        False)),
    ),
)
# fmt: on


# S


class SyncRow(enum.Enum):
    S2 = "deletion plan"
    S3 = "refuse: not exactly one source"
    S4 = "add finalizers, then ask again"
    S5 = "ready checks"
    S6 = "names an existing content"
    S7 = "member of a group: copy the content's status"
    S8 = "cut from a claim"


# fmt: off
SYNC: Final = DecisionTable[SyncRow](
    {"deleting": _BOOL, "source": tuple(SourceKind), "finalizers_missing": _BOOL, "ready_and_bound": _BOOL, "member": _BOOL},
    (
        #               deleting source              finalizers_missing ready_and_bound member
        (SyncRow.S2,   (True,    ANY,                ANY,               ANY,            ANY)),
        (SyncRow.S3,   (False,   SourceKind.INVALID, ANY,               ANY,            ANY)),
        (SyncRow.S4,   (False,   _ONE,               True,              ANY,            ANY)),
        (SyncRow.S5,   (False,   _ONE,               False,             True,           ANY)),
        (SyncRow.S6,   (False,   SourceKind.CONTENT, False,             False,          ANY)),
        (SyncRow.S7,   (False,   SourceKind.CLAIM,   False,             False,          True)),
        (SyncRow.S8,   (False,   SourceKind.CLAIM,   False,             False,          False)),
    ),
)
# fmt: on


# R, U, D: by what the content looks like from the snapshot


class ContentView(enum.Enum):
    """A content as one snapshot sees it. Of several defects the first named here counts."""

    MISSING = "not in the store"
    WRONG_KIND = "dynamic where pre-provisioned is expected, or the other way round"
    OTHER = "its reference is to another snapshot"
    HANDLE_SET = "dynamic, yet with a snapshot handle in its source"
    UNBOUND = "pre-provisioned, its reference has no uid yet"
    OURS = "its reference is to this snapshot"


class ReadyRow(enum.Enum):
    R0 = "nothing to do"
    R1 = "report the missing content"
    R2 = "report the broken reference"
    R3 = "own the snapshot to its group"


# fmt: off
READY: Final = DecisionTable[ReadyRow](
    {"content": (ContentView.MISSING, ContentView.OTHER, ContentView.OURS), "group_without_owner": _BOOL},
    (
        #               content               group_without_owner
        (ReadyRow.R1,  (ContentView.MISSING,  ANY)),
        (ReadyRow.R2,  (ContentView.OTHER,    ANY)),
        (ReadyRow.R3,  (ContentView.OURS,     True)),
        (ReadyRow.R0,  (ContentView.OURS,     False)),
    ),
)
# fmt: on


class PreboundRow(enum.Enum):
    U1 = "report the missing content"
    U2 = "report a content of the wrong kind"
    U3 = "report a content of another snapshot"
    U4 = "write uid and class into the content, then copy its status"
    U5 = "copy the content's status"


# fmt: off
PREBOUND: Final = DecisionTable[PreboundRow](
    {
        "content": (ContentView.MISSING, ContentView.WRONG_KIND, ContentView.OTHER, ContentView.UNBOUND, ContentView.OURS),
        "content_class_set": _BOOL,
    },
    (
        #                  content                  content_class_set
        (PreboundRow.U1,  (ContentView.MISSING,     ANY)),
        (PreboundRow.U2,  (ContentView.WRONG_KIND,  ANY)),
        (PreboundRow.U3,  (ContentView.OTHER,       ANY)),
        (PreboundRow.U4,  (ContentView.UNBOUND,     ANY)),
        (PreboundRow.U4,  (ContentView.OURS,        False)),
        (PreboundRow.U5,  (ContentView.OURS,        True)),
    ),
)
# fmt: on


class DynamicRow(enum.Enum):
    D1 = "report a content of the wrong kind"
    D2 = "report a content of another snapshot"
    D3 = "report a content with a snapshot handle"
    D4 = "copy the content's status: that is the binding"
    D5 = "report the missing claim name"
    D6 = "create the content"


# fmt: off
DYNAMIC: Final = DecisionTable[DynamicRow](
    {
        "content": (ContentView.MISSING, ContentView.WRONG_KIND, ContentView.OTHER, ContentView.HANDLE_SET, ContentView.OURS),
        "claim_named": _BOOL,
    },
    (
        #                 content                  claim_named
        (DynamicRow.D1,  (ContentView.WRONG_KIND,  ANY)),
        (DynamicRow.D2,  (ContentView.OTHER,       ANY)),
        (DynamicRow.D3,  (ContentView.HANDLE_SET,  ANY)),
        (DynamicRow.D4,  (ContentView.OURS,        ANY)),
        (DynamicRow.D5,  (ContentView.MISSING,     False)),
        (DynamicRow.D6,  (ContentView.MISSING,     True)),
    ),
)
# fmt: on


# X


class Counted(enum.Enum):
    """The content of a snapshot that is being deleted; it counts only if its reference is to this snapshot."""

    NONE = "none counts"
    RETAIN = "counts, kept"
    DELETE = "counts, goes with the snapshot"


class DeletionStep(enum.Enum):
    X1 = "refuse: being restored from"
    X2 = "refuse: its group still exists"
    X3 = "mark the content being-deleted"
    X4 = "delete the content"
    X5 = "free the source claim"
    X6 = "take off every finalizer of ours"
    X6_KEEP_BOUND = "take off all but the bound finalizer: the content has to go first"


_NOTHING: Final[tuple[DeletionStep, ...]] = ()  # X0
_REFUSE_RESTORING: Final = (DeletionStep.X1,)
_REFUSE_MEMBER: Final = (DeletionStep.X2,)
_RELEASE: Final = (DeletionStep.X5, DeletionStep.X6)
_MARK_RELEASE: Final = (DeletionStep.X3, DeletionStep.X5, DeletionStep.X6)
_DELETE_RELEASE: Final = (DeletionStep.X3, DeletionStep.X4, DeletionStep.X5, DeletionStep.X6_KEEP_BOUND)
# fmt: off
DELETION: Final = DecisionTable[tuple[DeletionStep, ...]](
    {"finalizer_held": _BOOL, "content": tuple(Counted), "restoring": _BOOL, "group_exists": _BOOL},
    (
        #                    finalizer_held content           restoring group_exists
        (_NOTHING,          (False,         ANY,              ANY,      ANY)),
        (_REFUSE_RESTORING, (True,          Counted.RETAIN,   True,     ANY)),
        (_REFUSE_RESTORING, (True,          Counted.DELETE,   True,     ANY)),
        (_REFUSE_MEMBER,    (True,          ANY,              ANY,      True)),
        (_RELEASE,          (True,          Counted.NONE,     ANY,      False)),
        (_MARK_RELEASE,     (True,          Counted.RETAIN,   False,    False)),
        (_DELETE_RELEASE,   (True,          Counted.DELETE,   False,    False)),
    ),
)
# fmt: on


# C


class SeenSnapshot(enum.Enum):
    """The snapshot a content's reference names, as the content sees it."""

    MISSING = "not there, or there with another uid"  # C4
    PRESENT = "there"
    LEAVING = "being deleted, and held by a finalizer of ours"


class ContentRow(enum.Enum):
    C1 = "report the invalid source"
    C2 = "not bound: nothing"
    C3 = "add the finalizer"
    C5 = "have the snapshot looked at"
    C5_C7 = "have the snapshot looked at, mark being-deleted"
    C6 = "nothing; a content is never deleted for want of its snapshot"
    C7 = "mark being-deleted"
    C8 = "drop it; look at the snapshot it was for"


# fmt: off
CONTENT: Final = DecisionTable[ContentRow](
    {"known": _BOOL, "source_valid": _BOOL, "bound": _BOOL, "finalizer_missing": _BOOL, "snapshot": tuple(SeenSnapshot), "news": _BOOL},
    (
        #                    known  source_valid bound  finalizer_missing snapshot               news
        (ContentRow.C8,     (_GONE, ANY,         ANY,   ANY,              ANY,                   ANY)),
        (ContentRow.C1,     (_HERE, False,       ANY,   ANY,              ANY,                   ANY)),
        (ContentRow.C2,     (_HERE, True,        False, ANY,              ANY,                   ANY)),
        (ContentRow.C3,     (_HERE, True,        True,  True,             ANY,                   ANY)),
        (ContentRow.C5,     (_HERE, True,        True,  False,            SeenSnapshot.PRESENT,  True)),
        (ContentRow.C5_C7,  (_HERE, True,        True,  False,            SeenSnapshot.LEAVING,  True)),
        (ContentRow.C7,     (_HERE, True,        True,  False,            SeenSnapshot.LEAVING,  False)),
        (ContentRow.C6,     (_HERE, True,        True,  False,            SeenSnapshot.MISSING,  ANY)),
        (ContentRow.C6,     (_HERE, True,        True,  False,            SeenSnapshot.PRESENT,  False)),
    ),
)
# fmt: on


# classification


def source_kind(snapshot: VolumeSnapshot) -> SourceKind:
    """Which source a snapshot names."""
    source = snapshot.spec.source
    claim, content = source.persistentVolumeClaimName is not None, source.volumeSnapshotContentName is not None
    if claim == content:
        return SourceKind.INVALID
    return SourceKind.CLAIM if claim else SourceKind.CONTENT


def entry_row(snapshot: VolumeSnapshot | None, *, class_known: bool) -> EntryRow:
    """The K row. `class_known`: whether the class the snapshot names exists."""
    if snapshot is None:
        return ENTRY.decide(known=False, deleting=False, snapshot_class=ClassState.UNSET, source=SourceKind.INVALID, member=False)
    named = snapshot.spec.volumeSnapshotClassName
    state = ClassState.UNSET if named is None else ClassState.FOUND if class_known else ClassState.MISSING
    return ENTRY.decide(
        known=True,
        deleting=is_deleting(snapshot),
        snapshot_class=state,
        source=source_kind(snapshot),
        member=group_owner(snapshot) is not None,
    )


def sync_row(snapshot: VolumeSnapshot, *, finalizers_checked: bool) -> SyncRow:
    """The S row. `finalizers_checked`: S4 is through, whether or not it had anything to add."""
    return SYNC.decide(
        deleting=is_deleting(snapshot),
        source=source_kind(snapshot),
        finalizers_missing=not finalizers_checked and needs_finalizers(snapshot),
        ready_and_bound=is_ready(snapshot) and bool(bound_content_name(snapshot)),
        member=group_owner(snapshot) is not None,
    )


def ready_row(snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> ReadyRow:
    """The R row."""
    if content is None:
        seen = ContentView.MISSING
    else:
        seen = ContentView.OURS if names_snapshot(content, snapshot) else ContentView.OTHER
    grouped = bool(snapshot.status and snapshot.status.volumeGroupSnapshotName)
    return READY.decide(content=seen, group_without_owner=grouped and group_owner(snapshot) is None)


def prebound_row(snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> PreboundRow:
    """The U row."""
    if content is None:
        seen = ContentView.MISSING
    elif content.spec.source.snapshotHandle is None:
        seen = ContentView.WRONG_KIND
    elif not names_key(content, snapshot):
        seen = ContentView.OTHER
    elif not content.spec.volumeSnapshotRef.uid:
        seen = ContentView.UNBOUND
    else:
        seen = ContentView.OURS if names_snapshot(content, snapshot) else ContentView.OTHER
    return PREBOUND.decide(content=seen, content_class_set=content is not None and content.spec.volumeSnapshotClassName is not None)


def dynamic_row(snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> DynamicRow:
    """The D row. An empty uid in the reference is a mismatch: a content made for this snapshot has it from the start."""
    if content is None:
        seen = ContentView.MISSING
    elif content.spec.source.volumeHandle is None:
        seen = ContentView.WRONG_KIND
    elif not names_snapshot(content, snapshot):
        seen = ContentView.OTHER
    else:
        seen = ContentView.HANDLE_SET if content.spec.source.snapshotHandle is not None else ContentView.OURS
    return DYNAMIC.decide(content=seen, claim_named=bool(source_claim(snapshot)))


def counted(snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> Counted:
    """How a content counts in the deletion of a snapshot."""
    if content is None or not names_snapshot(content, snapshot):
        return Counted.NONE
    return Counted.DELETE if content.spec.deletionPolicy == DELETE else Counted.RETAIN


def deletion_plan(
    snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None, *, restoring: bool, group_exists: bool
) -> tuple[DeletionStep, ...]:
    """The X steps, in order. RULE: a leftover in-group finalizer counts as ours, so that it is taken off with the others."""
    held = finalizers_of(snapshot)
    return DELETION.decide(
        finalizer_held=any(name in held for name in (SOURCE_FINALIZER, BOUND_FINALIZER, IN_GROUP_FINALIZER)),
        content=counted(snapshot, content),
        restoring=restoring,
        group_exists=group_exists,
    )


def is_marked(content: VolumeSnapshotContent) -> bool:
    """Whether the deletion of the content's snapshot was accepted."""
    return BEING_DELETED in annotations_of(content)


def has_news(content: VolumeSnapshotContent, snapshot: VolumeSnapshot) -> bool:
    """Whether a content's status tells something the snapshot does not say yet.

    RULE: readiness is compared by value, and a different error is news; upstream compares addresses and so always finds news.
    """
    theirs, ours = content.status, snapshot.status
    if theirs is None:
        return False
    if ours is None or not ours.boundVolumeSnapshotContentName:
        return True
    if theirs.creationTime is not None and ours.creationTime is None:
        return True
    if theirs.readyToUse is not None and theirs.readyToUse != ours.readyToUse:
        return True
    if theirs.restoreSize is not None and (ours.restoreSize is None or (ours.restoreSize == "0" and theirs.restoreSize > 0)):
        return True
    return (theirs.error.message if theirs.error else None) != (ours.error.message if ours.error else None)


def content_row(content: VolumeSnapshotContent | None, snapshot: VolumeSnapshot | None) -> ContentRow:
    """The C row."""
    if content is None:
        seen = SeenSnapshot.MISSING
        return CONTENT.decide(known=False, source_valid=False, bound=False, finalizer_missing=False, snapshot=seen, news=False)
    source, uid = content.spec.source, content.spec.volumeSnapshotRef.uid
    seen = SeenSnapshot.MISSING
    if snapshot is not None and uid_of(snapshot) == uid:
        held = finalizers_of(snapshot)
        leaving = is_deleting(snapshot) and (SOURCE_FINALIZER in held or BOUND_FINALIZER in held)
        seen = SeenSnapshot.LEAVING if leaving else SeenSnapshot.PRESENT
    return CONTENT.decide(
        known=True,
        source_valid=(source.volumeHandle is None) != (source.snapshotHandle is None),
        bound=bool(uid),
        finalizer_missing=not is_deleting(content) and CONTENT_FINALIZER not in finalizers_of(content),
        snapshot=seen,
        news=snapshot is not None and has_news(content, snapshot),
    )
