"""Attaching volumes to nodes, a driver's half: carries out the VolumeAttachments of one CSI driver.

    attachment ──> finalizer on the volume ──> finalizer and node id on the attachment ──> ControllerPublishVolume ──> status.attached
    being deleted ──> ControllerUnpublishVolume ──> status not attached ──> finalizer off: gone
    volume being deleted, no attachment names it ──> finalizer off

The finalizers are on before the driver is asked, so neither object can vanish while the driver may have attached something. A failure is
kept in status.attachError or status.detachError and tried again with backoff; the event of that write alone starts no pass, or there would
be no backoff. A driver without PUBLISH_UNPUBLISH_VOLUME has nothing to do: its attachments are marked attached without a call.
Source: kubernetes-csi/external-attacher pkg/controller/{csi_handler,controller,util}.go; spec/volumes.md 2, 5.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import CSIPersistentVolumeSource, PersistentVolume, SecretReference
from lightkube.models.storage_v1 import CSINode, VolumeAttachment, VolumeAttachmentStatus, VolumeError

from volsched.api.csi import (
    ControllerGetCapabilitiesRequest,
    ControllerPublishVolumeRequest,
    ControllerUnpublishVolumeRequest,
    ProbeRequest,
)
from volsched.api.edit import annotations_of, finalizers_of, is_deleting, replace, with_annotations, with_finalizers, with_metadata
from volsched.api.kinds import meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.capabilities import (
    PUBLISH_READONLY,
    PUBLISH_UNPUBLISH_VOLUME,
    SINGLE_NODE_MULTI_WRITER,
    attach_mode,
    capability_of,
    rpc_types,
)
from volsched.controllers.csi_common import secret_data, time_of
from volsched.controllers.decision_table import ANY, DecisionTable
from volsched.errors import CsiError, NotFoundError, ReconcileError
from volsched.ports import DONE, Call, Clock, Done, QueueSpec, Read, Requeue, Steps, Update, WorkItem

ANN_NODE_ID: Final = "csi.alpha.kubernetes.io/node-id"
TIMEOUT_S: Final = 15.0
RESYNC_S: Final = 600.0

_SPEC: Final = QueueSpec(workers=10, backoff_s=1.0, backoff_s_max=300.0)
_NOT_NAME: Final = re.compile(r"[^a-zA-Z0-9-]")


def attacher_finalizer(driver: str) -> str:
    """Finalizer of a driver's attacher; a name must not end with a dash."""
    name = _NOT_NAME.sub("-", driver)
    return f"external-attacher/{name}{'X' if name.endswith('-') else ''}"


class AttachRow(enum.Enum):
    """What one pass over an attachment does."""

    IGNORE = "another driver's"
    ATTACH = "not attached: attach"
    STEADY = "attached"
    DETACH = "being deleted: detach, let go"
    RELEASED = "being deleted, let go already"


_Y, _N, _x = True, False, ANY
# fmt: off
ATTACH_TABLE: Final = DecisionTable[AttachRow](dict.fromkeys(("ours", "deleting", "attached", "held"), (False, True)), (
    #                     ours deleting attached held
    (AttachRow.IGNORE,   (_N,  _x,      _x,      _x)),
    (AttachRow.ATTACH,   (_Y,  _N,      _N,      _x)),
    (AttachRow.STEADY,   (_Y,  _N,      _Y,      _x)),
    (AttachRow.DETACH,   (_Y,  _Y,      _x,      _Y)),
    (AttachRow.RELEASED, (_Y,  _Y,      _x,      _N)),
))
# fmt: on


class _Target(NamedTuple):
    """A volume and how its driver knows it."""

    volume: PersistentVolume
    csi: CSIPersistentVolumeSource


class Attacher:
    """external-attacher, the sidecar of one driver."""

    name: str = "csi-attacher"
    component: str = "csi-attacher"
    kinds: frozenset[str] = frozenset({"VolumeAttachment", "PersistentVolume", "CSINode"})
    queues: Mapping[str, QueueSpec] = {"attachments": _SPEC, "volumes": _SPEC}
    resync_s: float | None = RESYNC_S

    def __init__(self, clock: Clock, driver: str) -> None:
        self._clock = clock
        self._driver = driver
        self._finalizer = attacher_finalizer(driver)
        self._view = View(self.kinds)
        self._capabilities: frozenset[str] = frozenset()
        self._actions: Final[Mapping[AttachRow, Callable[[VolumeAttachment], Steps[None]]]] = {
            AttachRow.IGNORE: self._leave,
            AttachRow.ATTACH: self._attach,
            AttachRow.STEADY: self._leave,
            AttachRow.DETACH: self._detach,
            AttachRow.RELEASED: self._leave,
        }

    def start(self) -> Steps[None]:
        answer = yield Call(self._driver, "Probe", ProbeRequest())
        if answer.ready is False:
            raise ReconcileError(f"driver {self._driver} is not ready yet")
        self._capabilities = rpc_types((yield Call(self._driver, "ControllerGetCapabilities", ControllerGetCapabilitiesRequest())))

    def observe(self, event: WatchEvent) -> Iterable[WorkItem]:
        old, taken = self._view.observe(event)
        if not taken:
            return
        obj = event.object
        if event.kind == "PersistentVolume":
            yield WorkItem("volumes", event.key.name)
        elif event.kind == "VolumeAttachment":
            if event.change is Change.DELETED:
                yield WorkItem("volumes", obj.spec.source.persistentVolumeName or "")
            elif old is None or _without_own_writes(old) != _without_own_writes(obj):
                yield WorkItem("attachments", event.key.name)

    def work(self, item: WorkItem) -> Steps[Done | Requeue]:
        if item.queue == "volumes":
            yield from self._release_volume(item.key)
            return DONE
        attachment: VolumeAttachment | None = self._view.get("VolumeAttachment", "", item.key)
        if attachment is not None:
            yield from self._actions[self._row(attachment)](attachment)
        return DONE

    def _row(self, attachment: VolumeAttachment) -> AttachRow:
        return ATTACH_TABLE.decide(
            ours=attachment.spec.attacher == self._driver,
            deleting=is_deleting(attachment),
            attached=attachment.status is not None and attachment.status.attached,
            held=self._finalizer in finalizers_of(attachment),
        )

    def _leave(self, attachment: VolumeAttachment) -> Steps[None]:
        yield from ()

    def _write(self, intent: Update) -> Steps[Any]:
        saved = yield intent
        self._view.put(saved)
        return saved

    # attach

    def _attach(self, attachment: VolumeAttachment) -> Steps[None]:
        if PUBLISH_UNPUBLISH_VOLUME not in self._capabilities:
            yield from self._write(Update(replace(attachment, status=VolumeAttachmentStatus(attached=True)), "status"))
            return
        try:
            target = self._target(attachment)
            if is_deleting(target.volume):
                raise ReconcileError(f'PersistentVolume "{meta(target.volume).name}" is marked for deletion')
            if self._finalizer not in finalizers_of(target.volume):
                yield from self._write(Update(with_finalizers(target.volume, add=[self._finalizer])))
            node_id = self._node_id(attachment)
            held = with_annotations(with_finalizers(attachment, add=[self._finalizer]), {ANN_NODE_ID: node_id})
            if held != attachment:
                attachment = yield from self._write(Update(held))
            answer = yield (yield from self._publish(target, node_id))
        except (CsiError, ReconcileError) as problem:
            yield from self._keep_error(attachment, problem, attaching=True)
            raise
        status = VolumeAttachmentStatus(attached=True, attachmentMetadata=dict(answer.publish_context) or None)
        yield from self._write(Update(replace(attachment, status=status), "status"))

    def _publish(self, target: _Target, node_id: str) -> Steps[Call]:
        assert target.volume.spec is not None
        multi_writer = SINGLE_NODE_MULTI_WRITER in self._capabilities
        mode = attach_mode(target.volume.spec.accessModes or [], multi_writer=multi_writer)
        secrets = yield from self._secrets(target.csi.controllerPublishSecretRef)
        request = ControllerPublishVolumeRequest(
            volume_id=target.csi.volumeHandle,
            node_id=node_id,
            volume_capability=capability_of(target.volume, mode),
            readonly=bool(target.csi.readOnly) and PUBLISH_READONLY in self._capabilities,
            secrets=secrets,
            volume_context=dict(target.csi.volumeAttributes or {}),
        )
        return Call(self._driver, "ControllerPublishVolume", request, timeout_s=TIMEOUT_S)

    def _target(self, attachment: VolumeAttachment) -> _Target:
        name = attachment.spec.source.persistentVolumeName or ""
        volume: PersistentVolume | None = self._view.get("PersistentVolume", "", name)
        if volume is None:
            raise ReconcileError(f'persistentvolume "{name}" not found')
        csi = volume.spec.csi if volume.spec else None
        if csi is None or csi.driver != self._driver:
            raise ReconcileError(f'persistentvolume "{name}" is not a volume of CSI driver {self._driver}')
        return _Target(volume, csi)

    def _node_id(self, attachment: VolumeAttachment) -> str:
        """The node as the driver knows it: from CSINode, else, for a node that is gone, as it was known when it was attached."""
        found: CSINode | None = self._view.get("CSINode", "", attachment.spec.nodeName)
        for entry in found.spec.drivers if found is not None else ():
            if entry.name == self._driver:
                return entry.nodeID
        known = annotations_of(attachment).get(ANN_NODE_ID)
        if known is None:
            raise ReconcileError(f'CSINode "{attachment.spec.nodeName}" does not list driver {self._driver}')
        return known

    def _secrets(self, reference: SecretReference | None) -> Steps[dict[str, str]]:
        if reference is None:
            return {}
        try:
            return secret_data((yield Read("Secret", reference.namespace or "", reference.name or "")))
        except NotFoundError as problem:
            raise ReconcileError(f'failed to load secret "{reference.namespace}/{reference.name}": {problem}') from problem

    def _keep_error(self, attachment: VolumeAttachment, problem: Exception, *, attaching: bool) -> Steps[None]:
        status = attachment.status or VolumeAttachmentStatus(attached=False)
        told = status.attachError if attaching else status.detachError
        if told is not None and told.message == str(problem):
            return  # a retry that fails as before is nothing to write about; upstream moves the time on at every one
        error = VolumeError(message=str(problem), time=time_of(self._clock.now_ns()))
        status = replace(status, attachError=error) if attaching else replace(status, detachError=error)
        yield from self._write(Update(replace(attachment, status=status), "status"))

    # detach

    def _detach(self, attachment: VolumeAttachment) -> Steps[None]:
        try:
            target = self._target(attachment)
            request = ControllerUnpublishVolumeRequest(
                volume_id=target.csi.volumeHandle,
                node_id=self._node_id(attachment),
                secrets=(yield from self._secrets(target.csi.controllerPublishSecretRef)),
            )
            yield Call(self._driver, "ControllerUnpublishVolume", request, timeout_s=TIMEOUT_S)
        except (CsiError, ReconcileError) as problem:
            yield from self._keep_error(attachment, problem, attaching=False)
            raise
        if attachment.status is not None and attachment.status != VolumeAttachmentStatus(attached=False):
            attachment = yield from self._write(Update(replace(attachment, status=VolumeAttachmentStatus(attached=False)), "status"))
        yield from self._write(Update(with_finalizers(attachment, remove=[self._finalizer])))

    # volumes

    def _release_volume(self, name: str) -> Steps[None]:
        volume: PersistentVolume | None = self._view.get("PersistentVolume", "", name)
        if volume is None or not is_deleting(volume) or self._finalizer not in finalizers_of(volume):
            return
        if any(entry.spec.source.persistentVolumeName == name for entry in self._view.all("VolumeAttachment")):
            return
        yield from self._write(Update(with_finalizers(volume, remove=[self._finalizer])))

    def resync(self) -> Iterable[WorkItem]:
        for attachment in self._view.all("VolumeAttachment"):
            yield WorkItem("attachments", meta(attachment).name or "")
        for volume in self._view.all("PersistentVolume"):
            yield WorkItem("volumes", meta(volume).name or "")

    def wake_at_ns(self) -> int | None:
        return None

    def wake(self, now_ns: int) -> Iterable[WorkItem]:
        return ()


def _without_own_writes(attachment: VolumeAttachment) -> VolumeAttachment:
    """An attachment without what this controller itself writes before and when it fails."""
    bare = with_metadata(attachment, resourceVersion=None, managedFields=None, finalizers=None, annotations=None)
    if bare.status is None:
        return bare
    status = replace(bare.status, attachError=None, detachError=None)
    return replace(bare, status=None if status == VolumeAttachmentStatus(attached=False) else status)
