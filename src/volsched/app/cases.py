"""Verdicts on written-down cases: a cluster and a pod, or a cluster and pods one after the other.

    {id, objects, pod}              -> what every node says, scores, the best nodes, the message
    {id, objects, pod, config}      -> the same by a profile of this KubeSchedulerConfiguration, the one that the pod names
    {id, objects, steps: [{claims, pod}]} -> per step the node taken and its volumes; each step's outcome is applied before the next

Cases hold objects as a user submits them: defaults are applied here, validation is not, so that a case may ask what happens with objects an
API server would have refused. The form is that of the recorded decisions, so the two can be compared line by line.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from lightkube.models.core_v1 import (
    CSIPersistentVolumeSource,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeSpec,
    PersistentVolumeStatus,
    Pod,
    VolumeNodeAffinity,
)
from lightkube.models.meta_v1 import ObjectMeta

from volsched.api.defaults import with_defaults
from volsched.api.edit import labels_of, replace, uid_of, with_annotations, with_spec
from volsched.api.kinds import Json, Key, Object, key_of, meta
from volsched.api.manifest import from_manifest
from volsched.engine.decision import Decision, Rejection, SchedulingEngine
from volsched.engine.profile import EngineProfile
from volsched.errors import EngineError, InputError
from volsched.rules.selectors import IN
from volsched.rules.volumes import ANN_BIND_COMPLETED, ANN_BOUND_BY_CONTROLLER, bound_to, class_of, requested_storage
from volsched.scheduler.configuration import read_configuration
from volsched.scheduler.configuration.profiles import engine_profiles

_GZIP_MAGIC: Final = b"\x1f\x8b"
_PREFILTER_FAILURE: Final = re.compile(r'running PreFilter plugin "([^"]*)": ')


def read_lines(source: Path | BinaryIO, *, name: str | None = None) -> Iterator[dict[str, Json]]:
    """Cases of a JSON lines file or stream, gzipped or plain, one at a time; empty lines are skipped.

    Raises InputError at the first line that is no case; those before it have been given out by then.
    """
    for _, case in read_numbered(source, name=name):
        yield case


def read_numbered(source: Path | BinaryIO, *, name: str | None = None) -> Iterator[tuple[int, dict[str, Json]]]:
    """Cases as `read_lines` gives them, each with the number of its line."""
    label = name or (str(source) if isinstance(source, Path) else "standard input")
    try:
        stream: BinaryIO = source.open("rb") if isinstance(source, Path) else source
    except OSError as problem:
        raise InputError(f"cannot be read: {problem.strerror or problem}", source=label) from problem
    try:
        number = 0
        try:
            for number, line in enumerate(_decompressed(stream), start=1):
                if line.strip():
                    yield number, _case_of(line, label, number)
        except (OSError, EOFError, zlib.error) as problem:
            raise InputError(f"cannot be read on: {problem}", source=label, line=number + 1) from problem
    finally:
        if isinstance(source, Path):
            stream.close()


def _decompressed(stream: BinaryIO) -> Iterable[bytes]:
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    head = buffered.peek(2)[:2] if isinstance(buffered, io.BufferedReader) else b""
    return gzip.GzipFile(fileobj=buffered) if head == _GZIP_MAGIC else buffered


def _case_of(line: bytes, label: str, number: int) -> dict[str, Json]:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InputError(f"not JSON: {problem}", source=label, line=number) from problem
    if not isinstance(value, dict):
        raise InputError("a case has to be an object with id, objects and pod or steps", source=label, line=number)
    wanted = [("id", str), ("objects", list), ("steps", list) if "steps" in value else ("pod", dict)]
    if value.get("config") is not None:
        wanted.append(("config", dict))
        if "steps" in value:
            raise InputError("a case with steps takes no config", source=label, line=number, path="config")
    for field, kind in wanted:
        if not isinstance(value.get(field), kind):
            shape = {str: "a text", list: "a list", dict: "an object"}[kind]
            raise InputError(f"a case needs {field}, {shape}", source=label, line=number, path=field)
    for index, step in enumerate(value.get("steps") or ()):
        if not isinstance(step, dict) or not isinstance(step.get("pod"), dict) or not isinstance(step.get("claims") or [], list):
            raise InputError("a step needs claims, a list, and pod, an object", source=label, line=number, path=f"steps[{index}]")
    return value


def _object(value: Json, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise InputError("not an object", path=path)
    return with_defaults(from_manifest(value, path_prefix=path, lenient=True))


def _pod(value: Json, path: str) -> Pod:
    pod = _object(value, path)
    if not isinstance(pod, Pod):
        raise InputError("not a Pod", path=f"{path}.kind")
    return pod


def verdict(case: Mapping[str, Json], make_engine: Callable[[], SchedulingEngine]) -> dict[str, Json]:
    """The decision on a case, or the outcomes of its steps. Raises InputError for an object that cannot be decoded, and for a configuration
    that is none or names plugins that are not built in."""
    engine = make_engine()
    if "steps" in case:
        steps = Steps(engine, _take_objects(case, engine))
        return {"id": case["id"], "steps": [steps.take(step, f"steps[{index}]") for index, step in enumerate(case["steps"])]}
    pod = read_case(case, engine)
    profile = profile_of(case, pod)
    # every node is looked at, whatever the configuration says
    wide = None if profile is None else dataclasses.replace(profile, percentage_of_nodes_to_score=100)
    return {"id": case["id"], **decision_fields(engine.decide(pod, profile=wide))}


def read_case(case: Mapping[str, Json], engine: SchedulingEngine) -> Pod:
    """Put a case's objects into an engine; answers the pod to decide on. Raises InputError for an object that cannot be decoded."""
    _take_objects(case, engine)
    return _pod(case["pod"], "pod")


def profile_of(case: Mapping[str, Json], pod: Pod) -> EngineProfile | None:
    """The profile that the pod names in the case's configuration, None when there is no configuration. Raises InputError."""
    if case.get("config") is None:
        return None
    try:
        profiles = engine_profiles(read_configuration(json.dumps(case["config"]), warn=_unused))
    except InputError as problem:
        where = f"config.{problem.path}" if problem.path else "config"
        raise InputError(problem.message, path=where) from problem
    name = (pod.spec.schedulerName if pod.spec else None) or ""
    if name not in profiles:
        raise InputError(f"no profile of config has this name; there are {', '.join(profiles)}", path="pod.spec.schedulerName")
    return profiles[name]


def _unused(_text: str) -> None:
    """Arguments of plugins that take none change no decision."""


def _take_objects(case: Mapping[str, Json], engine: SchedulingEngine) -> dict[Key, Object]:
    objects: dict[Key, Object] = {}
    for index, value in enumerate(case["objects"]):
        obj = _object(value, f"objects[{index}]")
        objects[key_of(obj)] = obj
        engine.upsert(obj)
    return objects


# One decision -------------------------------------------------------------------------------------------------------------------------


def decision_fields(decision: Decision) -> dict[str, Json]:
    """A decision as JSON. Scores are there even where a single node fits; if they cannot be worked out, the case counts as failed."""
    if decision.error is not None:
        return _failure(decision.error)
    if decision.prefilter is not None:
        return {"prefilter": _rejection(decision.prefilter), "message": decision.message()}
    feasible = decision.feasible()
    fields: dict[str, Json] = {}
    if feasible:
        try:
            fields = {"scores": decision.scores(), "total": decision.totals(), "best": decision.best()}
        except EngineError as problem:
            return _failure(str(problem))
    plans = {node: _volumes(decision, node) for node in sorted(feasible)}
    answer: dict[str, Json] = {
        "rejected": {node: _rejection(rejection) for node, rejection in sorted(decision.rejected().items())},
        "feasible": sorted(feasible),
        "volumes": {node: plan for node, plan in plans.items() if plan},
        **fields,
    }
    if not feasible:
        answer["message"] = decision.message()
    return {field: value for field, value in answer.items() if value}


def _failure(text: str) -> dict[str, Json]:
    """A cycle that failed. Recordings keep a PreFilter that failed as its status, and any other failure as an error."""
    found = _PREFILTER_FAILURE.match(text)
    return {"prefilter": {"plugin": found.group(1), "code": "Error", "reasons": [text]}} if found else {"error": text}


def _rejection(rejection: Rejection) -> dict[str, Json]:
    """A rejection as JSON; an empty node set is refused by no plugin in particular."""
    fields = {"plugin": rejection.plugin, "code": rejection.code, "reasons": list(rejection.reasons)}
    return {field: value for field, value in fields.items() if value}


def _short(claim: str) -> str:
    """A claim's name without its namespace, which is the pod's."""
    return claim.partition("/")[2]


def _volumes(decision: Decision, node: str) -> dict[str, Json]:
    plan = decision.volumes(node)
    fields = {
        "bind": [{"pvc": _short(item.claim), "pv": item.volume} for item in plan.bind],
        "provision": [_short(item.claim) for item in plan.provision],
    }
    return {field: value for field, value in fields.items() if value}


# Pods one after the other -------------------------------------------------------------------------------------------------------------


class Steps:
    """A cluster to which each step's outcome is applied as if every controller had finished its work.

    `objects` are those the engine holds, by key.
    """

    def __init__(self, engine: SchedulingEngine, objects: dict[Key, Object]) -> None:
        self._engine = engine
        self._objects = objects

    def take(self, step: Mapping[str, Json], path: str) -> dict[str, Json]:
        """Submit the step's claims, decide its pod, apply the outcome; answers the outcome."""
        for index, value in enumerate(step.get("claims") or ()):
            self._submit(_object(value, f"{path}.claims[{index}]"))
        pod = _pod(step["pod"], f"{path}.pod")
        decision = self._engine.decide(pod)
        if decision.error is not None:
            return _failure(decision.error)
        if decision.prefilter is not None:
            return {"prefilter": _rejection(decision.prefilter), "message": decision.message()}
        if not decision.feasible():
            return {"message": decision.message()}
        best = decision.best()
        node = min(best)
        plan = decision.volumes(node)
        for binding in plan.bind:
            volume = self._objects[Key("PersistentVolume", "", binding.volume)]
            assert isinstance(volume, PersistentVolume)
            self._bind(self._claim(binding.claim), volume)
        for provisioning in plan.provision:
            claim = self._claim(provisioning.claim)
            self._bind(claim, self._provisioned(claim, node))
        self._submit(with_spec(pod, nodeName=node))
        return {
            "node": node,
            "best": best,
            "bind": [{"pvc": _short(item.claim), "pv": item.volume} for item in plan.bind],
            "provision": [_short(item.claim) for item in plan.provision],
        }

    def _submit(self, obj: Object) -> None:
        self._objects[key_of(obj)] = obj
        self._engine.upsert(obj)

    def _claim(self, name: str) -> PersistentVolumeClaim:
        namespace, _slash, short = name.partition("/")
        claim = self._objects[Key("PersistentVolumeClaim", namespace, short)]
        assert isinstance(claim, PersistentVolumeClaim)
        return claim

    def _bind(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        """Make claim and volume a bound pair, as the PV controller's four writes do."""
        metadata = meta(claim)
        if not bound_to(volume, claim):
            volume = with_annotations(volume, {ANN_BOUND_BY_CONTROLLER: "yes"})
        reference = ObjectReference(
            apiVersion="v1",
            kind="PersistentVolumeClaim",
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
        )
        volume = with_spec(volume, claimRef=reference)
        self._submit(replace(volume, status=PersistentVolumeStatus(phase="Bound")))
        claim = with_spec(claim, volumeName=meta(volume).name)
        claim = with_annotations(claim, {ANN_BIND_COMPLETED: "yes", ANN_BOUND_BY_CONTROLLER: "yes"})
        status = claim.status
        self._submit(replace(claim, status=replace(status, phase="Bound") if status is not None else None))

    def _provisioned(self, claim: PersistentVolumeClaim, node: str) -> PersistentVolume:
        """What the class's driver makes for the claim: reachable where the topology keys it reports for the node have the node's values."""
        class_name = class_of(claim)
        storage_class: Any = self._objects[Key("StorageClass", "", class_name)]
        driver: str = storage_class.provisioner
        name = f"pvc-{uid_of(claim)}"
        requirements = [NodeSelectorRequirement(key=key, operator=IN, values=[value]) for key, value in self._driver_topology(driver, node)]
        terms = [NodeSelectorTerm(matchExpressions=requirements)]
        return PersistentVolume(
            apiVersion="v1",
            kind="PersistentVolume",
            metadata=ObjectMeta(name=name, uid=f"{name}-uid"),
            spec=PersistentVolumeSpec(
                capacity={"storage": str(requested_storage(claim))},
                accessModes=claim.spec.accessModes if claim.spec else None,
                volumeMode=claim.spec.volumeMode if claim.spec else None,
                volumeAttributesClassName=claim.spec.volumeAttributesClassName if claim.spec else None,
                storageClassName=class_name,
                csi=CSIPersistentVolumeSource(driver=driver, volumeHandle=name),
                nodeAffinity=VolumeNodeAffinity(required=NodeSelector(nodeSelectorTerms=terms)) if requirements else None,
            ),
        )

    def _driver_topology(self, driver: str, node: str) -> Sequence[tuple[str, str]]:
        """(key, value) of the driver's topology on the node, as far as the node carries the labels."""
        csi_node: Any = self._objects.get(Key("CSINode", "", node))
        labels = labels_of(self._objects[Key("Node", "", node)])
        drivers = (csi_node.spec.drivers if csi_node is not None and csi_node.spec is not None else None) or ()
        keys = next((item.topologyKeys or () for item in drivers if item.name == driver), ())
        return [(key, labels[key]) for key in keys if key in labels]
