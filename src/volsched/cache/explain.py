"""Why, per claim and node: which volumes and pools were considered, and everything each of them failed on.

The engine stops at the first reason, as kube-scheduler does; this looks at all of them, from the same effective objects, on demand:

    per volume    size, mode, class, holder, …     once, they do not depend on a node
    per affinity  the nodes it admits              once for each distinct node affinity, through an index of the nodes' labels
    per node      which affinities, pools and class topologies admit it; nodes with the same answer make one group

So the work is volumes + distinct affinities x the nodes each admits, never volumes x nodes. A candidate without refusals fits by itself;
`together` says what happens when several claims of one pod ask for the same volumes.

Source of the tests: spec/scheduling.md 4.2 to 4.4; component-helpers/storage/volume/pv_helpers.go, volumebinding/binder.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import NodeSelector, PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.models.meta_v1 import LabelSelector
from lightkube.models.storage_v1 import CSIStorageCapacity, StorageClass

from volsched.api.edit import annotations_of, is_deleting, labels_of
from volsched.api.kinds import encode, meta
from volsched.api.quantity import parse
from volsched.cache.explain_capacity import PoolAccounts, capacity_together
from volsched.cache.scheduler_cache import SchedulerCache
from volsched.rules.capacity import pool_name
from volsched.rules.selectors import IN, SelectorError, match_labels
from volsched.rules.topology import allowed_topologies_match, node_selector_matches, pv_reachable
from volsched.rules.translation import TranslationError, translate_for_node
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
    find_matching_volume,
    has_storage_request,
    is_fully_bound,
    requested_storage,
    volume_mode_of,
)

_ACCESS: Final = "access modes"


class Refusal(NamedTuple):
    """One test a candidate failed. `aspect` groups: claim, size, mode, attributes class, deletion, phase, selector, topology, …"""

    aspect: str
    text: str


class Candidate(NamedTuple):
    """A volume, a capacity pool or the provisioner itself; `about` is its size, where it has one. No refusals: it would do."""

    kind: str  # "volume", "pool", "provisioner"
    name: str
    about: str
    refusals: tuple[Refusal, ...]

    @property
    def aspects(self) -> tuple[str, ...]:
        """What it failed on, without the words."""
        return tuple(refusal.aspect for refusal in self.refusals)


@dataclass(frozen=True)
class ClaimOnNodes:
    """What a claim met on some nodes, all of which answer the same.

    fits: the claim alone could be served there. candidates: what these nodes reach, nearest first. volumes_elsewhere, pools_elsewhere:
    how many volumes and pools of the class they do not reach.
    """

    nodes: tuple[str, ...]
    fits: bool
    candidates: tuple[Candidate, ...]
    volumes_elsewhere: int = 0
    pools_elsewhere: int = 0

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal for groups that differ in names and figures only."""
        kinds = Counter((candidate.kind, candidate.aspects) for candidate in self.candidates)
        return self.fits, frozenset(kinds.items()), bool(self.volumes_elsewhere), bool(self.pools_elsewhere)


class ClaimExplanation(NamedTuple):
    """One claim of the pod.

    situation: what decides it. candidates: what was considered without looking at a node, for a claim that is bound before its pod is
    scheduled, and what no node reaches. groups: what it meets on the nodes, empty when none was looked at.
    """

    claim: str
    wants: str
    situation: str
    candidates: tuple[Candidate, ...] = ()
    groups: tuple[ClaimOnNodes, ...] = ()
    bound: bool = False


class _Nodes:
    """The nodes asked about, and which of them have a label."""

    def __init__(self, cache: SchedulerCache, names: Sequence[str]) -> None:
        self.complete = len(names) == cache.node_count
        self.all = [(name, dict(labels_of(node))) for name in names if (node := cache.get("Node", "", name)) is not None]
        self._having: dict[tuple[str, str], list[int]] = {}
        for position, (_, labels) in enumerate(self.all):
            for label in labels.items():
                self._having.setdefault(label, []).append(position)

    def admitted_by(self, selector: NodeSelector | None) -> list[int]:
        """Positions of the nodes a volume's affinity admits, in order."""
        if selector is None:
            return list(range(len(self.all)))
        found: set[int] = set()
        for term in selector.nodeSelectorTerms or ():
            # any one requirement narrows the nodes down; all of them are tested below
            narrow = next((item for item in term.matchExpressions or () if item.operator == IN), None)
            found.update(self._with(narrow.key, narrow.values or ()) if narrow is not None else range(len(self.all)))
        return [position for position in sorted(found) if node_selector_matches(selector, self.all[position][1], fields=None)]

    def in_segment(self, topology: LabelSelector | None) -> list[int]:
        """Positions of the nodes in a pool's segment, in order; no topology and an invalid one have no nodes."""
        if topology is None:
            return []
        narrow = next(iter((topology.matchLabels or {}).items()), None)
        found = self._with(narrow[0], (narrow[1],)) if narrow is not None else range(len(self.all))
        try:
            return [position for position in found if match_labels(topology, self.all[position][1])]
        except SelectorError:
            return []

    def _with(self, key: str, values: Iterable[str]) -> list[int]:
        return [position for value in values for position in self._having.get((key, value), ())]


def explain_claims(cache: SchedulerCache, pod: Pod, nodes: Sequence[str]) -> list[ClaimExplanation]:
    """Every claim of a pod, looked at on these nodes."""
    known = _Nodes(cache, nodes)
    namespace = meta(pod).namespace or "default"
    names = dict.fromkeys(name for _, name, _ in claim_names(pod))
    own = frozenset(f"{namespace}/{name}" for name in names)
    return [_Claim(cache, namespace, name, own).explain(known) for name in names]


def together(cache: SchedulerCache, pod: Pod, node: str) -> str | None:
    """How the volumes of a node are handed out to several unbound claims of one pod, when some claim is left without one; or, where
    capacity is counted exactly, how much they ask for together and what its pools have.

    None when there is nothing to tell: every claim finds a volume, or the node is unknown.
    """
    short = capacity_together(cache, pod, node)
    if short is not None:
        return short
    found = cache.get("Node", "", node)
    namespace = meta(pod).namespace or "default"
    claims = [claim for _, name, _ in claim_names(pod) if (claim := cache.claims.find(f"{namespace}/{name}")) is not None]
    waiting = [claim for claim in claims if not is_fully_bound(claim) and ANN_SELECTED_NODE not in annotations_of(claim)]
    if found is None or len(waiting) < 2:
        return None
    taken: list[str] = []
    steps: list[str] = []
    left: list[str] = []
    for claim in sorted(waiting, key=requested_storage):
        candidates = list(cache.volumes.of_class(class_of(claim)))
        try:
            pv = find_matching_volume(claim, candidates, node_labels=labels_of(found), excluded=taken, delayed=True)
        except SelectorError:
            return None
        if pv is None:
            left.append(meta(claim).name or "")
        else:
            taken.append(meta(pv).name or "")
            steps.append(f"{meta(claim).name} takes volume {meta(pv).name}")
    return f"{', '.join(steps)}; none is left for {', '.join(left)}" if steps and left else None


def _where(labels: Mapping[str, str], keys: Iterable[str]) -> str:
    """The node's side of a topology that does not match."""
    return ", ".join(f"{key}={labels[key]}" if key in labels else f"no {key}" for key in dict.fromkeys(keys))


def _affinity_of(pv: PersistentVolume) -> NodeSelector | None:
    return pv.spec.nodeAffinity.required if pv.spec and pv.spec.nodeAffinity else None


def affinity_text(selector: NodeSelector | None) -> str:
    """Where a volume can be reached from, in one line: `zone in [a]`; alternatives joined by ` | `; empty for everywhere."""
    if selector is None:
        return ""
    return " | ".join(
        ", ".join(
            f"{item.key} {item.operator.lower()} [{','.join(item.values)}]" if item.values else f"{item.key} {item.operator}"
            for item in [*(term.matchExpressions or ()), *(term.matchFields or ())]
        )
        or "no node"
        for term in selector.nodeSelectorTerms or ()
    )


def _nearest(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Fitting ones first, then those that failed least; the order within is kept."""
    return tuple(sorted(candidates, key=lambda candidate: len(candidate.refusals)))


class _Claim:
    """One claim against everything it could be served by."""

    def __init__(self, cache: SchedulerCache, namespace: str, name: str, own: frozenset[str]) -> None:
        self._cache = cache
        self._own = own
        self._key = f"{namespace}/{name}"
        self._found: PersistentVolumeClaim | None = cache.claims.find(self._key)
        class_name = class_of(self._found) if self._found is not None else ""
        self._class: StorageClass | None = cache.get("StorageClass", "", class_name) if class_name else None

    def explain(self, nodes: _Nodes) -> ClaimExplanation:
        claim = self._found
        if claim is None:
            return ClaimExplanation(self._key, "", "the claim does not exist")
        wants = self._wants(claim)
        volume = (claim.spec.volumeName if claim.spec else None) or ""
        phase = claim.status.phase if claim.status else None
        if phase == "Lost":
            return ClaimExplanation(self._key, wants, f"lost: its volume {volume} does not exist any more")
        if is_deleting(claim):
            return ClaimExplanation(self._key, wants, "being deleted")
        if is_fully_bound(claim):
            return ClaimExplanation(self._key, wants, f"bound to volume {volume}", groups=self._bound(nodes, volume), bound=True)
        if volume:
            text = f"names volume {volume} and waits for the volume controller to finish binding"
            return ClaimExplanation(self._key, wants, text, self._named(claim, volume))
        if self._class is None or self._class.volumeBindingMode != WAIT_FOR_FIRST_CONSUMER:
            return ClaimExplanation(self._key, wants, f"unbound; {self._bound_first(claim)}", self._anywhere(claim))
        chosen = annotations_of(claim).get(ANN_SELECTED_NODE)
        text = "unbound, waits for its first consumer" + (f"; being provisioned for node {chosen}" if chosen else "")
        if chosen is not None:
            return ClaimExplanation(self._key, wants, text, groups=self._started(claim, self._class, nodes, chosen))
        return ClaimExplanation(self._key, wants, text, *self._unbound(claim, self._class, nodes))

    @staticmethod
    def _wants(claim: PersistentVolumeClaim) -> str:
        parts = [str(requested_storage(claim)), ",".join((claim.spec.accessModes if claim.spec else None) or ()), volume_mode_of(claim)]
        name = class_of(claim)
        return " ".join(part for part in parts if part) + (f", class {name}" if name else ", no class")

    # claims that are bound before their pod is scheduled

    def _bound_first(self, claim: PersistentVolumeClaim) -> str:
        if self._class is not None:
            return f"class {meta(self._class).name} binds immediately, so a volume has to be there before the pod is scheduled"
        name = class_of(claim)
        if name:
            return f"class {name} does not exist"
        return "it has no class, so the volume controller has to bind it before the pod is scheduled"

    def _named(self, claim: PersistentVolumeClaim, name: str) -> tuple[Candidate, ...]:
        """The volume a claim asks for by name."""
        pv = self._cache.volumes.find(name)
        if pv is None:
            return (Candidate("volume", name, "", (Refusal("missing", "does not exist"),)),)
        held = [refusal for refusal in _volume_refusals(claim, pv) if refusal.aspect == "claim"]
        return (Candidate("volume", name, str(capacity_of(pv)), tuple(held)),)

    def _anywhere(self, claim: PersistentVolumeClaim) -> tuple[Candidate, ...]:
        candidates = [_volume(claim, pv) for pv in self._cache.volumes.of_class(class_of(claim))]
        if self._class is not None and self._class.provisioner and self._class.provisioner != NO_PROVISIONER:
            candidates.append(Candidate("provisioner", self._class.provisioner, "", ()))
        return _nearest(candidates)

    # a bound claim

    def _bound(self, nodes: _Nodes, name: str) -> tuple[ClaimOnNodes, ...]:
        pv = self._cache.volumes.find(name)
        if pv is None:
            gone = Candidate("volume", name, "", (Refusal("missing", "does not exist"),))
            return (ClaimOnNodes(tuple(node for node, _ in nodes.all), False, (gone,)),) if nodes.all else ()
        groups: dict[tuple[Refusal, ...], list[str]] = {}
        for node, labels in nodes.all:
            groups.setdefault(self._reach(pv, node, labels), []).append(node)
        about = str(capacity_of(pv))
        return tuple(
            ClaimOnNodes(tuple(names), not refusals, (Candidate("volume", name, about, refusals),)) for refusals, names in groups.items()
        )

    def _reach(self, pv: PersistentVolume, node: str, labels: Mapping[str, str]) -> tuple[Refusal, ...]:
        """Empty when the node reaches the volume. An in-tree volume is looked at as its CSI driver sees it."""
        try:
            seen = translate_for_node(pv, self._cache.get("CSINode", "", node))
        except TranslationError as error:
            return (Refusal("translation", f"cannot be translated to CSI: {error}"),)
        if pv_reachable(seen, labels):
            return ()
        affinity = _affinity_of(seen)
        keys = [item.key for term in (affinity.nodeSelectorTerms if affinity else ()) for item in term.matchExpressions or ()]
        text = f"not reachable: the node has {_where(labels, keys)}" if keys else "its node affinity admits no node"
        return (Refusal("topology", text),)

    # an unbound claim that waits for its pod

    def _unbound(
        self, claim: PersistentVolumeClaim, storage_class: StorageClass, nodes: _Nodes
    ) -> tuple[tuple[Candidate, ...], tuple[ClaimOnNodes, ...]]:
        """(what no node reaches, what the nodes reach)."""
        volumes = _Volumes(self._cache, claim, nodes)
        pools = _Pools(self._cache, claim, storage_class, nodes, self._own)
        groups: dict[tuple[tuple[int, ...], _Provision], list[str]] = {}
        for position, (node, _) in enumerate(nodes.all):
            groups.setdefault((tuple(volumes.reached[position]), pools.on(position)), []).append(node)
        total = sum(len(group) for group in volumes.of_affinity)
        return (*volumes.stranded, *pools.stranded), tuple(
            _group(names, [volume for affinity in affinities for volume in volumes.of_affinity[affinity]], provision, volumes_total=total)
            for (affinities, provision), names in groups.items()
        )

    def _started(self, claim: PersistentVolumeClaim, storage_class: StorageClass, nodes: _Nodes, chosen: str) -> tuple[ClaimOnNodes, ...]:
        """Provisioning is under way for one node: no other will do, and existing volumes are not looked at."""
        pools = _Pools(self._cache, claim, storage_class, nodes, self._own)
        groups = []
        others = tuple(node for node, _ in nodes.all if node != chosen)
        for position, (node, _) in enumerate(nodes.all):
            if node == chosen:
                groups.append(_group([node], (), pools.on(position), volumes_total=0))
        if others:
            refusal = Refusal("selected node", f"provisioning was started for node {chosen}")
            groups.append(ClaimOnNodes(others, False, (Candidate("provisioner", storage_class.provisioner, "", (refusal,)),)))
        return tuple(groups)


def _volume(claim: PersistentVolumeClaim, pv: PersistentVolume) -> Candidate:
    return Candidate("volume", meta(pv).name or "", str(capacity_of(pv)), tuple(_volume_refusals(claim, pv)))


def _volume_refusals(claim: PersistentVolumeClaim, pv: PersistentVolume) -> Iterable[Refusal]:
    """Everything but reachability; what a reservation excuses is not tested for the claim it is for."""
    reference = pv.spec.claimRef if pv.spec else None
    reserved = bound_to(pv, claim)
    if reference is not None and not reserved:
        yield Refusal("claim", f"held by claim {reference.namespace}/{reference.name}")
    if capacity_of(pv) < requested_storage(claim):
        yield Refusal("size", f"{capacity_of(pv)} is less than {requested_storage(claim)}")
    if volume_mode_of(pv) != volume_mode_of(claim):
        yield Refusal("mode", f"is {volume_mode_of(pv)}, not {volume_mode_of(claim)}")
    if attributes_class_of(pv) != attributes_class_of(claim):
        ours, theirs = attributes_class_of(claim) or "none", attributes_class_of(pv) or "none"
        yield Refusal("attributes class", f"has attributes class {theirs}, not {ours}")
    if is_deleting(pv):
        yield Refusal("deletion", "is being deleted")
    if reserved:
        return
    phase = (pv.status.phase if pv.status else None) or "Pending"
    if phase != "Available" and reference is None:
        yield Refusal("phase", f"is {phase}, not Available")
    try:
        selector = claim_selector(claim)
        if selector is not None and not selector.matches(labels_of(pv)):
            yield Refusal("selector", "its labels do not match the claim's selector")
    except SelectorError as error:
        yield Refusal("selector", f"the claim's selector is invalid: {error}")
    if not access_modes_satisfied(claim, pv):
        offered, wanted = (",".join((side.spec.accessModes if side.spec else None) or ()) for side in (pv, claim))
        yield Refusal(_ACCESS, f"offers {offered or 'no access mode'}, not {wanted}")


class _Volumes:
    """The volumes of a claim's class by their node affinity, and which affinities admit which node."""

    def __init__(self, cache: SchedulerCache, claim: PersistentVolumeClaim, nodes: _Nodes) -> None:
        self.of_affinity: list[list[Candidate]] = []
        self.reached: list[list[int]] = [[] for _ in nodes.all]
        self.stranded: list[Candidate] = []
        numbers: dict[bytes, int] = {}
        nowhere: list[tuple[int, str]] = []
        reserved: list[str] = []
        for pv in cache.volumes.of_class(class_of(claim)):
            affinity = _affinity_of(pv)
            identity = b"" if affinity is None else encode(affinity)  # type: ignore[arg-type]  # any Struct has canonical JSON
            number = numbers.get(identity)
            if number is None:
                number = numbers[identity] = len(self.of_affinity)
                self.of_affinity.append([])
                admitted = nodes.admitted_by(affinity)
                for position in admitted:
                    self.reached[position].append(number)
                if not admitted:
                    nowhere.append((number, affinity_text(affinity)))
            candidate = _volume(claim, pv)
            self.of_affinity[number].append(candidate)
            if bound_to(pv, claim) and not candidate.refusals:
                reserved.append(candidate.name)
        if reserved:
            self._let_reservation_decide(min(reserved))
        for number, text in nowhere if nodes.complete else ():
            refusal = Refusal("topology", f"reachable from no node: {text}")
            self.stranded += [c._replace(refusals=(*c.refusals, refusal)) for c in self.of_affinity[number]]

    def _let_reservation_decide(self, name: str) -> None:
        """A volume reserved for the claim is taken or nothing is: no other volume may take its place, on whatever node."""
        refusal = Refusal("reservation", f"passed over: volume {name} is reserved for this claim")
        for group in self.of_affinity:
            group[:] = [c if c.name == name else c._replace(refusals=(*c.refusals, refusal)) for c in group]


class _Provision(NamedTuple):
    """What provisioning could do for a claim on a node: the provisioner, then the pools that cover the node."""

    candidates: tuple[Candidate, ...]
    pools_elsewhere: int

    @property
    def fits(self) -> bool:
        pools = self.candidates[1:]
        return bool(self.candidates) and not self.candidates[0].refusals and (not pools or any(not pool.refusals for pool in pools))


def _group(nodes: Sequence[str], volumes: Sequence[Candidate], provision: _Provision, *, volumes_total: int) -> ClaimOnNodes:
    """An existing volume goes first; provisioning is looked at where none fits."""
    by_volume = any(not candidate.refusals for candidate in volumes)
    return ClaimOnNodes(
        tuple(nodes),
        by_volume or provision.fits,
        _nearest(volumes) + (() if by_volume else provision.candidates),
        volumes_elsewhere=volumes_total - len(volumes),
        pools_elsewhere=0 if by_volume else provision.pools_elsewhere,
    )


class _Pools:
    """What a class can provision where: its provisioner, and the pools that vouch for it where its driver keeps capacity objects.

    `own`: the pod's claims, for pools that are counted exactly.
    """

    def __init__(
        self, cache: SchedulerCache, claim: PersistentVolumeClaim, storage_class: StorageClass, nodes: _Nodes, own: frozenset[str]
    ) -> None:
        self._class = storage_class
        self._claim = claim
        self._accounts = PoolAccounts(cache.ledger, own) if cache.ledger is not None else None
        self._nodes = nodes
        self._requested = requested_storage(claim)
        driver = cache.get("CSIDriver", "", storage_class.provisioner)
        self._counted = bool(driver is not None and driver.spec.storageCapacity and has_storage_request(claim))
        self._count = 0
        self._reached: dict[int, list[Candidate]] = {}
        self.stranded: list[Candidate] = []
        for pool in cache.all("CSIStorageCapacity") if self._counted else ():
            if pool.storageClassName == meta(storage_class).name:
                self._count += 1
                name = f"{meta(pool).namespace}/{meta(pool).name}"
                about = (pool.capacity or "") if self._accounts is None else self._accounts.about(pool)
                candidate = Candidate("pool", name, about, tuple(self._pool_refusals(pool)))
                covered = nodes.in_segment(pool.nodeTopology)
                for position in covered:
                    self._reached.setdefault(position, []).append(candidate)
                if not covered and nodes.complete:
                    refusal = Refusal("topology", "covers no node")
                    self.stranded.append(candidate._replace(refusals=(*candidate.refusals, refusal)))

    def on(self, position: int) -> _Provision:
        """What a node can have; equal for nodes with equal answers."""
        labels = self._nodes.all[position][1]
        provisioner = self._class.provisioner
        if not provisioner or provisioner == NO_PROVISIONER:
            return _Provision((), 0)
        if not allowed_topologies_match(self._class.allowedTopologies, labels):
            return _Provision((Candidate("provisioner", provisioner, "", (Refusal("topology", self._other_topology(labels)),)),), 0)
        if not self._counted:
            return _Provision((Candidate("provisioner", provisioner, "", ()),), 0)
        reached = _nearest(self._reached.get(position, ()))
        elsewhere = self._count - len(reached)
        if not reached:
            what = "none of this class covers the node" if self._count else "there is none for this class"
            refusal = Refusal("capacity", f"its driver keeps capacity objects, and {what}")
            return _Provision((Candidate("provisioner", provisioner, "", (refusal,)),), elsewhere)
        return _Provision((Candidate("provisioner", provisioner, "", ()), *reached), elsewhere)

    def _other_topology(self, labels: Mapping[str, str]) -> str:
        terms = self._class.allowedTopologies or ()
        keys = [item.key for term in terms for item in term.matchLabelExpressions or ()]
        wanted = " or ".join(
            " and ".join(f"{item.key} in [{', '.join(item.values or ())}]" for item in term.matchLabelExpressions or ()) or "nothing"
            for term in terms
        )
        return f"class {meta(self._class).name} allows {wanted}; the node has {_where(labels, keys) or 'no such label'}"

    def _pool_refusals(self, pool: CSIStorageCapacity) -> Iterable[Refusal]:
        limit = pool.maximumVolumeSize if pool.maximumVolumeSize is not None else pool.capacity
        if limit is None:
            yield Refusal("size", "states no capacity")
        elif parse(limit).value() < self._requested.value():
            what = "its largest volume is" if pool.maximumVolumeSize is not None else "it has"
            yield Refusal("size", f"{what} {limit}, less than {self._requested}")
        elif self._accounts is not None and (held := self._accounts.held(pool, self._claim)) is not None:
            yield Refusal("held", held)
        kept = self._accounts.kept(self._claim) if self._accounts is not None else []
        if kept and pool_name(pool) not in kept:
            yield Refusal("reservation", f"passed over: the claim holds room in {', '.join(kept)}")
