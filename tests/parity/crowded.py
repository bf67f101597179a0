"""Random crowded clusters for preemption: priorities, budgets, promised pods, and what pods of a node hold against each other.

A theme says which rule the pods mostly meet; "mixed" draws pods as `Draw` does, of every kind at once.
"""

from __future__ import annotations

import random
from typing import Any, Final

from lightkube.models.core_v1 import (
    Affinity,
    AWSElasticBlockStoreVolumeSource,
    GCEPersistentDiskVolumeSource,
    ISCSIVolumeSource,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    RBDVolumeSource,
    TopologySpreadConstraint,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus

from tests.builders import (
    HOSTNAME,
    ZONE,
    make_attachment,
    make_class,
    make_csinode,
    make_namespace,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
    when,
)
from tests.parity.clusters import DELETED, Draw, Situation
from volsched.api.edit import replace, with_spec
from volsched.api.kinds import Object
from volsched.engine.profile import DEFAULT_FILTERS, EngineProfile, FitArgs, SpreadArgs

THEMES: Final = ("resources", "claims", "spread", "affinity", "ports", "disks", "limits", "mixed")
PREEMPTOR_PRIORITY: Final = 50
_SHARED: Final = ("shared0", "shared1")


class Crowd(Draw):
    """Draws a cluster with more pods than it has room for."""

    def __init__(self, chance: random.Random, *, nodes: int, theme: str) -> None:
        super().__init__(chance, nodes=nodes)
        self.theme = theme

    def labels(self) -> dict[str, str]:
        return {key: self.one("a", "b") for key in ("app", "tier") if self.maybe(80)}

    def selector(self) -> LabelSelector | None:
        if self.maybe(20):
            return self.one(None, LabelSelector(), LabelSelector())
        return LabelSelector(matchLabels={self.one("app", "tier"): self.one("a", "b")})

    def term(self) -> PodAffinityTerm:
        if self.theme == "mixed":
            return super().term()
        return PodAffinityTerm(
            topologyKey=self.one(ZONE, HOSTNAME, "rack"),
            labelSelector=self.selector(),
            namespaces=self.one(None, None, None, ["other"], ["default", "other"]),
            namespaceSelector=self.one(None, None, None, LabelSelector(), LabelSelector(matchLabels={"team": "x"})),
        )

    def disk(self) -> Volume:
        return self.one(
            Volume(name="d", gcePersistentDisk=GCEPersistentDiskVolumeSource(pdName=self.one("a", "b"), readOnly=self.maybe(50))),
            Volume(name="d", awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID=self.one("vol-1", "vol-2"))),
            Volume(name="d", iscsi=ISCSIVolumeSource(iqn=self.one("i", "j"), lun=0, targetPortal="p", readOnly=self.maybe(50))),
            Volume(
                name="d",
                rbd=RBDVolumeSource(
                    monitors=self.one(["m1"], ["m1", "m2"], ["m3"]), image=self.one("x", "y"), pool="rbd", readOnly=self.maybe(50)
                ),
            ),
        )

    def parts(self) -> dict[str, Any]:
        """What pods of the theme have beside requests and labels."""
        if self.theme == "claims":
            return {"claims": [claim for claim in _SHARED if self.maybe(50)]}
        if self.theme == "limits":
            return {"claims": [self.one(*self.claims) for _ in range(self.one(1, 2))]}
        if self.theme == "spread":
            constraints = [
                TopologySpreadConstraint(
                    maxSkew=self.one(1, 1, 2),
                    topologyKey=self.one(ZONE, HOSTNAME, "rack"),
                    whenUnsatisfiable="DoNotSchedule",
                    labelSelector=self.selector(),
                    minDomains=self.one(None, None, 3),
                    matchLabelKeys=["tier"] if self.maybe(15) else None,
                    nodeTaintsPolicy=self.one(None, "Honor"),
                    nodeAffinityPolicy=self.one(None, "Ignore"),
                )
                for _ in range(self.one(1, 1, 2))
            ]
            return {"spec": {"topologySpreadConstraints": constraints}}
        if self.theme == "affinity":
            near = [self.term() for _ in range(self.one(0, 0, 1, 2))]
            far = [self.term() for _ in range(self.one(0, 1, 1))]
            return {
                "affinity": Affinity(
                    podAffinity=PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=near or None),
                    podAntiAffinity=PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=far or None),
                )
            }
        if self.theme == "ports":
            return {"ports": [self.one(80, 8080)]}
        if self.theme == "disks":
            return {"volumes": [self.disk()]}
        return {}

    def pod(self, name: str, *, node: str | None = None) -> Pod:
        if self.theme == "mixed":
            made = super().pod(name, node=node)
        else:
            made = make_pod(
                name,
                namespace="default" if node is None else self.one("default", "default", "other"),
                uid=f"uid-{name}",
                node=node,
                cpu=self.one("500m", "500m", "1", "1500m") if self.theme == "resources" else self.one("10m", "200m"),
                memory="64Mi",
                labels=self.labels(),
                deleted=DELETED if node is not None and self.maybe(15) else None,
                finalizers=["x/y"],
                **self.parts(),
            )
        priority = self.one(None, 0, 0, 10, 10, 20, 100) if node is not None else PREEMPTOR_PRIORITY
        made = with_spec(made, priority=priority)
        if node is None:
            return made
        status = make_pod(status={"startTime": when(self.chance.randrange(4))}).status if self.maybe(80) else None
        return replace(made, status=status)

    def promised(self, number: int) -> Pod:
        """A pending pod that has been promised a node."""
        made = with_spec(self.pod(f"promised{number}"), priority=self.one(20, PREEMPTOR_PRIORITY, PREEMPTOR_PRIORITY, 100))
        node = f"node{self.chance.randrange(self.nodes)}"
        return replace(made, status=make_pod(status={"nominatedNodeName": node}).status)

    def budget(self, number: int) -> PodDisruptionBudget:
        placed = f"placed{self.chance.randrange(3 * self.nodes)}"
        return PodDisruptionBudget(
            metadata=ObjectMeta(name=f"budget{number}", namespace=self.one("default", "default", "other")),
            spec=PodDisruptionBudgetSpec(selector=self.selector()),
            status=PodDisruptionBudgetStatus(
                currentHealthy=1,
                desiredHealthy=1,
                disruptionsAllowed=self.one(0, 0, 1, 2),
                expectedPods=1,
                disruptedPods={placed: DELETED} if self.maybe(30) else None,
            ),
        )

    def crowded_node(self, number: int) -> Object:
        if self.theme == "mixed":
            return self.node(number)
        labels = {"rack": self.one("r1", "r2")} if self.maybe(85) else {}
        return make_node(
            f"node{number}",
            zone=self.one("z1", "z2", "z3") if self.maybe(90) else None,
            labels=labels,
            cpu=self.one("1", "2", "3"),
            memory="8Gi",
            pods=self.one("110", "110", "5"),
        )

    def claims_and_volumes(self) -> list[Object]:
        if self.theme == "mixed":
            return [self.storage_class(name) for name in ("c1", "c2", "c3")] + self.storage()
        made: list[Object] = [make_class("net", provisioner="one.csi")]
        for namespace in ("default", "other"):
            for name in (*_SHARED, *self.claims):
                # equal names in both namespaces, and not the same modes: upstream compares names alone
                modes = ["ReadWriteOncePod"] if name in _SHARED and self.maybe(80) else ["ReadWriteOnce"]
                uid = f"uid-{namespace}-{name}"
                volume = f"pv-{namespace}-{name}"
                made.append(make_pvc(name, namespace=namespace, uid=uid, storage_class="net", bound_to=volume, modes=modes))
                made.append(make_pv(volume, storage_class="net", claim=f"{namespace}/{name}", claim_uid=uid, driver="one.csi", modes=modes))
        if self.theme == "limits":
            made += [make_csinode(f"node{number}", drivers={"one.csi": self.one(None, 1, 1, 2)}) for number in range(self.nodes)]
            for number in range(self.chance.randrange(self.nodes + 1)):
                node = f"node{self.chance.randrange(self.nodes)}"
                made.append(make_attachment(f"at{number}", volume=f"pv-default-{self.one(*self.claims)}", node=node, attacher="one.csi"))
        return made

    def crowd(self) -> Situation:
        """A cluster, and the pod that is to preempt."""
        objects: list[Object] = [make_namespace("default", labels={"team": "x"}), make_namespace("other", labels={"team": "y"})]
        objects += [self.crowded_node(number) for number in range(self.nodes)]
        objects += self.claims_and_volumes()
        for number in range(self.chance.randrange(2 * self.nodes, 5 * self.nodes + 1)):
            objects.append(self.pod(f"placed{number}", node=f"node{self.chance.randrange(self.nodes)}"))
        objects += [self.promised(number) for number in range(self.one(0, 0, 1, 2, 3))]
        objects += [self.budget(number) for number in range(self.one(0, 0, 1, 2))]
        return Situation(objects, [self.pod("preemptor")])

    def profile(self) -> EngineProfile:
        """A profile in which some plugins are elsewhere, left out, left out at one point, or have arguments."""
        names = list(DEFAULT_FILTERS)
        if self.maybe(60):
            self.chance.shuffle(names)
        without = {name for name in names if self.maybe(8)}
        unprepared = {name for name in names if self.maybe(4)}
        defaults = (
            TopologySpreadConstraint(
                maxSkew=self.one(1, 2), topologyKey=self.one(ZONE, HOSTNAME), whenUnsatisfiable=self.one("DoNotSchedule", "ScheduleAnyway")
            ),
        )
        return EngineProfile(
            pre_filters=tuple(name for name in names if name not in without | unprepared),
            filters=tuple(name for name in names if name not in without),
            fit=FitArgs(ignored_groups=self.one(frozenset(), frozenset({"example.com"}))),
            spread=SpreadArgs(self.one(None, None, (), defaults)),
        )
