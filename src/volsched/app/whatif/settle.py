"""Where every pod of a world is once those without a node have been placed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lightkube.models.core_v1 import PersistentVolumeClaim, Pod

from volsched.api.edit import uid_of
from volsched.api.kinds import Key, key_of
from volsched.app.whatif.world import World
from volsched.controllers.ephemeral import new_claim
from volsched.engine import Engine
from volsched.rules.volumes import ephemeral_claim_name, pod_terminated


@dataclass(frozen=True)
class Outcome:
    """world: as it is then. engine: the same, assumptions included. node: by pod, None for one that waits. message: why it waits."""

    world: World
    engine: Engine
    node: Mapping[Key, str | None]
    message: Mapping[Key, str]

    @property
    def waiting(self) -> list[Key]:
        """Pods without a node."""
        return [key for key, node in self.node.items() if node is None]


@dataclass(frozen=True)
class Prepared:
    """A world before anybody is placed. engine: it, without the pending pods. pending: in the order in which they are tried."""

    world: World
    engine: Engine
    pending: Sequence[Pod]

    @classmethod
    def of(cls, world: World) -> Prepared:
        world, pending = world.with_homeless()
        world = world.having(_missing_ephemeral_claims(world, pending))
        engine = Engine()
        waits = {key_of(pod) for pod in pending}
        for key, obj in world.objects.items():
            if key not in waits:
                engine.upsert(obj)
        return cls(world, engine, pending)

    def without_nodes(self, names: Collection[str]) -> Prepared:
        """Without some nodes; what changes with them is all that is looked at."""
        gone = set(names)
        world, pending = self.world.without(Key("Node", "", name) for name in names).with_homeless()
        engine = self.engine.fork()
        for pod in self.world.all("Pod"):
            if pod.spec.nodeName in gone:
                engine.remove(*key_of(pod))
        for name in names:
            engine.remove("CSINode", "", name)
            engine.remove("Node", "", name)
        return Prepared(world, engine, pending)

    def settled(self) -> Outcome:
        """Place every pending pod. It takes the engine along."""
        placed, message = place(self.engine, self.pending)
        there = {key_of(pod): pod.spec.nodeName for pod in self.world.all("Pod") if not pod_terminated(pod)}
        return Outcome(self.world, self.engine, there | placed, message)


def settle(world: World) -> Outcome:
    """Place every pod that has no node, most important first, then oldest, without preempting anybody."""
    return Prepared.of(world).settled()


def place(engine: Engine, pods: Sequence[Pod]) -> tuple[dict[Key, str | None], dict[Key, str]]:
    """Decide and assume pods in this order: the node of each, and the message of those that have none."""
    batch = engine.batch(pods)
    result = engine.schedule_many(batch)
    names = result.node_names if result.scheduled else ()
    node = {key_of(pod): names[at] if at >= 0 else None for pod, at in zip(pods, result.nodes.tolist(), strict=True)}
    return node, {key_of(pods[refusal.pod]): refusal.message for refusal in result.refusals()}


def _missing_ephemeral_claims(world: World, pods: Sequence[Pod]) -> list[PersistentVolumeClaim]:
    """Claims that kube-controller-manager would make for pods with ephemeral volumes."""
    made = []
    for pod in pods:
        key = key_of(pod)
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            if volume.ephemeral is None or not uid_of(pod):
                continue
            name = ephemeral_claim_name(key.name, volume.name)
            if world.get("PersistentVolumeClaim", key.namespace, name) is None:
                made.append(new_claim(pod, name, volume.ephemeral))
    return made
