"""Why, per claim and node: which volumes and pools were considered, and everything each of them failed on.

The engine stops at the first reason, as kube-scheduler does; this looks at all of them, from the same effective objects, on demand. A
candidate without refusals fits by itself; whether it is taken also depends on the pod's other claims, which the decision says.

Source of the tests: spec/scheduling.md 4.2 to 4.4; component-helpers/storage/volume/pv_helpers.go, volumebinding/binder.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.edit import annotations_of, is_deleting, labels_of
from volsched.api.kinds import meta
from volsched.api.quantity import parse
from volsched.cache.scheduler_cache import SchedulerCache
from volsched.rules.selectors import SelectorError, match_labels
from volsched.rules.topology import allowed_topologies_match, pv_reachable
from volsched.rules.volumes import (
    ANN_SELECTED_NODE,
    NO_PROVISIONER,
    WAIT_FOR_FIRST_CONSUMER,
    access_modes_satisfied,
    attributes_class_of,
    bound_to,
    capacity_of,
    claim_names,
    claim_selector,
    class_of,
    has_storage_request,
    is_fully_bound,
    requested_storage,
    volume_mode_of,
)


class Refusal(NamedTuple):
    """One test a candidate failed. `aspect` groups: claim, size, mode, attributes class, deletion, phase, selector, class, topology, …"""

    aspect: str
    text: str


class Candidate(NamedTuple):
    """A volume, a capacity pool or the provisioner itself. No refusals: it would do."""

    kind: str  # "volume", "pool", "provisioner"
    name: str
    refusals: tuple[Refusal, ...]


class ClaimOnNodes(NamedTuple):
    """What a claim met on some nodes, all of which answer the same. `fits`: the claim alone could be served there."""

    nodes: tuple[str, ...]
    fits: bool
    candidates: tuple[Candidate, ...]


class ClaimExplanation(NamedTuple):
    """One claim of the pod. `situation` says what decides it; `groups` is empty when no node was looked at."""

    claim: str
    wants: str
    situation: str
    groups: tuple[ClaimOnNodes, ...]


def explain_claims(cache: SchedulerCache, pod: Pod, nodes: Sequence[str]) -> list[ClaimExplanation]:
    """Every claim of a pod, looked at on these nodes."""
    known = [(name, dict(labels_of(node))) for name in nodes if (node := cache.get("Node", "", name)) is not None]
    namespace = meta(pod).namespace or "default"
    return [_Claims(cache, namespace, name).explain(known) for _, name, _ in claim_names(pod)]


def _where(labels: Mapping[str, str], keys: Iterable[str]) -> str:
    """The node's side of a topology that does not match."""
    return ", ".join(f"{key}={labels[key]}" if key in labels else f"no {key}" for key in dict.fromkeys(keys))


def _affinity_keys(pv: PersistentVolume) -> list[str]:
    affinity = pv.spec.nodeAffinity.required if pv.spec and pv.spec.nodeAffinity else None
    terms = affinity.nodeSelectorTerms if affinity else []
    return [item.key for term in terms or () for item in term.matchExpressions or ()]


class _Claims:
    """One claim against everything it could be served by."""

    def __init__(self, cache: SchedulerCache, namespace: str, name: str) -> None:
        self._cache = cache
        self._key = f"{namespace}/{name}"
        self._claim: PersistentVolumeClaim | None = cache.claims.find(self._key)
        class_name = class_of(self._claim) if self._claim is not None else ""
        self._class: StorageClass | None = cache.get("StorageClass", "", class_name) if class_name else None

    def explain(self, nodes: Sequence[tuple[str, Mapping[str, str]]]) -> ClaimExplanation:
        claim = self._claim
        if claim is None:
            return ClaimExplanation(self._key, "", "the claim does not exist", ())
        wants = self._wants(claim)
        if is_deleting(claim):
            return ClaimExplanation(self._key, wants, "the claim is being deleted", ())
        if is_fully_bound(claim):
            volume = (claim.spec.volumeName if claim.spec else None) or ""
            return ClaimExplanation(self._key, wants, f"bound to volume {volume}", self._grouped(nodes, self._bound))
        if claim.spec and claim.spec.volumeName:
            text = f"names volume {claim.spec.volumeName} and waits for the volume controller to finish binding"
            return ClaimExplanation(self._key, wants, text, ())
        if self._class is None:
            name = class_of(claim)
            text = f"class {name} does not exist" if name else "has no class, so it is bound by the volume controller before its pod is scheduled"
            return ClaimExplanation(self._key, wants, f"unbound; {text}", ())
        if self._class.volumeBindingMode != WAIT_FOR_FIRST_CONSUMER:
            text = f"unbound; class {meta(self._class).name} binds immediately, so a volume has to be there before the pod is scheduled"
            return ClaimExplanation(self._key, wants, text, ())
        chosen = annotations_of(claim).get(ANN_SELECTED_NODE)
        text = "unbound, waits for its first consumer" + (f"; being provisioned for node {chosen}" if chosen else "")
        return ClaimExplanation(self._key, wants, text, self._grouped(nodes, self._unbound))

    @staticmethod
    def _wants(claim: PersistentVolumeClaim) -> str:
        parts = [str(requested_storage(claim)), ",".join((claim.spec.accessModes if claim.spec else None) or ()), volume_mode_of(claim)]
        name = class_of(claim)
        return " ".join(part for part in parts if part) + (f", class {name}" if name else ", no class")

    @staticmethod
    def _grouped(nodes: Sequence[tuple[str, Mapping[str, str]]], look: Any) -> tuple[ClaimOnNodes, ...]:
        """Nodes with the same answer together, in node order of their first."""
        groups: dict[tuple[bool, tuple[Candidate, ...]], list[str]] = {}
        for name, labels in nodes:
            groups.setdefault(look(name, labels), []).append(name)
        return tuple(ClaimOnNodes(tuple(names), fits, candidates) for (fits, candidates), names in groups.items())

    # a bound claim

    def _bound(self, _node: str, labels: Mapping[str, str]) -> tuple[bool, tuple[Candidate, ...]]:
        assert self._claim is not None and self._claim.spec is not None
        name = self._claim.spec.volumeName or ""
        pv = self._cache.volumes.find(name)
        if pv is None:
            return False, (Candidate("volume", name, (Refusal("missing", "the volume does not exist"),)),)
        refusals = () if pv_reachable(pv, labels) else (self._unreachable(pv, labels),)
        return not refusals, (Candidate("volume", name, refusals),)

    @staticmethod
    def _unreachable(pv: PersistentVolume, labels: Mapping[str, str]) -> Refusal:
        keys = _affinity_keys(pv)
        return Refusal("topology", f"not reachable: the node has {_where(labels, keys)}" if keys else "its node affinity admits no node")

    # an unbound claim that waits for its pod

    def _unbound(self, node: str, labels: Mapping[str, str]) -> tuple[bool, tuple[Candidate, ...]]:
        assert self._claim is not None and self._class is not None
        chosen = annotations_of(self._claim).get(ANN_SELECTED_NODE)
        if chosen is not None and chosen != node:
            refusal = Refusal("selected node", f"provisioning was started for node {chosen}")
            return False, (Candidate("provisioner", self._class.provisioner, (refusal,)),)
        candidates: list[Candidate] = []
        if chosen is None:
            candidates = [Candidate("volume", meta(pv).name or "", tuple(self._volume_refusals(pv, labels))) for pv in self._volumes()]
            reserved = [c for c in candidates if not c.refusals or c.refusals[0].aspect != "claim"]
            prebound = [c for c in reserved if self._reserved(c.name)]
            if prebound:
                # a reservation decides alone, for good or bad: no other volume may take its place on this node
                taken = min(prebound, key=lambda c: c.name)
                if not taken.refusals:
                    return True, tuple(candidates)
            elif any(not candidate.refusals for candidate in candidates):
                return True, tuple(candidates)
        provisioned = self._provisioning(labels)
        fits = all(not c.refusals for c in provisioned if c.kind == "provisioner") and (
            not any(c.kind == "pool" for c in provisioned) or any(not c.refusals for c in provisioned if c.kind == "pool")
        )
        return fits, tuple([*candidates, *provisioned])

    def _volumes(self) -> list[PersistentVolume]:
        assert self._claim is not None
        return list(self._cache.volumes.of_class(class_of(self._claim)))

    def _reserved(self, name: str) -> bool:
        assert self._claim is not None
        pv = self._cache.volumes.find(name)
        return pv is not None and bound_to(pv, self._claim)

    def _volume_refusals(self, pv: PersistentVolume, labels: Mapping[str, str]) -> Iterable[Refusal]:
        claim = self._claim
        assert claim is not None and pv.spec is not None
        reserved = bound_to(pv, claim)
        if pv.spec.claimRef is not None and not reserved:
            yield Refusal("claim", f"held by claim {pv.spec.claimRef.namespace}/{pv.spec.claimRef.name}")
        if capacity_of(pv) < requested_storage(claim):
            yield Refusal("size", f"{capacity_of(pv)} is less than {requested_storage(claim)}")
        if volume_mode_of(pv) != volume_mode_of(claim):
            yield Refusal("mode", f"is {volume_mode_of(pv)}, not {volume_mode_of(claim)}")
        if attributes_class_of(pv) != attributes_class_of(claim):
            ours, theirs = attributes_class_of(claim) or "none", attributes_class_of(pv) or "none"
            yield Refusal("attributes class", f"is {theirs}, not {ours}")
        if is_deleting(pv):
            yield Refusal("deletion", "is being deleted")
        if not reserved:
            phase = (pv.status.phase if pv.status else None) or "Pending"
            if phase != "Available" and pv.spec.claimRef is None:
                yield Refusal("phase", f"is {phase}, not Available")
            try:
                selector = claim_selector(claim)
                if selector is not None and not selector.matches(labels_of(pv)):
                    yield Refusal("selector", "its labels do not match the claim's selector")
            except SelectorError as error:
                yield Refusal("selector", f"the claim's selector is invalid: {error}")
            if not access_modes_satisfied(claim, pv):
                yield Refusal("access modes", f"offers {','.join(pv.spec.accessModes or ()) or 'none'}")
        if not pv_reachable(pv, labels):
            yield self._unreachable(pv, labels)

    def _provisioning(self, labels: Mapping[str, str]) -> list[Candidate]:
        """The class's provisioner, and the pools that vouch for it where its driver keeps capacity objects."""
        claim, sc = self._claim, self._class
        assert claim is not None and sc is not None
        if not sc.provisioner or sc.provisioner == NO_PROVISIONER:
            return [Candidate("provisioner", sc.provisioner, (Refusal("provisioner", "this class provisions nothing"),))]
        if not allowed_topologies_match(sc.allowedTopologies, labels):
            keys = [item.key for term in sc.allowedTopologies or () for item in term.matchLabelExpressions or ()]
            wanted = " or ".join(
                " and ".join(f"{item.key} in [{', '.join(item.values or ())}]" for item in term.matchLabelExpressions or ()) or "nothing"
                for term in sc.allowedTopologies or ()
            )
            text = f"class {meta(sc).name} allows {wanted}; the node has {_where(labels, keys) or 'no such label'}"
            return [Candidate("provisioner", sc.provisioner, (Refusal("topology", text),))]
        found = [Candidate("provisioner", sc.provisioner, ())]
        driver = self._cache.get("CSIDriver", "", sc.provisioner)
        if driver is None or not driver.spec.storageCapacity or not has_storage_request(claim):
            return found
        pools = [
            Candidate("pool", f"{meta(pool).namespace}/{meta(pool).name}", tuple(self._pool_refusals(pool, labels)))
            for pool in self._cache.all("CSIStorageCapacity")
            if pool.storageClassName == meta(sc).name
        ]
        if not pools:
            refusal = Refusal("capacity", "its driver keeps capacity objects, and there is none for this class")
            return [Candidate("provisioner", sc.provisioner, (refusal,))]
        return found + pools

    def _pool_refusals(self, pool: CSIStorageCapacity, labels: Mapping[str, str]) -> Iterable[Refusal]:
        assert self._claim is not None
        requested = requested_storage(self._claim)
        limit = pool.maximumVolumeSize if pool.maximumVolumeSize is not None else pool.capacity
        if limit is None:
            yield Refusal("size", "states no capacity")
        elif parse(limit).value() < requested.value():
            what = "its largest volume is" if pool.maximumVolumeSize is not None else "it has"
            yield Refusal("size", f"{what} {limit}, less than {requested}")
        try:
            matches = pool.nodeTopology is not None and match_labels(pool.nodeTopology, labels)
        except SelectorError as error:
            yield Refusal("topology", f"its node topology is invalid: {error}")
            return
        if not matches:
            keys = [*((pool.nodeTopology.matchLabels or {}) if pool.nodeTopology else {})]
            yield Refusal("topology", f"another segment: the node has {_where(labels, keys)}" if keys else "names no nodes")
