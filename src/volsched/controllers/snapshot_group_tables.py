"""Group snapshots as decision tables: which row of the specification applies, for the common controller and for the sidecar.

A pass over a VolumeGroupSnapshot goes GROUP → one of READY, PREBOUND, DYNAMIC, DELETION; one over a VolumeGroupSnapshotContent goes through
CONTENT, or, at the sidecar, through SIDECAR. Rows are named after those of single snapshots that they repeat (`snapshot_tables`); what a
group has of its own are the members: made by DYNAMIC D4 before the group is told that it is ready, and deleted by the D steps.

    G  group       deleted, invalid, class, which machine        D  deletion, as a plan of steps
    R  ready       content gone or no longer ours                C  content: finalizer, news for the group
    U  un-ready, names a content that exists                     P  content at the sidecar
    D  un-ready, to be cut from the claims a selector finds

Source: spec/snapshots.md 2.7; external-snapshotter groupsnapshot_controller_helper.go, groupsnapshot_helper.go.
"""

from __future__ import annotations

import enum
from typing import Final

from volsched.api.edit import annotations_of, finalizers_of, is_deleting, uid_of
from volsched.api.snapshot import VolumeGroupSnapshot, VolumeGroupSnapshotContent, VolumeGroupSnapshotContentStatus
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.controllers.snapshot_group_names import (
    GROUP_BEING_DELETED,
    GROUP_BOUND_FINALIZER,
    GROUP_CONTENT_FINALIZER,
    bound_group_content,
    is_group_ready,
    may_delete_group,
    names_group,
    names_group_key,
)
from volsched.controllers.snapshot_names import DELETE
from volsched.controllers.snapshot_tables import ClassState, ContentView, Counted, DynamicRow, PreboundRow, ReadyRow

_BOOL: Final = (False, True)
_GONE, _HERE = False, True


class GroupSource(enum.Enum):
    """spec.source of a group."""

    SELECTOR = "selector"
    CONTENT = "content"
    INVALID = "not exactly one"


# G


class GroupRow(enum.Enum):
    GONE = "drop it; look at the content it was bound to"
    DELETION = "deletion plan"
    INVALID = "refuse: not exactly one source"
    CLASS_MISSING = "report the missing class and fail"
    DEFAULT_CLASS = "set the default class, then ask again"
    READY = "ready checks"
    PREBOUND = "names an existing content"
    DYNAMIC = "cut from the claims its selector finds"


_VALID: Final = frozenset({GroupSource.SELECTOR, GroupSource.CONTENT})
_FOUND: Final = frozenset({ClassState.FOUND, ClassState.UNSET})
# fmt: off
GROUP_TABLE: Final = DecisionTable[GroupRow](
    {"known": _BOOL, "deleting": _BOOL, "source": tuple(GroupSource), "group_class": tuple(ClassState), "ready_and_bound": _BOOL},
    (
        #                         known  deleting source                group_class         ready_and_bound
        (GroupRow.GONE,          (_GONE, ANY,     ANY,                  ANY,                ANY)),
        # RULE: a group that is being deleted always reaches its deletion, whatever became of its class.
        (GroupRow.DELETION,      (_HERE, True,    ANY,                  ANY,                ANY)),
        (GroupRow.INVALID,       (_HERE, False,   GroupSource.INVALID,  ANY,                ANY)),
        (GroupRow.CLASS_MISSING, (_HERE, False,   _VALID,               ClassState.MISSING, ANY)),
        (GroupRow.DEFAULT_CLASS, (_HERE, False,   GroupSource.SELECTOR, ClassState.UNSET,   ANY)),
        (GroupRow.READY,         (_HERE, False,   GroupSource.SELECTOR, ClassState.FOUND,   True)),
        (GroupRow.READY,         (_HERE, False,   GroupSource.CONTENT,  _FOUND,             True)),
        (GroupRow.PREBOUND,      (_HERE, False,   GroupSource.CONTENT,  _FOUND,             False)),
        (GroupRow.DYNAMIC,       (_HERE, False,   GroupSource.SELECTOR, ClassState.FOUND,   False)),
    ),
)
# fmt: on


# R, U, D: as for single snapshots, but a group is never brought under an owner

# fmt: off
GROUP_READY: Final = DecisionTable[ReadyRow](
    {"content": (ContentView.MISSING, ContentView.OTHER, ContentView.OURS)},
    (
        (ReadyRow.R1, (ContentView.MISSING,)),
        (ReadyRow.R2, (ContentView.OTHER,)),
        (ReadyRow.R0, (ContentView.OURS,)),
    ),
)

GROUP_DYNAMIC: Final = DecisionTable[DynamicRow](
    {"content": (ContentView.MISSING, ContentView.WRONG_KIND, ContentView.OTHER, ContentView.HANDLE_SET, ContentView.OURS)},
    (
        (DynamicRow.D1, (ContentView.WRONG_KIND,)),
        (DynamicRow.D2, (ContentView.OTHER,)),
        (DynamicRow.D3, (ContentView.HANDLE_SET,)),
        (DynamicRow.D4, (ContentView.OURS,)),
        (DynamicRow.D6, (ContentView.MISSING,)),
    ),
)

GROUP_PREBOUND: Final = DecisionTable[PreboundRow](
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


# D steps


class GroupStep(enum.Enum):
    D1 = "refuse: a member is being restored from"
    D2 = "mark the content being-deleted"
    HALF_MADE = "delete member contents that no snapshot was bound to"
    D3 = "delete the content"
    D4 = "delete the members"
    D5 = "take the bound finalizer off"


_NOTHING: Final[tuple[GroupStep, ...]] = ()
_REFUSE: Final = (GroupStep.D1,)
_RELEASE: Final = (GroupStep.D4, GroupStep.D5)
_KEEP_CONTENT: Final = (GroupStep.D2, GroupStep.D4, GroupStep.D5)
# RULE: a crash inside the making of the members leaves a content without its snapshot, which nobody else would ever delete.
_DELETE_CONTENT: Final = (GroupStep.D2, GroupStep.HALF_MADE, GroupStep.D3, GroupStep.D4)
# fmt: off
GROUP_DELETION: Final = DecisionTable[tuple[GroupStep, ...]](
    {"finalizer_held": _BOOL, "content": tuple(Counted), "restoring": _BOOL},
    (
        #                 finalizer_held content         restoring
        (_NOTHING,        (False,        ANY,            ANY)),
        (_REFUSE,         (True,         ANY,            True)),
        (_RELEASE,        (True,         Counted.NONE,   False)),
        (_KEEP_CONTENT,   (True,         Counted.RETAIN, False)),
        (_DELETE_CONTENT, (True,         Counted.DELETE, False)),
    ),
)
# fmt: on


# C


class GroupContentRow(enum.Enum):
    C1 = "report the invalid source"
    C2 = "not bound: nothing"
    C3 = "add the finalizer"
    C5 = "have the group looked at"
    C6 = "nothing; a content is never deleted for want of its group"
    C8 = "drop it; look at the group it was for"


# fmt: off
GROUP_CONTENT_TABLE: Final = DecisionTable[GroupContentRow](
    {"known": _BOOL, "source_valid": _BOOL, "bound": _BOOL, "finalizer_missing": _BOOL, "group_present": _BOOL, "news": _BOOL},
    (
        #                        known  source_valid bound  finalizer_missing group_present news
        (GroupContentRow.C8,    (_GONE, ANY,         ANY,   ANY,              ANY,          ANY)),
        (GroupContentRow.C1,    (_HERE, False,       ANY,   ANY,              ANY,          ANY)),
        (GroupContentRow.C2,    (_HERE, True,        False, ANY,              ANY,          ANY)),
        (GroupContentRow.C3,    (_HERE, True,        True,  True,             ANY,          ANY)),
        (GroupContentRow.C6,    (_HERE, True,        True,  False,            False,        ANY)),
        (GroupContentRow.C6,    (_HERE, True,        True,  False,            True,         False)),
        (GroupContentRow.C5,    (_HERE, True,        True,  False,            True,         True)),
    ),
)
# fmt: on


# P


class GroupSidecarRow(enum.Enum):
    P1 = "delete the backend group, clear the status, take the finalizer off"
    P2 = "take the finalizer off"
    P3 = "create"
    P4 = "ready: take being-created off"
    P5 = "ask for the status of an existing group"
    P6 = "create again: the readiness poll"
    UNGUARDED = "wait for the content's finalizer"  # RULE, as for single snapshots


# fmt: off
GROUP_SIDECAR: Final = DecisionTable[GroupSidecarRow](
    {
        "may_delete": _BOOL, "policy_delete": _BOOL, "handle": _BOOL, "volume_source": _BOOL, "status_set": _BOOL, "ready": _BOOL,
        "guarded": _BOOL,
    },
    (
        #                             may_delete policy_delete handle volume_source status_set ready  guarded
        (GroupSidecarRow.P1,         (True,      True,         True,  ANY,          ANY,       ANY,   ANY)),
        (GroupSidecarRow.P2,         (True,      ANY,          ANY,   ANY,          ANY,       ANY,   ANY)),
        (GroupSidecarRow.P4,         (False,     ANY,          ANY,   ANY,          ANY,       True,  ANY)),
        (GroupSidecarRow.P5,         (False,     ANY,          ANY,   False,        ANY,       False, ANY)),
        (GroupSidecarRow.UNGUARDED,  (False,     ANY,          ANY,   True,         ANY,       False, False)),
        (GroupSidecarRow.P3,         (False,     ANY,          ANY,   True,         False,     False, True)),
        (GroupSidecarRow.P6,         (False,     ANY,          ANY,   True,         True,      False, True)),
    ),
    impossible=(
        # without a status there is nothing in it
        (ANY, ANY, True, ANY, False, ANY,  ANY),
        (ANY, ANY, ANY,  ANY, False, True, ANY),
    ),
)
# fmt: on


# classification


def group_source(group: VolumeGroupSnapshot) -> GroupSource:
    """Which source a group names."""
    selector, content = group.spec.source.selector is not None, group.spec.source.volumeGroupSnapshotContentName is not None
    if selector == content:
        return GroupSource.INVALID
    return GroupSource.SELECTOR if selector else GroupSource.CONTENT


def group_row(group: VolumeGroupSnapshot | None, *, class_known: bool) -> GroupRow:
    """The G row. `class_known`: whether the class the group names exists."""
    if group is None:
        nothing = ClassState.UNSET
        return GROUP_TABLE.decide(known=False, deleting=False, source=GroupSource.INVALID, group_class=nothing, ready_and_bound=False)
    named = group.spec.volumeGroupSnapshotClassName
    return GROUP_TABLE.decide(
        known=True,
        deleting=is_deleting(group),
        source=group_source(group),
        group_class=ClassState.UNSET if named is None else ClassState.FOUND if class_known else ClassState.MISSING,
        ready_and_bound=is_group_ready(group) and bool(bound_group_content(group)),
    )


def group_ready_row(group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent | None) -> ReadyRow:
    """The R row."""
    if content is None:
        return GROUP_READY.decide(content=ContentView.MISSING)
    return GROUP_READY.decide(content=ContentView.OURS if names_group(content, group) else ContentView.OTHER)


def group_prebound_row(group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent | None) -> PreboundRow:
    """The U row."""
    if content is None:
        seen = ContentView.MISSING
    elif content.spec.source.groupSnapshotHandles is None:
        seen = ContentView.WRONG_KIND
    elif not names_group_key(content, group):
        seen = ContentView.OTHER
    elif not content.spec.volumeGroupSnapshotRef.uid:
        seen = ContentView.UNBOUND
    else:
        seen = ContentView.OURS if names_group(content, group) else ContentView.OTHER
    return GROUP_PREBOUND.decide(
        content=seen, content_class_set=content is not None and content.spec.volumeGroupSnapshotClassName is not None
    )


def group_dynamic_row(group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent | None) -> DynamicRow:
    """The D row. An empty uid in the reference is a mismatch: a content made for this group has it from the start."""
    if content is None:
        seen = ContentView.MISSING
    elif not content.spec.source.volumeHandles:
        seen = ContentView.WRONG_KIND
    elif not names_group(content, group):
        seen = ContentView.OTHER
    else:
        seen = ContentView.OURS if content.spec.source.groupSnapshotHandles is None else ContentView.HANDLE_SET
    return GROUP_DYNAMIC.decide(content=seen)


def group_deletion_plan(
    group: VolumeGroupSnapshot, content: VolumeGroupSnapshotContent | None, *, restoring: bool
) -> tuple[GroupStep, ...]:
    """The D steps, in order. `content`: what the group is bound to, or would be bound to next. `restoring`: from any member."""
    if content is None or not names_group(content, group):
        seen = Counted.NONE
    else:
        seen = Counted.DELETE if content.spec.deletionPolicy == DELETE else Counted.RETAIN
    return GROUP_DELETION.decide(finalizer_held=GROUP_BOUND_FINALIZER in finalizers_of(group), content=seen, restoring=restoring)


def is_group_marked(content: VolumeGroupSnapshotContent) -> bool:
    """Whether the deletion of the content's group was accepted."""
    return GROUP_BEING_DELETED in annotations_of(content)


def has_group_news(content: VolumeGroupSnapshotContent, group: VolumeGroupSnapshot) -> bool:
    """Whether a content's status tells something the group does not say yet; readiness and error compared by value."""
    theirs, ours = content.status, group.status
    if theirs is None:
        return False
    if ours is None or not ours.boundVolumeGroupSnapshotContentName:
        return True
    if theirs.creationTime is not None and ours.creationTime is None:
        return True
    if theirs.readyToUse is not None and theirs.readyToUse != ours.readyToUse:
        return True
    return (theirs.error.message if theirs.error else None) != (ours.error.message if ours.error else None)


def group_content_row(content: VolumeGroupSnapshotContent | None, group: VolumeGroupSnapshot | None) -> GroupContentRow:
    """The C row."""
    if content is None:
        return GROUP_CONTENT_TABLE.decide(
            known=False, source_valid=False, bound=False, finalizer_missing=False, group_present=False, news=False
        )
    source, uid = content.spec.source, content.spec.volumeGroupSnapshotRef.uid
    return GROUP_CONTENT_TABLE.decide(
        known=True,
        source_valid=bool(source.volumeHandles) == (source.groupSnapshotHandles is None),
        bound=bool(uid),
        finalizer_missing=not is_deleting(content) and GROUP_CONTENT_FINALIZER not in finalizers_of(content),
        group_present=group is not None and uid_of(group) == uid,
        news=group is not None and has_group_news(content, group),
    )


def group_sidecar_row(content: VolumeGroupSnapshotContent) -> GroupSidecarRow:
    """The P row of a content of this driver."""
    status = content.status or VolumeGroupSnapshotContentStatus()
    return GROUP_SIDECAR.decide(
        may_delete=may_delete_group(content),
        policy_delete=content.spec.deletionPolicy == DELETE,
        handle=status.volumeGroupSnapshotHandle is not None,
        volume_source=bool(content.spec.source.volumeHandles),
        status_set=content.status is not None,
        ready=is_group_ready(content),
        guarded=GROUP_CONTENT_FINALIZER in finalizers_of(content),
    )
