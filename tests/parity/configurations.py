"""Random KubeSchedulerConfiguration files: one profile whose plugins are disabled, moved and weighed, and whose arguments are set.

Most are ones that kube-scheduler takes; a few are not, and then both sides have to refuse them.
"""

from __future__ import annotations

import random
from typing import Any, Final

from lightkube.models.core_v1 import NodeAffinity, PreferredSchedulingTerm, TopologySpreadConstraint

from tests.builders import HOSTNAME, REGION, ZONE
from tests.parity.mixture import GPU, Mixture
from volsched.api.kinds import to_json
from volsched.scheduler.configuration.points import DEFAULT_PLUGINS, IMPLEMENTS

Json = Any
RESOURCES: Final = ("cpu", "cpu", "memory", "memory", "ephemeral-storage", GPU, "vendor.io/fpga", "hugepages-2Mi", "pods", "plain-name")
POINTS: Final = ("preFilter", "filter", "preScore", "score")
NEEDED: Final = ("PrioritySort", "DefaultBinder")  # a profile without them is refused


class Configurations:
    """Draws configurations. `mixture` lends selectors that fit its clusters."""

    def __init__(self, chance: random.Random, mixture: Mixture) -> None:
        self.chance = chance
        self.mixture = mixture
        self.maybe, self.one = mixture.maybe, mixture.one
        self.is_sloppy = self.maybe(4)  # may break rules of validation

    def configuration(self) -> Json:
        profile: dict[str, Json] = {"schedulerName": "default-scheduler"}
        if self.maybe(70):
            profile["pluginConfig"] = self.plugin_config()
        if self.maybe(70):
            profile["plugins"] = self.plugins()
        if self.maybe(10):
            profile["percentageOfNodesToScore"] = self.one(0, 1, 50, 100)
        return {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [profile]}

    # Plugins

    def plugins(self) -> dict[str, Json]:
        sets: dict[str, Json] = {}
        if self.maybe(50):
            sets["multiPoint"] = self.everywhere()
        for point in POINTS:
            if self.maybe(25):
                sets[point] = self.at(point)
        return sets

    def enabled(self, name: str) -> dict[str, Json]:
        weight = self.one(None, 0, 1, 2, 5, 100) if not self.is_sloppy else self.one(-1, 1 << 33, 1)
        return {"name": name, **({} if weight is None else {"weight": weight})}

    def everywhere(self) -> dict[str, Json]:
        names = [name for name, _weight in DEFAULT_PLUGINS]
        if self.maybe(30):  # all of them away, some of them back, in another order
            kept = [name for name in names if name in NEEDED or self.maybe(75)]
            self.chance.shuffle(kept)
            return {"disabled": [{"name": "*"}], "enabled": [self.enabled(name) for name in kept]}
        gone = [name for name in names if name not in NEEDED and self.maybe(12)]
        changed = [name for name in names if name not in gone and self.maybe(15)]
        self.chance.shuffle(changed)
        return {"disabled": [{"name": name} for name in gone], "enabled": [self.enabled(name) for name in changed]}

    def at(self, point: str) -> dict[str, Json]:
        able = [name for name, points in IMPLEMENTS.items() if point in points]
        if self.is_sloppy:
            able.append("DefaultBinder")
        chosen = [name for name in able if self.maybe(20)]
        self.chance.shuffle(chosen)
        if self.maybe(25):
            return {"disabled": [{"name": "*"}], "enabled": [self.enabled(name) for name in chosen]}
        gone = [name for name in able if self.maybe(10)]
        return {"disabled": [{"name": name} for name in gone], "enabled": [self.enabled(name) for name in chosen if self.maybe(50)]}

    # Arguments

    def plugin_config(self) -> list[Json]:
        made = {
            "NodeResourcesFit": self.fit,
            "NodeResourcesBalancedAllocation": self.balanced,
            "VolumeBinding": self.volume_binding,
            "NodeAffinity": self.node_affinity,
            "PodTopologySpread": self.spread,
            "InterPodAffinity": self.inter_pod,
        }
        return [{"name": name, "args": make()} for name, make in made.items() if self.maybe(45)]

    def resources(self, *, weighed: bool) -> list[Json]:
        names = list(dict.fromkeys(self.one(*RESOURCES) for _ in range(self.one(1, 2, 3, 4))))
        if self.is_sloppy:
            return [{"name": name, "weight": self.one(0, 101, 2)} for name in (*names, names[0])]
        return [{"name": name, **({"weight": self.one(1, 3, 100)} if weighed and self.maybe(80) else {})} for name in names]

    def shape(self) -> list[Json]:
        places = sorted({self.chance.randrange(101) for _ in range(self.one(1, 2, 3, 5))})
        if self.is_sloppy:
            places.append(places[0])
        return [{"utilization": place, "score": self.chance.randrange(11)} for place in places]

    def fit(self) -> Json:
        strategy: dict[str, Json] = {"type": self.one("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")}
        if self.maybe(75):
            strategy["resources"] = self.resources(weighed=True)
        if strategy["type"] == "RequestedToCapacityRatio":
            strategy["requestedToCapacityRatio"] = {"shape": self.shape()}
        made: dict[str, Json] = {"scoringStrategy": strategy} if self.maybe(85) else {}
        if self.maybe(25):
            made["ignoredResources"] = [self.one(GPU, "vendor.io/fpga", "hugepages-2Mi")]
        if self.maybe(20):
            made["ignoredResourceGroups"] = [self.one("example.com", "vendor.io")]
        return made

    def balanced(self) -> Json:
        return {"resources": self.resources(weighed=False)}

    def volume_binding(self) -> Json:
        return {"shape": self.shape(), **({"bindTimeoutSeconds": self.one(0, 60)} if self.maybe(30) else {})}

    def node_affinity(self) -> Json:
        # a matchFields term by name would leave hardly a node, and terms that ask for nothing none
        required = self.mixture.node_selector() if self.maybe(40) else None
        preferred = [
            PreferredSchedulingTerm(weight=self.one(1, 20, 100), preference=self.mixture.node_term()) for _ in range(self.one(0, 1, 2))
        ]
        return {
            "addedAffinity": to_json(
                NodeAffinity(
                    requiredDuringSchedulingIgnoredDuringExecution=required,
                    preferredDuringSchedulingIgnoredDuringExecution=preferred or None,
                )
            )
        }

    def spread(self) -> Json:
        kind = self.one("List", "List", "System")
        constraints = [
            TopologySpreadConstraint(
                maxSkew=self.one(1, 2, 5), topologyKey=key, whenUnsatisfiable=self.one("ScheduleAnyway", "ScheduleAnyway", "DoNotSchedule")
            )
            for key in dict.fromkeys(self.one(ZONE, HOSTNAME, "rack", REGION) for _ in range(self.one(1, 2, 3)))
        ]
        listed = [to_json(constraint) for constraint in constraints] if kind == "List" or self.is_sloppy else []
        return {"defaultingType": kind, **({"defaultConstraints": listed} if listed else {})}

    def inter_pod(self) -> Json:
        made: dict[str, Json] = {}
        if self.maybe(70):
            made["hardPodAffinityWeight"] = self.one(0, 1, 5, 100, 101 if self.is_sloppy else 50)
        if self.maybe(50):
            made["ignorePreferredTermsOfExistingPods"] = self.one(True, True, False)
        return made
