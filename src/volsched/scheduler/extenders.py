"""Scheduler extenders: processes beside the scheduler that filter, rate, bind and preempt, asked with one call each.

    nodes that fit ──filter──> fewer          candidates of preemption ──preempt──> fewer
    nodes that fit ──prioritize──> 0..10 each, times weight, times 10, added to the plugins' scores
    chosen node ──bind──> the extender binds the pod itself

An extender is asked about pods that request a resource it manages, or about all pods when it names none. What it refuses, or a failure of
the call, fails the cycle, unless it is `ignorable`. A failure of `prioritize` only costs its scores. The calls are made by an
ExtenderClient, over HTTP in `volsched.app.extenders`; a virtual clock stands still meanwhile.

The fields' names on the wire are those of upstream's Go types, which have no JSON tags; answers are read whatever their case, as Go reads
them. Source: pkg/scheduler/extender.go, schedule_one.go (findNodesThatPassExtenders, prioritizeNodes, extendersBinding),
framework/preemption/preemption.go (callExtenders), k8s.io/kube-scheduler/extender/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from lightkube.models.core_v1 import Node, Pod

from volsched.api.edit import uid_of
from volsched.api.kinds import Json, meta, to_json
from volsched.engine.plugin import BoolArray, CycleView, IntArray, Verdict
from volsched.errors import PluginError
from volsched.ports import ExtenderClient

NAME: Final = "Extender"  # what pods refused by extenders were refused by
SCALE: Final = 10  # extenders rate from 0 to 10, plugins from 0 to 100


@dataclass(frozen=True, slots=True)
class Victims:
    """What preemption would evict on one node."""

    pods: tuple[Pod, ...]
    violations: int


@dataclass(frozen=True, slots=True, eq=False)
class Extender:
    """One extender. `url` names it in messages; an empty verb is a thing it does not do. `managed`: the extended resources that make a pod
    its business, none means every pod. `sends_names`: it knows the nodes and wants names instead of objects."""

    url: str
    client: ExtenderClient
    filter_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    preempt_verb: str = ""
    weight: int = 1
    sends_names: bool = False
    ignorable: bool = False
    managed: frozenset[str] = frozenset()

    def is_interested(self, pod: Pod) -> bool:
        """Whether the pod is its business."""
        if not self.managed:
            return True
        containers = [*((pod.spec.containers if pod.spec else None) or ()), *((pod.spec.initContainers if pod.spec else None) or ())]
        named: set[str] = set()
        for container in containers:
            if container.resources is not None:
                named |= {*(container.resources.requests or ()), *(container.resources.limits or ())}
        return bool(named & self.managed)

    def _nodes(self, pod: Pod, nodes: Sequence[Node]) -> Json:
        names = [meta(node).name for node in nodes]
        listed = None if self.sends_names else {"metadata": {}, "items": [to_json(node) for node in nodes]}
        return {"Pod": to_json(pod), "Nodes": listed, "NodeNames": names if self.sends_names else None}

    def filter(self, pod: Pod, nodes: Sequence[Node]) -> tuple[list[str], dict[str, str], dict[str, str]]:
        """(nodes it lets pass, nodes it refuses with why, those it refuses for good). Raises PluginError."""
        names = [meta(node).name or "" for node in nodes]
        if not self.filter_verb:
            return names, {}, {}
        answer = _fields(self.client.call(self.filter_verb, self._nodes(pod, nodes)), self.url)
        if answer.get("error"):
            raise PluginError(str(answer["error"]))
        passed: list[str] = []
        listed, named = answer.get("nodes"), answer.get("nodenames")
        if self.sends_names and named is not None:
            passed = [str(name) for name in _list(named, self.url)]
            strange = next((name for name in passed if name not in names), None)
            if strange is not None:
                raise PluginError(f'extender "{self.url}" claims a filtered node "{strange}" which is not found in the input node list')
        elif listed is not None:
            items = _list(_fields(listed, self.url).get("items") or [], self.url)
            passed = [str(_fields(_fields(item, self.url).get("metadata"), self.url).get("name", "")) for item in items]
        failed = {str(name): str(why) for name, why in _mapping(answer.get("failednodes"), self.url).items()}
        final = {str(name): str(why) for name, why in _mapping(answer.get("failedandunresolvablenodes"), self.url).items()}
        return passed, failed, final

    def prioritize(self, pod: Pod, nodes: Sequence[Node]) -> dict[str, int]:
        """What it adds to the nodes' totals. Raises PluginError."""
        if not self.prioritize_verb:
            return {}
        answer = _list(self.client.call(self.prioritize_verb, self._nodes(pod, nodes)) or [], self.url)
        scores: dict[str, int] = {}
        for item in answer:
            rated = _fields(item, self.url)
            host, score = str(rated.get("host", "")), rated.get("score", 0)
            if not isinstance(score, int) or isinstance(score, bool):
                raise PluginError(f"extender {self.url} scored node {host} with {score!r}, which is no integer")
            scores[host] = scores.get(host, 0) + score * self.weight * SCALE
        return scores

    def bind(self, pod: Pod, node: str) -> None:
        """Have it bind the pod. Raises PluginError."""
        metadata = meta(pod)
        args = {"PodName": metadata.name, "PodNamespace": metadata.namespace or "default", "PodUID": uid_of(pod), "Node": node}
        answer = _fields(self.client.call(self.bind_verb, args), self.url)
        if answer.get("error"):
            raise PluginError(str(answer["error"]))

    def preempt(self, pod: Pod, candidates: Mapping[str, Victims], pods_on: Callable[[str], Sequence[Pod]]) -> dict[str, Victims]:
        """The candidates it leaves, with the victims it wants. Raises PluginError."""

        def told(victims: Victims) -> Json:
            pods = [{"UID": uid_of(item)} if self.sends_names else to_json(item) for item in victims.pods]
            return {"Pods": pods, "NumPDBViolations": victims.violations}

        listed = {node: told(victims) for node, victims in candidates.items()}
        full, meta_only = (None, listed) if self.sends_names else (listed, None)
        args = {"Pod": to_json(pod), "NodeNameToVictims": full, "NodeNameToMetaVictims": meta_only}
        answer = _fields(self.client.call(self.preempt_verb, args), self.url)
        left: dict[str, Victims] = {}
        for node, value in _mapping(answer.get("nodenametometavictims"), self.url).items():
            item = _fields(value, self.url)
            by_uid = {uid_of(other): other for other in pods_on(node)}
            victims = []
            for entry in _list(item.get("pods") or [], self.url):
                uid = str(_fields(entry, self.url).get("uid", ""))
                if uid not in by_uid:
                    claims = f"claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node"
                    raise PluginError(f"extender: {self.url} {claims}")
                victims.append(by_uid[uid])
            left[node] = Victims(tuple(victims), int(item.get("numpdbviolations") or 0))
        return left


def _fields(value: Any, url: str) -> dict[str, Any]:
    """An answer's fields by lower-case name: Go matches them whatever their case."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PluginError(f"extender {url} answered {type(value).__name__} where an object was expected")
    return {str(key).lower(): item for key, item in value.items()}


def _mapping(value: Any, url: str) -> dict[str, Any]:
    """A map, whose keys are names and keep their case."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PluginError(f"extender {url} answered {type(value).__name__} where a map was expected")
    return value


def _list(value: Any, url: str) -> list[Any]:
    if not isinstance(value, list):
        raise PluginError(f"extender {url} answered {type(value).__name__} where a list was expected")
    return value


class ExtenderChain:
    """All extenders as one last plugin of the engine: it filters the nodes that a search has come up with, and adds to their scores."""

    name = NAME
    weight = 1
    late_filter = True  # after the search has ended, and errors are told as they are
    score_max = None  # totals, not percentages

    def __init__(self, extenders: Sequence[Extender], node: Callable[[str], Node | None]) -> None:
        self._extenders = tuple(extenders)
        self._node = node

    def _objects(self, cycle: CycleView, nodes: BoolArray) -> list[Node]:
        found = (self._node(cycle.node_names[place]) for place in np.flatnonzero(nodes))
        return [node for node in found if node is not None]

    def filter(self, cycle: CycleView, pod: Pod, nodes: BoolArray) -> list[Verdict]:
        """The extenders in turn, each over what the one before left. Nodes that one drops without a word are refused without a reason."""
        verdicts: list[Verdict] = []
        alive = nodes.copy()
        for extender in self._extenders:
            if not alive.any():
                break
            if not extender.filter_verb or not extender.is_interested(pod):
                continue
            try:
                passed, failed, final = extender.filter(pod, self._objects(cycle, alive))
            except PluginError:
                if extender.ignorable:
                    continue
                raise
            kept = frozenset(passed)
            for place in np.flatnonzero(alive):
                name = cycle.node_names[place]
                if name in kept:
                    continue
                alive[place] = False
                keep = cycle.everywhere()
                keep[place] = False
                why = final.get(name, failed.get(name))
                verdicts.append(Verdict(keep, why, name not in final) if why is not None else Verdict(keep, "", False))
        return verdicts

    def score(self, cycle: CycleView, pod: Pod, nodes: BoolArray) -> IntArray:
        """What the extenders add. A node that is alone needs no rating."""
        totals = np.zeros(len(nodes), dtype=np.int64)
        if np.count_nonzero(nodes) < 2:
            return totals
        for extender in self._extenders:
            if not extender.prioritize_verb or not extender.is_interested(pod):
                continue
            try:
                rated = extender.prioritize(pod, self._objects(cycle, nodes))
            except PluginError:
                continue
            for place in np.flatnonzero(nodes):
                totals[place] += rated.get(cycle.node_names[place], 0)
        return totals
