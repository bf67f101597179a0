"""What the API server does to an object on its way in, before it is validated: the admission plugins and write strategies that matter here.

    create   status reset to the kind's first state, then by kind
               Pod                     Priority, DefaultTolerationSeconds, PodTopologyLabels, scheduling gates; QoS class once defaulted
               PersistentVolumeClaim   DefaultStorageClass, pvc-protection
               PersistentVolume        pv-protection, time of the phase
               VolumeAttributesClass   vac-protection
               Namespace               finalizer of its content
    update   claims that grow, time of a PV's phase, the QoS class stays
    bind     nodeName, PodScheduled, topology labels, nomination cleared

What needs no other object and no time is defaulting (`volsched.api.defaults`) and happens after this. Every function is pure: an object in,
a changed copy out, other objects through `Lookup`. Refusals are raised as ForbiddenError.
Source: kubernetes plugin/pkg/admission/{priority,defaulttolerationseconds,podtopologylabels,storage}, pkg/registry/core/*/strategy.go.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from lightkube.models.core_v1 import (
    Namespace,
    NamespaceSpec,
    NamespaceStatus,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeStatus,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
    Toleration,
)
from lightkube.models.scheduling_v1 import PriorityClass
from lightkube.models.storage_v1 import StorageClass, VolumeAttributesClass

from volsched.api import quantity
from volsched.api.edit import annotations_of, labels_of, replace, with_finalizers, with_labels, with_spec
from volsched.api.kinds import Key, Object, key_of, kind_of, meta
from volsched.store import refusals
from volsched.store.qos import qos_class

PVC_PROTECTION: Final = "kubernetes.io/pvc-protection"
PV_PROTECTION: Final = "kubernetes.io/pv-protection"
VAC_PROTECTION: Final = "kubernetes.io/vac-protection"
TOPOLOGY_LABELS: Final = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
BETA_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS_ANNOTATIONS: Final = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
# Classes every cluster has, whether or not their objects are there. Source: pkg/apis/scheduling/types.go.
SYSTEM_PRIORITIES: Final[Mapping[str, int]] = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
TOLERATION_S: Final = 300
_TOLERATED_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_PREEMPT: Final = "PreemptLowerPriority"
_LONG_AGO: Final = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)


class Lookup(Protocol):
    """Other objects of the store."""

    def get(self, key: Key) -> Any | None: ...

    def of_kind(self, kind: str, namespace: str | None = None) -> Iterable[Any]: ...


def on_create(obj: Any, *, now: datetime.datetime, lookup: Lookup) -> Any:
    """What a user creates, before defaulting: only what the user said may contradict a class."""
    strategy = _ON_CREATE.get(type(obj))
    if strategy is not None:
        return strategy(obj, now, lookup)
    # a node registers itself with its status; other kinds start without one
    return replace(obj, status=None) if kind_of(obj).status and kind_of(obj).name != "Node" else obj


def on_defaulted(obj: Any) -> Any:
    """What is created, after defaulting: what is derived from the whole of it."""
    if isinstance(obj, Pod) and obj.spec is not None:
        return replace(obj, status=replace(obj.status or PodStatus(), qosClass=qos_class(obj.spec)))
    return obj


def on_update(old: Any, new: Any, *, now: datetime.datetime, lookup: Lookup) -> Any:
    """The object as it goes on to validation when it is changed."""
    if isinstance(new, PersistentVolume):
        return _stamp_phase(old, new, now)
    if isinstance(new, PersistentVolumeClaim):
        _check_growth(old, new, lookup)
    elif isinstance(new, Pod) and old.status is not None and new.status is not None and new.status.qosClass is None:
        return replace(new, status=replace(new.status, qosClass=old.status.qosClass))
    return new


# Pods ---------------------------------------------------------------------------------------------------------------------------------


def _create_pod(pod: Pod, now: datetime.datetime, lookup: Lookup) -> Pod:
    spec = pod.spec or PodSpec(containers=[])  # empty as Kubernetes has it, for validation to refuse
    spec = _with_priority(pod, spec, lookup)
    spec = _with_default_tolerations(spec)
    conditions = None
    if spec.schedulingGates:
        gated = "Scheduling is blocked due to non-empty scheduling gates"
        conditions = [PodCondition(type="PodScheduled", status="False", reason="SchedulingGated", message=gated, lastTransitionTime=now)]
    pod = replace(pod, spec=spec, status=PodStatus(phase="Pending", conditions=conditions))
    return with_topology_labels(pod, spec.nodeName, lookup) if spec.nodeName else pod


def _with_priority(pod: Pod, spec: PodSpec, lookup: Lookup) -> PodSpec:
    name, priority, policy = _priority_of(pod, spec.priorityClassName or "", lookup)
    if spec.priority is not None and spec.priority != priority:
        raise refusals.forbidden(
            kind_of(pod),
            key_of(pod),
            f"the integer value of priority ({spec.priority}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name",
        )
    if spec.preemptionPolicy is not None and spec.preemptionPolicy != policy:
        raise refusals.forbidden(
            kind_of(pod),
            key_of(pod),
            f"the string value of PreemptionPolicy ({spec.preemptionPolicy}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name",
        )
    return replace(spec, priorityClassName=name or None, priority=priority, preemptionPolicy=policy)


def _priority_of(pod: Pod, name: str, lookup: Lookup) -> tuple[str, int, str]:
    """(class name, priority, preemption policy); without a class the global default one, the lowest when there are several."""
    if not name:
        defaults = [cls for cls in lookup.of_kind("PriorityClass") if cls.globalDefault]
        chosen = min(defaults, key=lambda cls: (cls.value or 0, meta(cls).name or ""), default=None)
        if chosen is None:
            return "", 0, _PREEMPT
        return meta(chosen).name or "", chosen.value or 0, chosen.preemptionPolicy or _PREEMPT
    found: PriorityClass | None = lookup.get(Key("PriorityClass", "", name))
    if found is not None:
        return name, found.value or 0, found.preemptionPolicy or _PREEMPT
    if name in SYSTEM_PRIORITIES:
        return name, SYSTEM_PRIORITIES[name], _PREEMPT
    raise refusals.forbidden(kind_of(pod), key_of(pod), f"no PriorityClass with name {name} was found")


def _with_default_tolerations(spec: PodSpec) -> PodSpec:
    tolerations = list(spec.tolerations or ())
    for taint in _TOLERATED_TAINTS:
        # whether the pod says anything about this taint; the operator and value do not matter to upstream either
        if not any(own.key in (None, "", taint) and own.effect in (None, "", "NoExecute") for own in spec.tolerations or ()):
            tolerations.append(Toleration(key=taint, operator="Exists", effect="NoExecute", tolerationSeconds=TOLERATION_S))
    return replace(spec, tolerations=tolerations or None)


def with_topology_labels(pod: Pod, node_name: str, lookup: Lookup) -> Pod:
    """The pod with its node's zone and region labels, overwriting its own; a node that is not known has none."""
    node = lookup.get(Key("Node", "", node_name))
    if node is None:
        return pod
    copied = {key: value for key, value in labels_of(node).items() if key in TOPOLOGY_LABELS}
    return with_labels(pod, copied) if copied else pod


def bound(pod: Pod, node_name: str, *, now: datetime.datetime, lookup: Lookup) -> Pod:
    """The pod after its one Binding: the state that one API write makes (spec/scheduling.md 9.10)."""
    status = pod.status or PodStatus()
    conditions = list(status.conditions or ())
    place = next((index for index, condition in enumerate(conditions) if condition.type == "PodScheduled"), None)
    since = conditions[place].lastTransitionTime if place is not None and conditions[place].status == "True" else now
    condition = PodCondition(type="PodScheduled", status="True", lastTransitionTime=since)
    if place is None:
        conditions.append(condition)
    else:
        conditions[place] = condition
    pod = with_spec(pod, nodeName=node_name)
    pod = replace(pod, status=replace(status, conditions=conditions, nominatedNodeName=None))
    return with_topology_labels(pod, node_name, lookup)


# Claims and volumes -------------------------------------------------------------------------------------------------------------------


def _create_claim(claim: PersistentVolumeClaim, _now: datetime.datetime, lookup: Lookup) -> PersistentVolumeClaim:
    spec = claim.spec or PersistentVolumeClaimSpec()  # empty as Kubernetes has it, for validation to refuse
    if spec.storageClassName is None and BETA_CLASS_ANNOTATION not in annotations_of(claim):
        default = default_class(lookup.of_kind("StorageClass"))
        if default is not None:
            spec = replace(spec, storageClassName=meta(default).name)
    claim = replace(claim, spec=spec, status=PersistentVolumeClaimStatus(phase="Pending"))
    return with_finalizers(claim, add=[PVC_PROTECTION])


def default_class(classes: Iterable[StorageClass]) -> StorageClass | None:
    """The default StorageClass: of several the newest, of those the first by name."""
    marked = [cls for cls in classes if any(annotations_of(cls).get(key) == "true" for key in DEFAULT_CLASS_ANNOTATIONS)]
    marked.sort(key=lambda cls: meta(cls).name or "")
    return max(marked, key=lambda cls: meta(cls).creationTimestamp or _LONG_AGO, default=None)


def _check_growth(old: PersistentVolumeClaim, new: PersistentVolumeClaim, lookup: Lookup) -> None:
    """Admission PersistentVolumeClaimResize: only a bound claim of a class that allows it may ask for more."""
    before, after = _request(old), _request(new)
    if before is None or after is None or after <= before:
        return
    if old.status is None or old.status.phase != "Bound":
        return  # refused by validation, which knows the field
    spec = old.spec
    name = annotations_of(old).get(BETA_CLASS_ANNOTATION, (spec.storageClassName if spec else None) or "")
    cls: StorageClass | None = lookup.get(Key("StorageClass", "", name)) if name else None
    if cls is None or not cls.allowVolumeExpansion:
        raise refusals.forbidden(
            kind_of(new),
            key_of(new),
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        )


def _request(claim: PersistentVolumeClaim) -> quantity.Quantity | None:
    resources = claim.spec.resources if claim.spec else None
    text = ((resources.requests if resources else None) or {}).get("storage")
    return None if text is None else quantity.parse(text)


def _create_volume(volume: PersistentVolume, now: datetime.datetime, _lookup: Lookup) -> PersistentVolume:
    status = PersistentVolumeStatus(phase="Pending", lastPhaseTransitionTime=now)
    return with_finalizers(replace(volume, status=status), add=[PV_PROTECTION])


def _stamp_phase(old: PersistentVolume, new: PersistentVolume, now: datetime.datetime) -> PersistentVolume:
    """Every phase change carries its time, unless the writer gave one."""
    before, after = old.status or PersistentVolumeStatus(), new.status
    if after is None or after.phase == before.phase:
        return new
    if after.lastPhaseTransitionTime not in (None, before.lastPhaseTransitionTime):
        return new
    return replace(new, status=replace(after, lastPhaseTransitionTime=now))


# Others -------------------------------------------------------------------------------------------------------------------------------


def _create_attributes_class(cls: VolumeAttributesClass, _now: datetime.datetime, _lookup: Lookup) -> VolumeAttributesClass:
    return with_finalizers(cls, add=[VAC_PROTECTION])


def _create_namespace(namespace: Namespace, _now: datetime.datetime, _lookup: Lookup) -> Namespace:
    return replace(namespace, spec=NamespaceSpec(finalizers=["kubernetes"]), status=NamespaceStatus(phase="Active"))


_Strategy = Callable[[Any, datetime.datetime, Lookup], Object]
_ON_CREATE: Final[Mapping[type[Any], _Strategy]] = {
    Pod: _create_pod,
    PersistentVolumeClaim: _create_claim,
    PersistentVolume: _create_volume,
    VolumeAttributesClass: _create_attributes_class,
    Namespace: _create_namespace,
}
