"""VolumeBinding: which volumes a pod would get on each node.

    PreFilter: every claim exists and is usable; sort them into
        bound            -> Filter: the volume must be reachable from the node
        unbound, delayed -> Filter: find volumes (smallest claim first), provision what is left
        anything else    -> nobody will bind it for this pod: refuse

What Filter works out for a node is kept in `plans` and is what Reserve carries out.

Source: pkg/scheduler/framework/plugins/volumebinding/{volume_binding,binder,scorer}.go; spec/scheduling.md 4.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.edit import annotations_of
from volsched.api.quantity import parse as parse_quantity
from volsched.engine.profile import EngineProfile, shape_score
from volsched.engine.reference.framework import SKIP, SUCCESS, NodeInfo, Plugin, Snapshot, Status, failed, unresolvable
from volsched.rules.capacity import pool_name
from volsched.rules.exact_capacity import ExactCapacity
from volsched.rules.numbers import quotient, round_half_away, wrap64
from volsched.rules.selectors import SelectorError, match_labels
from volsched.rules.topology import allowed_topologies_match, pv_reachable
from volsched.rules.translation import TranslationError, translate_for_node
from volsched.rules.volumes import (
    ANN_SELECTED_NODE,
    NO_PROVISIONER,
    WAIT_FOR_FIRST_CONSUMER,
    capacity_of,
    claim_names,
    class_of,
    find_matching_volume,
    has_storage_request,
    is_fully_bound,
    is_owned_by_pod,
    not_owner_text,
    requested_storage,
)

_NODE_AFFINITY: Final = "node(s) didn't match PersistentVolume's node affinity"
_NO_VOLUME: Final = "node(s) didn't find available persistent volumes to bind"
_NO_ROOM: Final = "node(s) did not have enough free storage"
_UNDECIDED: Final = "node(s) had too many storage pools to tell whether the pod's claims fit"
_VOLUME_GONE: Final = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


class Provision(NamedTuple):
    """A claim to be provisioned and the capacity object that vouches for it, if one has to.

    With exact capacity: the room left there before the pod, and every object in which the claim holds room from now on."""

    claim: PersistentVolumeClaim
    capacity: CSIStorageCapacity | None
    room: int = 0
    holds: tuple[str, ...] = ()


class Plan(NamedTuple):
    """What a pod's unbound claims get on one node."""

    bind: list[tuple[PersistentVolumeClaim, PersistentVolume]]
    provision: list[Provision]


class _Room(enum.Enum):
    """Whether there is room for what has to be provisioned."""

    ENOUGH = enum.auto()
    LACKING = enum.auto()
    UNDECIDED = enum.auto()  # exact capacity: the search for a way to place the claims was given up


class _Failure(Exception):
    """Filter cannot tell: the cycle fails with this text."""


def claim_key(claim: PersistentVolumeClaim) -> str:
    metadata = claim.metadata
    return f"{(metadata.namespace if metadata else None) or 'default'}/{metadata.name if metadata else ''}"


class VolumeBinding(Plugin):
    name: ClassVar[str] = "VolumeBinding"

    def __init__(self, snapshot: Snapshot, pod: Pod, profile: EngineProfile) -> None:
        super().__init__(snapshot, pod, profile)
        self._bound: list[PersistentVolumeClaim] = []
        self._delayed: list[PersistentVolumeClaim] = []
        self._volumes_of_class: dict[str, list[PersistentVolume]] = {}
        self.plans: dict[str, Plan] = {}

    # PreFilter

    def pre_filter(self) -> tuple[Status, frozenset[str] | None]:
        named = claim_names(self.pod)
        for _volume, name, ephemeral in named:
            status = self._check_claim(name, ephemeral=ephemeral)
            if not status.is_success:
                return status, None
        if not named:
            return SKIP, None
        immediate = False
        for _volume, name, _ephemeral in named:
            # twice in the list when two volumes name it, and then it may take two persistent volumes
            claim = self.cluster.claims.get((self.namespace, name))
            if claim is None:
                return failed(f'error getting PVC "{self.namespace}/{name}": could not find it'), None
            if is_fully_bound(claim):
                self._bound.append(claim)
                continue
            storage_class = self.cluster.classes.get(class_of(claim))
            if storage_class is not None and storage_class.volumeBindingMode is None:
                return failed(f'VolumeBindingMode not set for StorageClass "{class_of(claim)}"'), None
            delayed = storage_class is not None and storage_class.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER
            if delayed and not (claim.spec and claim.spec.volumeName):
                self._delayed.append(claim)
            else:
                immediate = True
        if immediate:
            return unresolvable("pod has unbound immediate PersistentVolumeClaims"), None
        wanted = {class_of(claim) for claim in self._delayed}
        self._volumes_of_class = {name: [pv for pv in self.cluster.volumes.all() if class_of(pv) == name] for name in wanted}
        return SUCCESS, None

    def _check_claim(self, name: str, *, ephemeral: bool) -> Status:
        claim = self.cluster.claim(self.namespace, name)
        if claim is None:
            if ephemeral:
                return unresolvable(f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"')
            return unresolvable(f'persistentvolumeclaim "{name}" not found')
        if claim.status is not None and claim.status.phase == "Lost":
            volume_name = (claim.spec.volumeName if claim.spec else None) or ""
            return unresolvable(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume_name}"')
        if claim.metadata is not None and claim.metadata.deletionTimestamp is not None:
            return unresolvable(f'persistentvolumeclaim "{name}" is being deleted')
        if ephemeral and not is_owned_by_pod(claim, self.pod):
            return unresolvable(not_owner_text(claim, self.pod))
        return SUCCESS

    # Filter

    def filter(self, node: NodeInfo) -> Status:
        try:
            reachable, found = self._check_bound(node)
            available, room, plan = self._plan(node)
        except (_Failure, SelectorError) as problem:
            return failed(str(problem))
        verdicts = (
            (reachable, _NODE_AFFINITY),
            (available, _NO_VOLUME),
            (room is not _Room.LACKING, _NO_ROOM),
            (room is not _Room.UNDECIDED, _UNDECIDED),
            (found, _VOLUME_GONE),
        )
        reasons = [reason for fine, reason in verdicts if not fine]
        if reasons:
            return unresolvable(*reasons)
        self.plans[node.name] = plan
        return SUCCESS

    def _check_bound(self, node: NodeInfo) -> tuple[bool, bool]:
        """(every bound volume is reachable, every bound volume exists)."""
        for claim in self._bound:
            assert claim.spec is not None
            pv = self.cluster.volumes.get(("", claim.spec.volumeName or ""))
            if pv is None:
                return True, False
            try:
                pv = translate_for_node(pv, self.cluster.csi_nodes.get(node.name))
            except TranslationError as problem:
                raise _Failure(f"could not translate pv: {problem}") from problem
            if not pv_reachable(pv, node.labels):
                return False, True
        return True, True

    def _plan(self, node: NodeInfo) -> tuple[bool, _Room, Plan]:
        """(volumes for every unbound claim, room for those to be provisioned, the plan)."""
        plan = Plan([], [])
        to_provision: list[PersistentVolumeClaim] = []
        to_match: list[PersistentVolumeClaim] = []
        for claim in self._delayed:
            selected = annotations_of(claim).get(ANN_SELECTED_NODE)
            if selected is None:
                to_match.append(claim)
                continue
            if selected != node.name:
                return False, _Room.ENOUGH, plan
            to_provision.append(claim)
        taken: set[str] = set()
        for claim in sorted(to_match, key=requested_storage):
            candidates = self._volumes_of_class[class_of(claim)]
            pv = find_matching_volume(claim, candidates, node_labels=node.labels, excluded=taken, delayed=True)
            if pv is None:
                to_provision.append(claim)
            else:
                assert pv.metadata is not None
                taken.add(pv.metadata.name or "")
                plan.bind.append((claim, pv))
        exact = ExactCapacity(self.cluster, node.labels, self._delayed) if self.profile.exact_capacity else None
        for claim in to_provision:
            available, enough = self._check_provision(claim, node, plan, exact)
            if not (available and enough):
                return available, _Room.ENOUGH if enough else _Room.LACKING, plan
        return (True, _Room.ENOUGH, plan) if exact is None else (True, *self._fit_together(plan, exact))

    def _fit_together(self, plan: Plan, exact: ExactCapacity) -> tuple[_Room, Plan]:
        """Every claim that draws on a pool finds room beside the others."""
        counted = [item.claim for item in plan.provision if item.capacity is not None]
        joint = exact.fit(counted, steps_max=self.profile.capacity_steps_max)
        if joint.placed is None:
            return _Room.LACKING if joint.decided else _Room.UNDECIDED, plan
        for index, item in enumerate(plan.provision):
            if item.capacity is not None:
                placed = joint.placed[claim_key(item.claim)]
                plan.provision[index] = Provision(item.claim, placed.pool, placed.room, placed.holds)
        return _Room.ENOUGH, plan

    def _check_provision(self, claim: PersistentVolumeClaim, node: NodeInfo, plan: Plan, exact: ExactCapacity | None) -> tuple[bool, bool]:
        class_name = class_of(claim)
        if not class_name:
            raise _Failure(f'no class for claim "{claim_key(claim)}"')
        storage_class = self.cluster.classes.get(class_name)
        if storage_class is None:
            raise _Failure(f'failed to find storage class "{class_name}"')
        if storage_class.provisioner in ("", NO_PROVISIONER):
            return False, True
        if not allowed_topologies_match(storage_class.allowedTopologies, node.labels):
            return False, True
        enough, capacity = self._find_capacity(claim, storage_class, class_name, node)
        if enough and capacity is not None and exact is not None:
            enough = exact.fits_alone(claim)
        if enough:
            plan.provision.append(Provision(claim, capacity))
        return True, enough

    def _find_capacity(
        self, claim: PersistentVolumeClaim, storage_class: StorageClass, class_name: str, node: NodeInfo
    ) -> tuple[bool, CSIStorageCapacity | None]:
        """Whether the claim can be provisioned as far as capacity is known, and the object that says so."""
        if not has_storage_request(claim):
            return True, None
        driver = self.cluster.csi_drivers.get(storage_class.provisioner)
        if driver is None or not driver.spec.storageCapacity:
            return True, None
        size_bytes = requested_storage(claim).value()
        for key in sorted(self.cluster.capacities):
            capacity = self.cluster.capacities[key]
            limit = capacity.maximumVolumeSize if capacity.maximumVolumeSize is not None else capacity.capacity
            if capacity.storageClassName != class_name or limit is None or parse_quantity(limit).value() < size_bytes:
                continue
            try:
                accessible = match_labels(capacity.nodeTopology, node.labels)
            except SelectorError:
                continue
            if accessible:
                return True, capacity
        return False, None

    # Score

    def score(self, node: NodeInfo) -> int:
        plan = self.plans.get(node.name)
        if plan is None:
            return 0
        dynamic_use = _exact_use if self.profile.exact_capacity else _dynamic_use
        used = _static_use(plan.bind) if plan.bind else dynamic_use(plan.provision)
        if not used:
            return 0
        shape = self.profile.volume_shape
        total = sum(shape_score(shape, _percent_used(requested, capacity)) for requested, capacity in used.values())
        return round_half_away(float(total) / float(len(used)))


def _percent_used(requested: int, capacity: int) -> int:
    if capacity == 0 or requested > capacity:
        return 100
    return quotient(wrap64(requested * 100), capacity)


def _static_use(bindings: Sequence[tuple[PersistentVolumeClaim, PersistentVolume]]) -> dict[str, tuple[int, int]]:
    """(requested, capacity) in bytes by the class field of the volumes."""
    used: dict[str, tuple[int, int]] = {}
    for claim, pv in bindings:
        class_name = (pv.spec.storageClassName if pv.spec else None) or ""
        requested, capacity = used.get(class_name, (0, 0))
        used[class_name] = (wrap64(requested + requested_storage(claim).value()), wrap64(capacity + capacity_of(pv).value()))
    return used


def _dynamic_use(provisions: Sequence[Provision]) -> dict[str, tuple[int, int]]:
    """(requested, capacity) in bytes by class; the capacity is that of the last object, not a sum.

    Upstream dies on an object that gives a maximum size alone and on a claim whose class is named by the beta annotation alone; here the
    capacity of the one counts as 0 and the class of the other as what the annotation says.
    """
    used: dict[str, tuple[int, int]] = {}
    for claim, capacity, _, _ in provisions:
        if capacity is None:
            continue
        field = claim.spec.storageClassName if claim.spec else None
        class_name = class_of(claim) if field is None else field
        room = parse_quantity(capacity.capacity).value() if capacity.capacity is not None else 0
        used[class_name] = (wrap64(used.get(class_name, (0, 0))[0] + requested_storage(claim).value()), room)
    return used


def _exact_use(provisions: Sequence[Provision]) -> dict[str, tuple[int, int]]:
    """The same with exact capacity: each claim once, and the room of all the objects the class draws on."""
    used: dict[str, tuple[int, int]] = {}
    claims: set[str] = set()
    pools: set[str] = set()
    for claim, capacity, room, _ in provisions:
        if capacity is None or claim_key(claim) in claims:
            continue
        field = claim.spec.storageClassName if claim.spec else None
        class_name = class_of(claim) if field is None else field
        requested, rooms = used.get(class_name, (0, 0))
        added = 0 if pool_name(capacity) in pools else room
        used[class_name] = (wrap64(requested + requested_storage(claim).value()), wrap64(rooms + added))
        claims.add(claim_key(claim))
        pools.add(pool_name(capacity))
    return used
