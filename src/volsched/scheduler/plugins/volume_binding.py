"""VolumeBinding: claims that wait for a pod get their volume or their node together with it.

In the engine: which volumes or pools each node offers. Here: Reserve assumes the chosen ones, PreBind writes them and waits until the PV
controller or the provisioner has finished, Unreserve drops the assumptions (`volsched.cache.volume_binder` does the work).

A refused pod wakes for what could bring it a volume: classes, claims, volumes, nodes and their labels, capacity.

Source: pkg/scheduler/framework/plugins/volumebinding/volume_binding.go; spec/scheduling.md 4.6, 4.9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lightkube.models.core_v1 import Pod
from lightkube.models.storage_v1 import CSIDriver, CSIStorageCapacity

from volsched.api.edit import annotations_of
from volsched.api.kinds import meta
from volsched.api.quantity import parse
from volsched.cache.volume_binder import BIND_TIMEOUT_S, PodVolumes, VolumeBinder
from volsched.errors import ApiError, ReconcileError
from volsched.ports import Steps
from volsched.rules.translation import ANN_MIGRATED_PLUGINS
from volsched.scheduler.events import NODE, UPDATE, Action, ClusterEvent
from volsched.scheduler.framework import OK, Code, CycleState, ReservedPlan, Status, Wake
from volsched.scheduler.plugins.node_volume_limits import claim_of_pod_changed

NAME: Final = "VolumeBinding"


@dataclass(slots=True)
class ReservedVolumes:
    """Cycle state from Reserve to PreBind. `interrupted` answers why the wait is to end, or None."""

    volumes: PodVolumes
    interrupted: Callable[[], str | None] = lambda: None


def _class_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    return old is None or new is None or (old.allowedTopologies or []) != (new.allowedTopologies or [])


def _csi_node_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if old is None or new is None:
        return True
    return annotations_of(old).get(ANN_MIGRATED_PLUGINS, "") != annotations_of(new).get(ANN_MIGRATED_PLUGINS, "")


def _checks_capacity(driver: CSIDriver) -> bool:
    return bool(driver.spec.storageCapacity)


def _driver_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    """Only pods with an inline volume of the driver are woken, and only when it stops checking capacity; claims do not count."""
    if old is None or new is None or not (_checks_capacity(old) and not _checks_capacity(new)):
        return False
    return any(volume.csi is not None and volume.csi.driver == meta(new).name for volume in (pod.spec.volumes if pod.spec else None) or ())


def capacity_limit(capacity: CSIStorageCapacity) -> str | None:
    """The largest volume a capacity object vouches for: maximumVolumeSize, else capacity."""
    return capacity.maximumVolumeSize if capacity.maximumVolumeSize is not None else capacity.capacity


def _capacity_changed(pod: Pod, old: Any | None, new: Any | None) -> bool:
    if old is None or new is None:
        return True
    before, after = capacity_limit(old), capacity_limit(new)
    return after is not None and (before is None or parse(after).value() > parse(before).value())


class VolumeBinding:
    """Wake-up hints, Reserve, PreBind. `timeout_s`: bindTimeoutSeconds of the profile.

    decided: the profile runs this plugin's PreFilter; without it Reserve fails. planned: it runs its Filter too; without that nothing was
    worked out for any node, and the pod counts as having all its volumes.
    """

    name = NAME

    def __init__(self, binder: VolumeBinder, *, timeout_s: float = BIND_TIMEOUT_S, decided: bool = True, planned: bool = True) -> None:
        self._binder = binder
        self._timeout_s = timeout_s
        self._decided = decided
        self._planned = planned

    def wakes_on(self) -> Sequence[Wake]:
        return (
            Wake(ClusterEvent("StorageClass", Action.ADD | UPDATE), _class_changed),
            Wake(ClusterEvent("PersistentVolumeClaim", Action.ADD | UPDATE), claim_of_pod_changed),
            Wake(ClusterEvent("PersistentVolume", Action.ADD | UPDATE)),
            Wake(ClusterEvent(NODE, Action.ADD | Action.UPDATE_NODE_LABEL)),
            Wake(ClusterEvent("CSINode", Action.ADD | UPDATE), _csi_node_changed),
            Wake(ClusterEvent("CSIDriver", UPDATE), _driver_changed),
            Wake(ClusterEvent("CSIStorageCapacity", Action.ADD | UPDATE), _capacity_changed),
        )

    def reserve(self, state: CycleState, pod: Pod, node: str) -> Status:
        if not self._decided:
            return Status.fail("not found")
        if not self._planned:
            state.write(ReservedVolumes(PodVolumes(node, all_bound=True)))
            return OK
        try:
            state.write(ReservedVolumes(self._binder.reserve(pod, node, state.read(ReservedPlan).plan)))
        except ApiError as moved_on:
            return Status.fail(str(moved_on))
        return OK

    def unreserve(self, state: CycleState, pod: Pod, node: str) -> None:
        reserved = state.find(ReservedVolumes)
        if reserved is not None:
            self._binder.unreserve(reserved.volumes)

    def pre_bind_pre_flight(self, state: CycleState, pod: Pod, node: str) -> Status:
        reserved = state.find(ReservedVolumes)
        if reserved is None or reserved.volumes.node != node:
            return Status.fail(f'no pod volume found for node "{node}"')
        return Status(Code.SKIP) if reserved.volumes.all_bound else OK

    def pre_bind(self, state: CycleState, pod: Pod, node: str) -> Steps[Status]:
        reserved = state.read(ReservedVolumes)
        try:
            yield from self._binder.bind(pod, reserved.volumes, timeout_s=self._timeout_s, interrupted=reserved.interrupted)
        except ReconcileError as ended:
            return Status.fail(str(ended))
        return OK
