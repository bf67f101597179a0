"""Node deployment: one provisioner on every node, each for the volumes of its own node.

    claim with a selected node ──own: provision ── another's: leave it
    Immediate claim without    ──delay──> still nobody's ──GetCapacity: room──> write the own node as selected-node; its event does the rest

All instances see an Immediate claim at once. Each waits for a while of its own before it reaches out, longer after every race it lost to a
conflict, and asks its driver for room as late as possible. Where the question itself fails the race goes on: the attempt then fails as well
and tells the user. Upstream draws the wait by chance; here it is a hash of claim, node and attempt.
Source: spec/volumes.md 3.2; external-provisioner pkg/controller/controller.go (checkNode, becomeOwner, checkCapacity), ratelimiter.go.
"""

from __future__ import annotations

import enum
from typing import Final

from lightkube.models.core_v1 import Node, PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import StorageClass

from volsched.api.csi import GetCapacityRequest, GetCapacityResponse, Topology
from volsched.api.edit import annotations_of, labels_of, uid_of, with_annotations
from volsched.api.kinds import key_of
from volsched.cache.view import View
from volsched.controllers.provisioner_options import ProvisionerOptions
from volsched.controllers.provisioner_request import Preparation
from volsched.controllers.provisioner_tables import Refusal
from volsched.controllers.provisioner_topology import ClaimMemory, fnv1
from volsched.errors import ApiError, ConflictError, CsiError, ReconcileError
from volsched.ports import Call, Pause, Steps, Update
from volsched.rules.topology import pv_reachable
from volsched.rules.volumes import ANN_SELECTED_NODE

_HASHES: Final = 2**32


class Turn(enum.Enum):
    """Whose claim it is."""

    OURS = "selected for this node: provision it"
    OTHERS = "not for this node, or not yet: an event will tell"
    LATER = "no room on this node now: look again"


class NodeDeployment:
    """The share of one node in the claims and volumes of its driver. For a provisioner that serves all nodes everything is its own."""

    def __init__(self, view: View, preparation: Preparation, options: ProvisionerOptions) -> None:
        self._view = view
        self._preparation = preparation
        self._options = options
        self._attempts: dict[str, int] = {}  # races for a claim, by its UID

    def turn(self, driver: str, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Steps[Turn]:
        """Whether a claim is to be provisioned here; may make it so. Raises ReconcileError."""
        node = self._options.node
        selected = annotations_of(claim).get(ANN_SELECTED_NODE, "")
        if not node or selected == node:
            return Turn.OURS
        if selected or not self._options.node_deployment_immediate_binding or not self._is_allowed(claim, storage_class):
            return Turn.OTHERS
        return (yield from self._race(driver, claim, storage_class))

    def keeps(self, pv: PersistentVolume) -> bool:
        """Whether a volume is deleted here: only what can be reached from this node was made here."""
        if not self._options.node:
            return True
        node: Node | None = self._view.get("Node", "", self._options.node)
        return node is not None and pv_reachable(pv, labels_of(node))

    def forget(self, uid: str) -> None:
        """A claim has gone."""
        self._attempts.pop(uid, None)

    def _is_allowed(self, claim: PersistentVolumeClaim, storage_class: StorageClass) -> bool:
        """Whether allowedTopologies have a place for this node."""
        if not storage_class.allowedTopologies:
            return True
        try:
            self._preparation.requirements(claim, storage_class, self._options.node, ClaimMemory())
        except Refusal:
            return False
        return True

    def _race(self, driver: str, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Steps[Turn]:
        uid, node = uid_of(claim), self._options.node
        while True:
            yield Pause(self._delay_s(uid))
            current: PersistentVolumeClaim | None = self._view.get(*key_of(claim))
            if current is None or uid_of(current) != uid or annotations_of(current).get(ANN_SELECTED_NODE):
                self.forget(uid)  # somebody was faster; if it comes back, the delays start anew
                return Turn.OTHERS
            if not (yield from self._has_room(driver, current, storage_class)):
                return Turn.LATER
            try:
                self._view.put((yield Update(with_annotations(current, {ANN_SELECTED_NODE: node}))))
            except ConflictError:
                continue
            except ApiError as problem:
                raise ReconcileError(f'selecting node "{node}" for PVC failed: {problem}') from None
            self.forget(uid)
            return Turn.OTHERS

    def _delay_s(self, uid: str) -> float:
        """The next wait: the base delay, doubling, less a part of the base delay."""
        attempt = self._attempts.get(uid, 0)
        self._attempts[uid] = attempt + 1
        base_s, max_s = self._options.node_deployment_base_delay_s, self._options.node_deployment_max_delay_s
        part = fnv1(f"{uid}/{self._options.node}/{attempt}") / _HASHES
        return max(0.0, min(base_s * 2.0 ** min(attempt, 62), max_s) - base_s * part)

    def _has_room(self, driver: str, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Steps[bool]:
        """Whether the driver has room for the claim here; also when it cannot be asked."""
        try:
            prepared = yield from self._preparation.run(claim, storage_class, selected_node=self._options.node, memory=ClaimMemory())
            request = prepared.request
            wanted_bytes = request.capacity_range.required_bytes if request.capacity_range else 0
            requirements = request.accessibility_requirements
            places: list[Topology | None] = [*requirements.requisite] if requirements is not None else [None]
            for place in places:
                question = GetCapacityRequest(
                    volume_capabilities=request.volume_capabilities, parameters=request.parameters, accessible_topology=place
                )
                answer: GetCapacityResponse = yield Call(driver, "GetCapacity", question, timeout_s=self._options.timeout_s)
                if answer.available_capacity >= wanted_bytes:
                    return True
        except (Refusal, CsiError):
            return True
        return False
