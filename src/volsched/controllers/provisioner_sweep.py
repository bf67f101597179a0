"""Finalizers on data sources, taken off when nothing needs them any more.

A snapshot: the sweeper, at start and then every few minutes, frees every VolumeSnapshot that no Pending claim names, of any driver. It
reads snapshots first and claims after, both live: a finalizer it sees was put on for a claim that existed before, so that claim is in
the list unless it is done. A claim the provisioner still works on counts too, although it may have been deleted: the driver may be
restoring right now, and without the finalizer the next attempt would be refused and leave a volume behind.

A source claim: its finalizer goes when the claim is being deleted and no Pending claim of the namespace names it as data source.

Source: spec/volumes.md 2, spec/snapshots.md 3.1 step 7; external-provisioner snapshot_finalizer_controller.go, clone_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import PersistentVolumeClaim

from volsched.api.edit import finalizers_of, is_deleting, with_finalizers
from volsched.api.kinds import meta
from volsched.cache.view import View
from volsched.controllers.csi_common import amend
from volsched.controllers.provisioner_options import CLONE_FINALIZER
from volsched.controllers.provisioner_source import CLAIM, SNAPSHOT
from volsched.controllers.snapshot_names import RESTORE_FINALIZER, SNAPSHOT_GROUP
from volsched.errors import ApiError, NotFoundError, ReconcileError
from volsched.ports import Intent, ListAll, Steps, Update


def sweep_snapshots(in_progress: Iterable[PersistentVolumeClaim]) -> Steps[None]:
    """Free every snapshot whose restores have ended. A write that fails is left to the next sweep."""
    try:
        snapshots = yield ListAll("VolumeSnapshot")
        claims = yield ListAll("PersistentVolumeClaim")
    except NotFoundError:
        return  # a cluster without the snapshot kinds
    wanted = {key for claim in claims if _is_pending(claim) and (key := _snapshot_key(claim)) is not None}
    wanted |= {key for claim in in_progress if (key := _snapshot_key(claim)) is not None}
    for snapshot in snapshots:
        metadata = meta(snapshot)
        if RESTORE_FINALIZER not in finalizers_of(snapshot) or (metadata.namespace, metadata.name) in wanted:
            continue
        try:
            yield Update(with_finalizers(snapshot, remove=[RESTORE_FINALIZER]))
        except ApiError:
            continue


def _is_pending(claim: PersistentVolumeClaim) -> bool:
    return (claim.status.phase if claim.status else None) in (None, "", "Pending")


def _snapshot_key(claim: PersistentVolumeClaim) -> tuple[str | None, str | None] | None:
    """(namespace, name) of the snapshot a claim is to be restored from."""
    if claim.spec is None:
        return None
    namespace = meta(claim).namespace
    local, reference = claim.spec.dataSource, claim.spec.dataSourceRef
    if local is not None and local.kind == SNAPSHOT and local.apiGroup in (None, SNAPSHOT_GROUP):
        return namespace, local.name
    if reference is not None and reference.kind == SNAPSHOT and reference.apiGroup in (None, SNAPSHOT_GROUP):
        return reference.namespace or namespace, reference.name
    return None


def free_clone_source(view: View, key: str) -> Steps[None]:
    """Take the clone finalizer off a claim that is being deleted. Raises ReconcileError while a clone of it is Pending."""
    namespace, _, name = key.partition("/")
    claim: PersistentVolumeClaim | None = view.get("PersistentVolumeClaim", namespace, name)
    if claim is None or not is_deleting(claim) or CLONE_FINALIZER not in finalizers_of(claim):
        return
    for other in view.all("PersistentVolumeClaim", namespace):
        source = other.spec.dataSource if other.spec else None
        pending = other.status is not None and other.status.phase == "Pending"
        if pending and source is not None and source.kind == CLAIM and source.name == name:
            raise ReconcileError(f"PVC '{meta(other).name}' is in 'Pending' state, cloning in progress")

    def change(current: PersistentVolumeClaim) -> Intent | None:
        return Update(with_finalizers(current, remove=[CLONE_FINALIZER])) if CLONE_FINALIZER in finalizers_of(current) else None

    try:
        view.put((yield from amend(claim, change)))
    except NotFoundError:
        return
