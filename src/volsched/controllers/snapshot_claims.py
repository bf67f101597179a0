"""The finalizer that keeps a source claim while a snapshot of it is being taken.

On before the content is created, off when no snapshot of that claim in its namespace is un-ready any more. Both are a read and an UPDATE,
repeated on conflict. A snapshot that is gone tells so only once: whoever misses that, or dies before it is done, finds the claim again when
it starts anew or resyncs. Source: spec/snapshots.md 2.2 S1, 2.2.2 step 1, 2.3 X5; external-snapshotter ensurePVCFinalizer.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import PersistentVolumeClaim

from volsched.api.edit import finalizers_of, is_deleting, uid_of, with_finalizers
from volsched.api.kinds import meta
from volsched.api.snapshot import VolumeSnapshot
from volsched.cache.view import View
from volsched.controllers.csi_common import amend, read_of
from volsched.controllers.snapshot_names import CLAIM_FINALIZER, SNAPSHOT_GROUP, is_ready, source_claim
from volsched.errors import ApiError, NotFoundError, ReconcileError
from volsched.ports import Intent, Steps, Update


def _update_failed(name: str | None, problem: object) -> ReconcileError:
    return ReconcileError(f"snapshot controller failed to update {name} on API server: {problem}")


def protect_claim(view: View, snapshot: VolumeSnapshot) -> Steps[None]:
    """Put the finalizer on the source claim. A claim that has it already is fine even while it is being deleted. Raises ReconcileError."""
    claim: PersistentVolumeClaim | None = view.get("PersistentVolumeClaim", meta(snapshot).namespace or "", source_claim(snapshot) or "")
    if claim is None:
        raise _update_failed(meta(snapshot).name, "cannot get claim from snapshot")

    def change(current: PersistentVolumeClaim) -> Intent | None:
        if CLAIM_FINALIZER in finalizers_of(current):
            return None
        if is_deleting(current):
            raise _update_failed(meta(current).name, "cannot add finalizer on claim because it is being deleted")
        return Update(with_finalizers(current, add=[CLAIM_FINALIZER]))

    try:
        stored = yield from amend(claim, change)
    except ApiError as problem:
        raise _update_failed(meta(claim).name, problem) from None
    view.put(stored)


def claim_in_use(view: View, namespace: str, name: str, *, besides: str = "") -> bool:
    """Whether a snapshot of a claim still has to become ready. `besides`: uid of one that is on its way out."""
    return any(
        source_claim(snapshot) == name and not is_ready(snapshot) and uid_of(snapshot) != besides
        for snapshot in view.all("VolumeSnapshot", namespace)
    )


def is_restoring(snapshot: VolumeSnapshot, claims: Iterable[PersistentVolumeClaim]) -> bool:
    """Whether one of the claims of its namespace waits for a volume restored from the snapshot.

    A data source without apiGroup is of another group.
    """
    name = meta(snapshot).name
    for claim in claims:
        source = claim.spec.dataSource if claim.spec else None
        if source is None or (source.kind, source.apiGroup, source.name) != ("VolumeSnapshot", SNAPSHOT_GROUP, name):
            continue
        if claim.status is not None and claim.status.phase == "Pending":
            return True
    return False


def free_source_claim(view: View, snapshot: VolumeSnapshot, *, ignore_itself: bool) -> Steps[None]:
    """Take the finalizer off the claim of a snapshot if nothing needs it any more. `ignore_itself`: this snapshot is on its way out.
    Raises ApiError."""
    name = source_claim(snapshot)
    if name:
        yield from free_claim(view, meta(snapshot).namespace or "", name, besides=uid_of(snapshot) if ignore_itself else "")


def free_claim(view: View, namespace: str, name: str, *, besides: str = "") -> Steps[None]:
    """Take the finalizer off a claim if no snapshot of it has to become ready; `besides` as in `claim_in_use`. Raises ApiError."""
    claim: PersistentVolumeClaim | None = view.get("PersistentVolumeClaim", namespace, name)
    if claim is None or CLAIM_FINALIZER not in finalizers_of(claim) or claim_in_use(view, namespace, name, besides=besides):
        return

    def change(current: PersistentVolumeClaim) -> Intent | None:
        if CLAIM_FINALIZER not in finalizers_of(current):
            return None
        return Update(with_finalizers(current, remove=[CLAIM_FINALIZER]))

    try:
        current: PersistentVolumeClaim = yield read_of(claim)
        stored = yield from amend(current, change)
    except NotFoundError:
        return  # the claim went away by itself
    view.put(stored)
