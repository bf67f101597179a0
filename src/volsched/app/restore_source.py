"""The snapshot's side of a restore: what keeps it from being restored at all, and from where it can be read.

    VolumeSnapshot + content + class + claim ──conditions──> every condition of the provisioner that does not hold, not only the first
    content ──readability──> topologies, and how sure that is:
        driver       CSI 1.13: the driver says from where (GetSnapshot, ListSnapshots: accessible_topology). Sure
        volume       no driver says; the volume it was cut from was made there. A guess: drivers may read from everywhere, or only there
        unknown      the volume is gone, or was never seen here

No Kubernetes object records where a snapshot lives. Source: spec/snapshots.md 3.2, 3.5; CSI specification v1.13 (accessible_topology).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import StorageClass

from volsched.api import csi
from volsched.api.edit import annotations_of, finalizers_of, is_deleting
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.api.quantity import parse as parse_quantity
from volsched.api.snapshot import VolumeSnapshot, VolumeSnapshotContent
from volsched.cache.view import View
from volsched.controllers.provisioner_source import TRUE_TEXTS, DataSource, content_source
from volsched.controllers.provisioner_tables import Refusal
from volsched.controllers.snapshot_names import ALLOW_VOLUME_MODE_CHANGE, RESTORE_FINALIZER, is_ready, names_snapshot
from volsched.errors import ApiError, CsiError
from volsched.ports import CsiClient, Read
from volsched.rules.capacity import volume_segments
from volsched.rules.volumes import NO_PROVISIONER, has_storage_request, requested_storage
from volsched.store import Store

CONSTRAINED: Final = "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS"

Segments = Mapping[str, str]


class Problem(NamedTuple):
    """One thing that is in the way. `aspect` groups: snapshot, binding, class, driver, readiness, size, mode, topology, capacity, …"""

    aspect: str
    text: str


class Parts(NamedTuple):
    """Everything a restore is made from, as far as it exists."""

    snapshot_name: str
    snapshot: VolumeSnapshot | None
    content: VolumeSnapshotContent | None
    storage_class: StorageClass | None
    claim: PersistentVolumeClaim


def conditions(parts: Parts) -> list[Problem]:
    """Every condition that does not hold, whatever node is looked at. Empty exactly when the provisioner would go on."""
    name, snapshot, content, storage_class, claim = parts
    if storage_class is None:
        class_name = (claim.spec.storageClassName if claim.spec else None) or ""
        found = [Problem("class", f"StorageClass {class_name} does not exist" if class_name else "the claim has no StorageClass")]
    elif storage_class.provisioner in ("", NO_PROVISIONER):
        found = [Problem("class", f"StorageClass {meta(storage_class).name} provisions nothing")]
    else:
        found = []
    if snapshot is None:
        return [Problem("snapshot", f"VolumeSnapshot {name} does not exist"), *found]
    if is_deleting(snapshot) and RESTORE_FINALIZER not in finalizers_of(snapshot):
        found.insert(0, Problem("snapshot", "it is being deleted"))
    bound = snapshot.status.boundVolumeSnapshotContentName if snapshot.status else None
    if not bound:
        found.append(Problem("binding", "it is not bound to a VolumeSnapshotContent yet"))
    elif content is None:
        found.append(Problem("binding", f"its VolumeSnapshotContent {bound} does not exist"))
    else:
        found += _content_problems(snapshot, content, storage_class)
    if not is_ready(snapshot):
        error = snapshot.status.error.message if snapshot.status and snapshot.status.error else None
        found.append(Problem("readiness", "it is not ready" + (f": {error}" if error else "")))
    found += _claim_problems(snapshot, content, claim)
    return found


def _content_problems(snapshot: VolumeSnapshot, content: VolumeSnapshotContent, storage_class: StorageClass | None) -> list[Problem]:
    found = []
    name = meta(content).name
    if not names_snapshot(content, snapshot):
        found.append(Problem("binding", f"VolumeSnapshotContent {name} is bound to another snapshot"))
    if storage_class is not None and storage_class.provisioner not in ("", NO_PROVISIONER, content.spec.driver):
        theirs = f"class {meta(storage_class).name} provisions with {storage_class.provisioner}"
        found.append(Problem("driver", f"it is a snapshot of driver {content.spec.driver}; {theirs}"))
    if (content.status.snapshotHandle if content.status else None) is None:
        found.append(Problem("readiness", f"VolumeSnapshotContent {name} has no snapshot handle yet"))
    return found


def _claim_problems(snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None, claim: PersistentVolumeClaim) -> list[Problem]:
    found = []
    needed = snapshot.status.restoreSize if snapshot.status else None
    if needed is not None and not has_storage_request(claim):
        found.append(Problem("size", f"the claim asks for no size, the snapshot needs {needed}"))
    elif needed is not None and requested_storage(claim).value() < parse_quantity(needed).value():
        found.append(Problem("size", f"{requested_storage(claim)} is asked for, the snapshot needs {needed}"))
    mode = claim.spec.volumeMode if claim.spec else None
    source_mode = content.spec.sourceVolumeMode if content is not None else None
    if content is not None and source_mode is not None and mode is not None and source_mode != mode:
        consent = annotations_of(content).get(ALLOW_VOLUME_MODE_CHANGE)
        if consent not in TRUE_TEXTS:
            said = "does not have" if consent is None else f"has {consent!r} for"
            text = f"a {source_mode} volume would become a {mode} one, and VolumeSnapshotContent {meta(content).name} {said} the annotation"
            found.append(Problem("mode", f"{text} {ALLOW_VOLUME_MODE_CHANGE}"))
    if claim.spec is not None and claim.spec.selector is not None:
        found.append(Problem("selector", "claim Selector is not supported"))
    return found


def provisioner_says(store: Store, claim: PersistentVolumeClaim, storage_class: StorageClass, source: DataSource) -> str | None:
    """The text with which the provisioner refuses this source now; None when it would go on. Its own code answers."""
    if claim.spec is not None and claim.spec.selector is not None:
        return "claim Selector is not supported"
    # a snapshot is read live; only clones look into the view
    asking = content_source(View(frozenset()), claim, storage_class, source, prevent_mode_conversion=True)
    answer: Any = None
    refused: ApiError | None = None
    try:
        while True:
            intent = asking.throw(refused) if refused is not None else asking.send(answer)
            answer, refused = None, None
            if isinstance(intent, Read):
                try:
                    answer = store.get(intent.kind, intent.namespace, intent.name)
                except ApiError as problem:
                    refused = problem
    except StopIteration:
        return None
    except Refusal as refusal:
        return str(refusal)


# where it can be read


class Readability(NamedTuple):
    """From where a snapshot can be read. segments: topologies, any of which will do; None = from everywhere (or, unknown, nobody knows)."""

    known_by: Literal["driver", "volume", "unknown"]
    segments: tuple[Segments, ...] | None
    source: str  # who says so, in words

    def reaches(self, labels: Mapping[str, str]) -> bool | None:
        """Whether a volume for a node with these labels can be filled from it; None when that is not sure."""
        if self.known_by == "unknown":
            return None
        inside = self.segments is None or any(all(labels.get(key) == value for key, value in one.items()) for one in self.segments)
        return inside or (None if self.known_by == "volume" else False)

    @property
    def text(self) -> str:
        """The topologies in a line."""
        if self.known_by == "unknown":
            return "unknown"
        return "everywhere" if self.segments is None else " or ".join(segments_text(one) for one in self.segments)


def segments_text(segments: Segments) -> str:
    """`zone=a, rack=1`."""
    return ", ".join(f"{key}={value}" for key, value in sorted(segments.items())) or "everywhere"


def readability(content: VolumeSnapshotContent | None, volumes: Sequence[PersistentVolume], client: CsiClient | None) -> Readability:
    """Ask the driver, else look at the volume the snapshot was cut from. `client`: the driver, where it can be asked."""
    if content is None:
        return Readability("unknown", None, "there is no VolumeSnapshotContent")
    handle = (content.status.snapshotHandle if content.status else None) or content.spec.source.snapshotHandle
    if client is not None and handle:
        try:
            said = _ask(client, handle)
        except CsiError:
            said = None  # an unreachable driver, or one that does not know the snapshot, has not said anything
        if said is not None:
            segments = tuple(topology.segments for topology in said.accessible_topology if topology.segments)
            return Readability("driver", segments or None, f"driver {content.spec.driver} says so")
    silent = f"driver {content.spec.driver} " + ("cannot be asked" if client is None else "does not say where it can be read")
    source = content.spec.source.volumeHandle
    for volume in volumes:
        made = volume.spec.csi if volume.spec else None
        if source and made is not None and made.driver == content.spec.driver and made.volumeHandle == source:
            found = volume_segments(volume)
            why = f"its source volume {meta(volume).name} is there, and {silent}"
            return Readability("volume", None if found is None else tuple(found), why)
    return Readability("unknown", None, f"{silent}, and its source volume is not known here")


def _ask(client: CsiClient, handle: str) -> csi.Snapshot | None:
    """The snapshot as a driver that knows of snapshot topology reports it; None from one that does not. Raises CsiError."""
    answer: Any = client.call("GetPluginCapabilities", csi.GetPluginCapabilitiesRequest())
    if not any(item.service is not None and item.service.type == CONSTRAINED for item in answer.capabilities):
        return None
    able: Any = client.call("ControllerGetCapabilities", csi.ControllerGetCapabilitiesRequest())
    can = {item.rpc.type for item in able.capabilities if item.rpc is not None}
    found: Any
    if "GET_SNAPSHOT" in can:
        found = client.call("GetSnapshot", csi.GetSnapshotRequest(snapshot_id=handle))
        snapshot: csi.Snapshot | None = found.snapshot
        return snapshot
    if "LIST_SNAPSHOTS" in can:
        found = client.call("ListSnapshots", csi.ListSnapshotsRequest(snapshot_id=handle))
        return next((entry.snapshot for entry in found.entries), None)
    return None


def size_of(snapshot: VolumeSnapshot | None, content: VolumeSnapshotContent | None) -> Quantity | None:
    """The smallest volume a snapshot can become; None when nobody has said."""
    if snapshot is not None and snapshot.status is not None and snapshot.status.restoreSize is not None:
        return parse_quantity(snapshot.status.restoreSize)
    if content is not None and content.status is not None and content.status.restoreSize:
        return Quantity.of_bytes(content.status.restoreSize)
    return None
