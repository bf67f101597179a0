"""Where a snapshot can be restored, and why not elsewhere, before anything is scheduled.

    VolumeSnapshot | claim | pod ──> target: a claim of a class and size, a pod that uses it
        conditions that do not depend on a node   snapshot, content, class, size, mode         (restore_source)
        node by node                              what other plugins refuse, the class's topologies, pools, from where it can be read
        what the scheduler would do               the node it would choose, and whether the restore can work there

kube-scheduler knows nothing of snapshots: it sends a pod into a zone its restore cannot come from, the driver refuses, the selected node is
taken off, and the scheduler, which is not told why, sends it there again. That is foretold here as a warning.

Nothing is run and nothing changed. Source: spec/snapshots.md 3; spec/volumes.md 3.4, 3.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from lightkube.models.core_v1 import (
    Container,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource,
    Pod,
    PodSpec,
    TypedLocalObjectReference,
    Volume,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.storage_v1 import StorageClass

from volsched.api.edit import labels_of, with_spec
from volsched.api.kinds import Json, Key, meta
from volsched.api.snapshot import VolumeSnapshot, VolumeSnapshotContent
from volsched.app.restore_source import Parts, Problem, Readability, conditions, provisioner_says, readability, segments_text, size_of
from volsched.cache.explain import ClaimExplanation, ClaimOnNodes, explain_claims
from volsched.cache.scheduler_cache import SchedulerCache
from volsched.controllers.provisioner_source import SNAPSHOT, DataSource, data_source_of
from volsched.controllers.provisioner_tables import Refusal
from volsched.controllers.provisioner_topology import keys_of
from volsched.controllers.pv_binder.changes import default_class
from volsched.controllers.snapshot_names import SNAPSHOT_GROUP
from volsched.engine.decision import Decision
from volsched.errors import InputError
from volsched.rules.texts import first_of
from volsched.rules.topology import ZONE, allowed_topologies_match
from volsched.rules.volumes import (
    WAIT_FOR_FIRST_CONSUMER,
    claim_names,
    class_of,
    is_fully_bound,
    pod_terminated,
    requested_storage,
    volume_mode_of,
)

if TYPE_CHECKING:
    from volsched.app.cluster import Cluster

Verdict = Literal["yes", "no", "unsure"]
PROBE_PREFIX: Final = "restore-of-"
NODES_NAMED: Final = 3  # in a warning


class Wish(NamedTuple):
    """What a snapshot is to become, as far as it is said: class, size, volume mode."""

    storage_class: str | None = None
    size: str | None = None
    volume_mode: str | None = None


ANY_WISH: Final = Wish()


class NodeGroup(NamedTuple):
    """Nodes with one answer. topology: their place as the driver tells places apart."""

    nodes: tuple[str, ...]
    topology: str
    verdict: Verdict
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Json]:
        problems = [problem._asdict() for problem in self.problems]
        return {"nodes": list(self.nodes), "topology": self.topology, "restorable": self.verdict, "problems": problems}


@dataclass
class RestoreReport:
    """What there is to say about one restore.

    claim, pod: `namespace/name`, empty where only a snapshot was asked about. done: the claim has its volume already. says: what the
    provisioner would answer now. chosen: the node the scheduler would take, empty where it finds none or does not choose.
    """

    snapshot: str
    claim: str
    pod: str
    storage_class: str
    driver: str
    size: str
    restore_size: str
    volume_mode: str
    readable: Readability
    problems: list[Problem]
    says: str = ""
    done: str = ""
    chosen: str = ""
    groups: list[NodeGroup] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def count(self, *verdicts: Verdict) -> int:
        """Nodes with one of these answers."""
        return sum(len(group.nodes) for group in self.groups if group.verdict in verdicts)

    @property
    def headline(self) -> str:
        """The answer in a line."""
        if self.done:
            return f"restored already, {self.done}"
        total = sum(len(group.nodes) for group in self.groups)
        where = f"on {self.count('yes'):,} of {total:,} node{'s' * (total != 1)}"
        if unsure := self.count("unsure"):
            where += f", perhaps on {unsure:,} more"
        if self.problems:
            return f"cannot be restored: {self.problems[0].text}" + (f"; without that {where}" if total else "")
        if not self.count("yes", "unsure"):
            return f"can be restored {where}" if total else "there is no node to restore it for"
        return f"can be restored {where}"

    def as_json(self) -> dict[str, Json]:
        """For scripts: the same facts as plain data."""
        segments = self.readable.segments
        return {
            "snapshot": self.snapshot,
            "claim": self.claim or None,
            "pod": self.pod or None,
            "summary": self.headline,
            "storageClassName": self.storage_class or None,
            "driver": self.driver or None,
            "size": self.size or None,
            "restoreSize": self.restore_size or None,
            "volumeMode": self.volume_mode,
            "readableFrom": {
                "knownBy": self.readable.known_by,
                "topologies": None if segments is None else [dict(one) for one in segments],
                "because": self.readable.source,
            },
            "problems": [problem._asdict() for problem in self.problems],
            "provisionerSays": self.says or None,
            "restoredAlready": self.done or None,
            "chosenNode": self.chosen or None,
            "nodes": [group.as_json() for group in self.groups],
            "warnings": list(self.warnings),
        }


def check_snapshot(cluster: Cluster, namespace: str, name: str, wish: Wish = ANY_WISH) -> RestoreReport:
    """For a claim that does not exist yet: of the wished class (default: the class of the source volume, else the default class), size
    (default: the restore size) and mode (default: that of the source), used by a pod that asks for nothing else.

    Raises NotFoundError for a snapshot or class that does not exist, InputError where no class can be told.
    """
    snapshot: VolumeSnapshot = cluster.store.get("VolumeSnapshot", namespace, name)
    content = _content_of(cluster, snapshot)
    class_name = wish.storage_class or _likely_class(cluster, snapshot, content)
    if not class_name:
        raise InputError(
            f"VolumeSnapshot {namespace}/{name}: no StorageClass can be told from its source, and none is the default; name one"
        )
    cluster.store.get("StorageClass", "", class_name)
    needed = size_of(snapshot, content)
    size = wish.size or (str(needed) if needed is not None else None)
    mode = wish.volume_mode or (content.spec.sourceVolumeMode if content is not None else None) or "Filesystem"
    claim = PersistentVolumeClaim(
        apiVersion="v1",
        kind="PersistentVolumeClaim",
        metadata=ObjectMeta(name=f"{PROBE_PREFIX}{name}", namespace=namespace, uid=f"{PROBE_PREFIX}{name}"),
        spec=PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"],
            resources=VolumeResourceRequirements(requests={"storage": size}) if size is not None else None,
            storageClassName=class_name,
            volumeMode=mode,
            dataSource=TypedLocalObjectReference(apiGroup=SNAPSHOT_GROUP, kind=SNAPSHOT, name=name),
        ),
    )
    return _Check(cluster, claim, _probe_pod(claim), exists=False).run()


def check_claim(cluster: Cluster, namespace: str, name: str) -> RestoreReport:
    """For a claim whose data source is a snapshot, used by the first pod that uses it, else by one that asks for nothing else.

    Raises NotFoundError for a claim that does not exist, InputError for one that is no restore of a snapshot.
    """
    claim: PersistentVolumeClaim = cluster.store.get("PersistentVolumeClaim", namespace, name)
    if snapshot_of(claim) is None:
        raise InputError(f"PersistentVolumeClaim {namespace}/{name} is not to be restored from a VolumeSnapshot of its namespace")
    pods = [pod for pod in cluster.list("Pod", namespace) if not pod_terminated(pod)]
    users = [pod for pod in pods if any(used == name for _, used, _ in claim_names(pod))]
    return _Check(cluster, claim, users[0] if users else _probe_pod(claim), exists=True, has_pod=bool(users)).run()


def check_pod(cluster: Cluster, pod: Pod) -> list[RestoreReport]:
    """For every claim of a pod that is to be restored from a snapshot, in volume order."""
    namespace = meta(pod).namespace or "default"
    found = []
    for name in dict.fromkeys(name for _, name, _ in claim_names(pod)):
        claim: PersistentVolumeClaim | None = cluster.store.raw(Key("PersistentVolumeClaim", namespace, name))
        if claim is not None and snapshot_of(claim) is not None:
            found.append(_Check(cluster, claim, pod, exists=True, has_pod=True).run())
    return found


def snapshot_of(claim: PersistentVolumeClaim) -> DataSource | None:
    """The snapshot a claim is to be restored from; None when it is another kind of claim, or names its source in a way nobody follows."""
    try:
        source = data_source_of(claim)
    except Refusal:
        return None
    return source if source is not None and source.kind == SNAPSHOT else None


def _content_of(cluster: Cluster, snapshot: VolumeSnapshot | None) -> VolumeSnapshotContent | None:
    name = snapshot.status.boundVolumeSnapshotContentName if snapshot is not None and snapshot.status else None
    content: VolumeSnapshotContent | None = cluster.store.raw(Key("VolumeSnapshotContent", "", name)) if name else None
    return content


def _likely_class(cluster: Cluster, snapshot: VolumeSnapshot, content: VolumeSnapshotContent | None) -> str:
    """The class its source has, or had; else the default class."""
    handle = content.spec.source.volumeHandle if content is not None else None
    for pv in cluster.list("PersistentVolume"):
        if handle and pv.spec.csi is not None and pv.spec.csi.volumeHandle == handle and class_of(pv):
            return class_of(pv)
    source = snapshot.spec.source.persistentVolumeClaimName
    claim = cluster.store.raw(Key("PersistentVolumeClaim", meta(snapshot).namespace or "", source)) if source else None
    if claim is not None and class_of(claim):
        return class_of(claim)
    default = default_class(list(cluster.list("StorageClass")))
    return (meta(default).name or "") if default is not None else ""


def _probe_pod(claim: PersistentVolumeClaim) -> Pod:
    """A pod that wants nothing but the claim."""
    name = meta(claim).name or ""
    used = PersistentVolumeClaimVolumeSource(claimName=name)
    return Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=ObjectMeta(name=f"{PROBE_PREFIX}{name}", namespace=meta(claim).namespace, uid=f"{PROBE_PREFIX}{name}"),
        spec=PodSpec(containers=[Container(name="main", image="main")], volumes=[Volume(name="data", persistentVolumeClaim=used)]),
    )


def _without(pod: Pod, claim_name: str) -> Pod:
    """The pod as if it did not use a claim."""
    kept = {volume for volume, name, _ in claim_names(pod) if name != claim_name}
    names = {volume for volume, _, _ in claim_names(pod)}
    volumes = [volume for volume in (pod.spec.volumes if pod.spec else None) or () if volume.name in kept or volume.name not in names]
    return with_spec(pod, volumes=volumes)


class _Check:
    """One claim, one pod."""

    def __init__(self, cluster: Cluster, claim: PersistentVolumeClaim, pod: Pod, *, exists: bool, has_pod: bool = False) -> None:
        self._cluster = cluster
        self._claim = claim
        self._named = exists
        self._pod = with_spec(pod, nodeName=None) if pod.spec is not None and pod.spec.nodeName else pod
        self._has_pod = has_pod
        source = snapshot_of(claim)
        assert source is not None
        self._source = source
        self._snapshot: VolumeSnapshot | None = cluster.store.raw(Key("VolumeSnapshot", source.namespace, source.name))
        self._content = _content_of(cluster, self._snapshot)
        self._class: StorageClass | None = cluster.store.raw(Key("StorageClass", "", class_of(claim)))
        self._driver = self._class.provisioner if self._class is not None else ""
        self._cache: SchedulerCache = cluster.fresh_cache(without=Key("Pod", meta(pod).namespace or "default", meta(pod).name or ""))
        if not exists:
            self._cache.add(claim)

    def run(self) -> RestoreReport:
        client = self._cluster.ask_driver(self._content.spec.driver) if self._content is not None else None
        needed = size_of(self._snapshot, self._content)
        report = RestoreReport(
            snapshot=f"{self._source.namespace}/{self._source.name}",
            claim=f"{meta(self._claim).namespace}/{meta(self._claim).name}" if self._named else "",
            pod=f"{meta(self._pod).namespace}/{meta(self._pod).name}" if self._has_pod else "",
            storage_class=class_of(self._claim),
            driver=self._driver,
            size=str(requested_storage(self._claim)) if requested_storage(self._claim).value() else "",
            restore_size=str(needed) if needed is not None else "",
            volume_mode=volume_mode_of(self._claim),
            readable=readability(self._content, self._cluster.list("PersistentVolume"), client),
            problems=[],
        )
        if is_fully_bound(self._claim):
            report.done = f"bound to volume {self._claim.spec.volumeName if self._claim.spec else ''}"
            return report
        report.problems = conditions(Parts(self._source.name, self._snapshot, self._content, self._class, self._claim))
        if self._class is not None:
            report.says = provisioner_says(self._cluster.store, self._claim, self._class, self._source) or ""
        report.groups = self._groups(report.readable)
        self._foretell(report)
        return report

    # node by node

    def _groups(self, readable: Readability) -> list[NodeGroup]:
        nodes = self._cache.engine.node_names()
        others = self._cluster.scheduler.decide(_without(self._pod, meta(self._claim).name or ""), cache=self._cache)
        on_node = self._storage(nodes)
        found: dict[tuple[str, Verdict, tuple[Problem, ...]], list[str]] = {}
        for node in nodes:
            labels = labels_of(self._cache.get("Node", "", node))
            problems = [*_refused(others, node), *on_node.get(node, ())]
            reached = readable.reaches(labels)
            if reached is False:
                problems.append(Problem("snapshot topology", f"the snapshot can be read from {readable.text} only"))
            verdict: Verdict = "no" if problems else "yes"
            if reached is None and not problems:
                verdict = "unsure"
                doubt = "nobody says from where the snapshot can be read"
                if readable.known_by == "volume":
                    doubt = f"the source volume is in {readable.text}, and nobody says whether the snapshot can be read from elsewhere"
                problems.append(Problem("snapshot topology", doubt))
            found.setdefault((self._topology(node, labels), verdict, tuple(problems)), []).append(node)
        groups = [NodeGroup(tuple(names), *key) for key, names in found.items()]
        return sorted(groups, key=lambda group: ("yes", "unsure", "no").index(group.verdict))

    def _topology(self, node: str, labels: Mapping[str, str]) -> str:
        csi_node = self._cache.get("CSINode", "", node)
        keys = keys_of(csi_node, self._driver) if csi_node is not None else ()
        shown = {key: labels[key] for key in keys or (ZONE,) if key in labels}
        return segments_text(shown) if shown else ""

    def _storage(self, nodes: Sequence[str]) -> dict[str, list[Problem]]:
        """What class, pools and existing volumes say of each node."""
        if self._class is None:
            return {}
        if self._class.volumeBindingMode != WAIT_FOR_FIRST_CONSUMER:
            allowed = self._class.allowedTopologies
            text = f"class {meta(self._class).name} does not allow its topology"
            labels = {node: labels_of(self._cache.get("Node", "", node)) for node in nodes}
            return {node: [Problem("topology", text)] for node in nodes if not allowed_topologies_match(allowed, labels[node])}
        found: dict[str, list[Problem]] = {}
        for group in self._explained(nodes).groups:
            problems = [] if group.fits else list(_storage_problems(group))
            found.update(dict.fromkeys(group.nodes, problems))
        return found

    def _explained(self, nodes: Sequence[str]) -> ClaimExplanation:
        name = f"{meta(self._claim).namespace}/{meta(self._claim).name}"
        return next(item for item in explain_claims(self._cache, self._pod, nodes) if item.claim == name)

    # what would happen

    def _foretell(self, report: RestoreReport) -> None:
        if self._class is None or not report.groups:
            return
        if report.problems and self._class.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER:
            report.warnings.append(
                "the scheduler looks at none of this: a pod with such a claim is given a node, and the claim stays Pending while the "
                "provisioner tries again and again"
            )
        if self._class.volumeBindingMode != WAIT_FOR_FIRST_CONSUMER:
            return
        decision = self._cluster.scheduler.decide(self._pod, cache=self._cache)
        if decision.error is not None or decision.node is None:
            return
        report.chosen = decision.node
        binding = next((step.volume for step in decision.volumes(decision.node).bind if step.claim == self._key), None)
        if binding is not None:
            bound = f"the claim would be bound to existing volume {binding}, whose content is not asked for"
            report.warnings.append(f"nothing would be restored on {decision.node}: {bound}")
            return
        self._foretell_place(report, decision)

    @property
    def _key(self) -> str:
        return f"{meta(self._claim).namespace}/{meta(self._claim).name}"

    def _foretell_place(self, report: RestoreReport, decision: Decision) -> None:
        """Whether the scheduler's choice is a place the snapshot can be read from. Where nobody knows anything, nothing is foretold."""
        groups = {node: group for group in report.groups for node in group.nodes}
        fitting = decision.feasible()
        bad = [node for node in fitting if _unreadable(groups[node])]
        if not bad or report.readable.known_by == "unknown":
            return
        readable = report.readable.text
        if report.chosen not in bad:
            outside = f"{len(bad):,} of the {len(fitting):,} nodes that fit the pod {'are' if len(bad) > 1 else 'is'} outside {readable}"
            unknowing = f"the scheduler does not know of that, and would choose {report.chosen} now"
            report.warnings.append(f"{outside} ({first_of(bad, NODES_NAMED)}); {unknowing}")
            return
        chosen = groups[report.chosen]
        cannot = "cannot be read" if chosen.verdict == "no" else "perhaps cannot be read"
        good = [node for node in fitting if groups[node].verdict == "yes"]
        where = f"{report.chosen} ({chosen.topology})" if chosen.topology else report.chosen
        report.warnings.append(f"the scheduler would send the pod to {where}, where the snapshot {cannot}. {self._refusal(report, good)}")
        if good:
            report.warnings.append(f"{first_of(good, NODES_NAMED)} would do: let the pod select {readable}")
        else:
            report.warnings.append(f"no node that fits the pod is in {readable}")

    def _refusal(self, report: RestoreReport, good: Sequence[str]) -> str:
        """What follows, as far as it is known how the provisioner asks."""
        loop = (
            "When CreateVolume answers ResourceExhausted, the provisioner takes the selected node off, and the scheduler, which is not "
            f"told why, chooses {report.chosen} again, over and over; on InvalidArgument the claim keeps the node and is tried every five "
            "minutes"
        )
        if self._cluster.drivers.is_strict(self._driver):
            return loop
        lax = "Unless the provisioner runs with --strict-topology, the driver may make the volume in"
        return f"{loop}. {lax} {report.readable.text} instead, {'and the pod moves there' if good else 'where this pod cannot go'}"


def _unreadable(group: NodeGroup) -> bool:
    return any(problem.aspect == "snapshot topology" for problem in group.problems)


def _refused(decision: Decision, node: str) -> list[Problem]:
    """What keeps the pod, this claim aside, from a node."""
    if decision.error is not None:
        return [Problem("pod", decision.error)]
    if decision.prefilter is not None:
        return [Problem(decision.prefilter.plugin or "pod", "; ".join(decision.prefilter.reasons))]
    rejection = decision.rejected().get(node)
    if rejection is not None:
        return [Problem(rejection.plugin, "; ".join(rejection.reasons))]
    if node in decision.feasible():
        return []
    return [Problem("NodeAffinity", "the pod's node affinity names other nodes")]


def _storage_problems(group: ClaimOnNodes) -> Iterable[Problem]:
    """Why a claim cannot be provisioned on some nodes; of pools the nearest."""
    for candidate in group.candidates:
        if candidate.kind == "provisioner" and candidate.refusals:
            yield from (Problem(refusal.aspect, refusal.text) for refusal in candidate.refusals)
    pools = [candidate for candidate in group.candidates if candidate.kind == "pool"]
    if pools:
        refusals = "; ".join(refusal.text for refusal in pools[0].refusals)
        yield Problem("capacity", f"pool {pools[0].name}: {refusals}" + (f"; {len(pools) - 1:,} more pools" if len(pools) > 1 else ""))


def check_restore(cluster: Cluster, kind: str, namespace: str, name: str, wish: Wish = ANY_WISH) -> list[RestoreReport]:
    """The checks for `vs/NAME`, `pvc/NAME` or `pod/NAME`. Raises NotFoundError, InputError."""
    if kind == "VolumeSnapshot":
        return [check_snapshot(cluster, namespace, name, wish)]
    if kind == "PersistentVolumeClaim":
        return [check_claim(cluster, namespace, name)]
    pod: Any = cluster.store.get("Pod", namespace, name)
    reports = check_pod(cluster, pod)
    if not reports:
        raise InputError(f"Pod {namespace}/{name} uses no claim that is to be restored from a VolumeSnapshot")
    return reports
