"""Runs the readable scheduling scenarios: commands, `----`, and what the scheduler's cache and engine answered.

    # comments tell the story                           a blank line ends a block; everything a file has said so far stays in force
    node n1 zone=a cpu=4 limit=2                        limit: attachable volumes of the default driver; taint=key:NoSchedule unschedulable
    driver csi.example.com capacity                     capacity: its classes want CSIStorageCapacity objects
    class fast wait allowed=a,b provisioner=…           without wait: Immediate; `local` for kubernetes.io/no-provisioner
    pv pv-1 size=10Gi zone=a node=n1 class=fast claim=default/data
    claim data size=5Gi class=fast modes=RWOP volume=pv-1 reserved=pv-1        volume: bound to it; reserved: only named
    capacity fast-a class=fast size=10Gi zone=a max=5Gi
    attachment va-1 node=n1 volume=pv-1
    pod default/other node=n1 claims=data cpu=1         a pod that is there
    schedule default/web claims=data,logs cpu=1 zone=a  decide, and assume on the best node
    decide …                                            the same without assuming
    score …                                             the same with the weighted scores of every node
    confirm default/web                                 the API server says so: volumes and claims bound, the pod on its node
    forget default/web                                  the binding failed
    delete pv pv-1

Answers: `filter Plugin: -n1 -n2 (reason)`, `prefilter Plugin: reason`, `error text`, `fits n1 n2`, `bind claim -> volume`,
`provision claim with capacity`, `assume pod -> node`, and the message of a pod that fits nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightkube.models.core_v1 import Pod

from tests.builders import (
    CLASS,
    DRIVER,
    make_attachment,
    make_capacity,
    make_class,
    make_csidriver,
    make_csinode,
    make_node,
    make_pod,
    make_pv,
    make_pvc,
    make_taint,
)
from volsched.api.edit import with_metadata, with_spec
from volsched.api.kinds import kind_named
from volsched.cache import Reservation, SchedulerCache
from volsched.engine.decision import Decision, SchedulingEngine

ZONE = "topology.kubernetes.io/zone"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
MODES = {"RWO": "ReadWriteOnce", "ROX": "ReadOnlyMany", "RWX": "ReadWriteMany", "RWOP": "ReadWriteOncePod"}
SEPARATOR = "----"


class Block(NamedTuple):
    """One block of a file: its comments and commands as written, and what it expects."""

    commands: list[str]
    expected: list[str]

    def text(self, answer: Iterable[str]) -> str:
        return "\n".join([*self.commands, SEPARATOR, *answer])


class Options(dict[str, str]):
    """`key=value` and bare words of a command."""

    def values_of(self, key: str, default: str = "") -> list[str]:
        return [item for item in self.get(key, default).split(",") if item]


def read_blocks(path: Path) -> list[Block]:
    """The blocks of a file. Raises ValueError for one without a separator."""
    blocks = []
    for text in path.read_text(encoding="utf-8").strip().split("\n\n"):
        lines = text.splitlines()
        if SEPARATOR not in lines:
            raise ValueError(f"{path.name}: a block has no {SEPARATOR}: {lines[0]}")
        at = lines.index(SEPARATOR)
        blocks.append(Block(lines[:at], lines[at + 1 :]))
    return blocks


def write_blocks(path: Path, blocks: Iterable[str]) -> None:
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


class Scene:
    """The cluster of one file."""

    def __init__(self, engine: SchedulingEngine) -> None:
        self.cache = SchedulerCache(engine)
        self._version = 0
        self._held: dict[str, Reservation] = {}
        self._commands = {
            "node": self._node,
            "driver": self._driver,
            "class": self._class,
            "pv": self._pv,
            "claim": self._claim,
            "capacity": self._capacity,
            "attachment": self._attachment,
            "pod": self._pod,
            "schedule": self._schedule,
            "decide": self._decide,
            "score": self._score,
            "confirm": self._confirm,
            "forget": self._forget,
            "delete": self._delete,
        }

    def run(self, commands: Iterable[str]) -> list[str]:
        """What a block's commands answer."""
        answer: list[str] = []
        for line in commands:
            words = line.split("#", 1)[0].split()
            if words:
                answer += self._commands[words[0]](words[1], Options(_pair(word) for word in words[2:])) or ()
        return answer

    def _add(self, obj: Any) -> None:
        self._version += 1
        name = obj.metadata.name if not obj.metadata.namespace else f"{obj.metadata.namespace}/{obj.metadata.name}"
        uid = obj.metadata.uid or f"uid-{name}"
        self.cache.add(with_metadata(obj, uid=uid, resourceVersion=str(self._version)))

    # what there is

    def _node(self, name: str, options: Options) -> None:
        taints = [make_taint(*value.split(":")[:1], effect=value.split(":")[1]) for value in options.values_of("taint")]
        cpu = options.get("cpu", "8")
        self._add(make_node(name, zone=options.get("zone"), cpu=cpu, taints=taints, unschedulable="unschedulable" in options or None))
        limit = int(options["limit"]) if "limit" in options else None
        self._add(make_csinode(name, drivers=dict.fromkeys(options.values_of("drivers", DRIVER), limit)))

    def _driver(self, name: str, options: Options) -> None:
        self._add(make_csidriver(name, storage_capacity="capacity" in options))

    def _class(self, name: str, options: Options) -> None:
        allowed = [{ZONE: options.values_of("allowed")}] if "allowed" in options else []
        provisioner = NO_PROVISIONER if "local" in options else options.get("provisioner", DRIVER)
        self._add(make_class(name, provisioner=provisioner, wait="wait" in options, allowed=allowed))

    def _pv(self, name: str, options: Options) -> None:
        claim = options.get("claim")
        pv = make_pv(
            name,
            size=options.get("size", "10Gi"),
            storage_class=options.get("class", CLASS),
            modes=_modes(options),
            zone=options.get("zone"),
            node=options.get("node"),
            local="node" in options,
            driver=options.get("driver", DRIVER),
            claim=claim,
            claim_uid=f"uid-{claim}" if claim else None,
            phase=options.get("phase", "Bound" if claim else "Available"),
        )
        self._add(pv)

    def _claim(self, name: str, options: Options) -> None:
        claim = make_pvc(
            name,
            size=options.get("size", "10Gi"),
            storage_class=options.get("class", CLASS),
            modes=_modes(options),
            bound_to=options.get("volume"),
            volume=options.get("reserved"),
        )
        self._add(claim)

    def _capacity(self, name: str, options: Options) -> None:
        where = {ZONE: options["zone"]} if "zone" in options else {}
        size, largest = options.get("size", "100Gi"), options.get("max")
        self._add(make_capacity(name, storage_class=options.get("class", CLASS), capacity=size, maximum=largest, where=where))

    def _attachment(self, name: str, options: Options) -> None:
        self._add(make_attachment(name, node=options["node"], volume=options["volume"], attached=True))

    def _pod(self, name: str, options: Options) -> None:
        self._add(with_spec(self._made(name, options), nodeName=options["node"]))

    def _delete(self, kind: str, options: Options) -> None:
        (name,) = options
        row = kind_named(kind)
        assert row is not None, f"no kind {kind}"
        namespace, _, plain = name.rpartition("/")
        found = self.cache.get(row.name, (namespace or "default") if row.namespaced else "", plain)
        assert found is not None, f"there is no {kind} {name}"
        self.cache.delete(found)

    @staticmethod
    def _made(name: str, options: Options) -> Pod:
        namespace, _, plain = name.rpartition("/")
        selector = {ZONE: options["zone"]} if "zone" in options else None
        return make_pod(
            plain,
            namespace=namespace or "default",
            claims=options.values_of("claims"),
            cpu=options.get("cpu"),
            node_selector=selector,
            uid=f"uid-{name}",
        )

    # what is decided

    def _decision(self, name: str, options: Options) -> Decision:
        return self.cache.decide(self.cache._complete(self._made(name, options)))

    def _decide(self, name: str, options: Options) -> list[str]:
        decision = self._decision(name, options)
        lines = list(_told(decision))
        return lines if decision.node is None else [*lines, f"fits {' '.join(sorted(decision.feasible()))}"]

    def _score(self, name: str, options: Options) -> list[str]:
        decision = self._decision(name, options)
        lines = list(_told(decision))
        for node in sorted(decision.feasible()):
            parts = " ".join(f"{plugin}={value}" for plugin, value in decision.scores()[node].items() if value)
            lines.append(f"score {node}: {decision.totals()[node]} ({parts})")
        return lines

    def _schedule(self, name: str, options: Options) -> list[str]:
        decision = self._decision(name, options)
        lines = list(_told(decision))
        if decision.node is not None:
            plan = decision.volumes(decision.node)
            lines += [f"bind {item.claim} -> {item.volume}" for item in plan.bind]
            lines += [f"provision {item.claim}" + (f" with {item.capacity}" if item.capacity else "") for item in plan.provision]
            self._held[name] = self.cache.assume(decision.pod, decision.node, decision=decision)
            lines.append(f"assume {name} -> {decision.node}")
        return lines

    def _forget(self, name: str, options: Options) -> None:
        self.cache.forget(self._held.pop(name))

    def _confirm(self, name: str, options: Options) -> None:
        """What the API server says after the binding: each claim bound, a provisioned one to a volume where its pod is."""
        held = self._held.pop(name)
        node = self.cache.get("Node", "", held.node)
        zone = (node.metadata.labels or {}).get(ZONE)
        for _, _, claim in _claims_of(self.cache, held.pod):
            volume = claim.spec.volumeName
            assumed = next((pv for pv in self.cache.volumes.all() if _is_for(pv, claim)), None)
            key = f"{claim.metadata.namespace}/{claim.metadata.name}"
            if volume:
                continue
            if assumed is None:
                volume = f"pvc-{claim.metadata.name}"
                size, storage_class = claim.spec.resources.requests["storage"], claim.spec.storageClassName
                self._add(make_pv(volume, size=size, storage_class=storage_class, zone=zone, claim=key, claim_uid=f"uid-{key}"))
            else:
                volume = assumed.metadata.name
                self._add(with_metadata(assumed, resourceVersion=None))
            bound = make_pvc(
                claim.metadata.name,
                size=claim.spec.resources.requests["storage"],
                storage_class=claim.spec.storageClassName,
                modes=claim.spec.accessModes,
                bound_to=volume,
            )
            self._add(bound)
        self._add(held.pod)


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _modes(options: Options) -> list[str]:
    return [MODES[item] for item in options.values_of("modes", "RWO")]


def _claims_of(cache: SchedulerCache, pod: Pod) -> Iterator[tuple[str, str, Any]]:
    for volume in pod.spec.volumes or [] if pod.spec else []:
        if volume.persistentVolumeClaim is not None:
            name = volume.persistentVolumeClaim.claimName
            namespace = (pod.metadata.namespace if pod.metadata else None) or "default"
            yield namespace, name, cache.get("PersistentVolumeClaim", namespace, name)


def _is_for(pv: Any, claim: Any) -> bool:
    reference = pv.spec.claimRef
    return reference is not None and (reference.namespace, reference.name) == (claim.metadata.namespace, claim.metadata.name)


def _told(decision: Decision) -> Iterator[str]:
    """The verdicts of a decision, nodes of one reason on one line."""
    if decision.error is not None:
        yield f"error {decision.error}"
        return
    if decision.prefilter is not None:
        yield f"prefilter {decision.prefilter.plugin}: {', '.join(decision.prefilter.reasons)}"
        return
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    rejected: Mapping[str, Any] = decision.rejected()
    for node in sorted(rejected):
        groups.setdefault((rejected[node].plugin, rejected[node].reasons), []).append(node)
    for (plugin, reasons), nodes in sorted(groups.items()):
        yield f"filter {plugin}: {' '.join(f'-{node}' for node in nodes)} ({', '.join(reasons)})"
    if decision.node is None:
        yield decision.message()
