"""Defaults of pods and pod templates, and what the API server rewrites in a pod when it is created.

Source: pkg/apis/core/v1/defaults.go, pkg/registry/core/pod/strategy.go (matchLabelKeys), pkg/api/pod/util.go (pod-level resources);
spec/scheduling.md 2.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from lightkube.models.core_v1 import (
    Affinity,
    Container,
    ContainerStatus,
    EmptyDirVolumeSource,
    Pod,
    PodAffinityTerm,
    PodSecurityContext,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    TopologySpreadConstraint,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from volsched.api import defaults_storage
from volsched.api.filling import canonical_list, canonical_lists, canonical_only, changed, each, missing
from volsched.api.quantity import Quantity, parse
from volsched.errors import InputError

SCHEDULER_NAME: Final = "default-scheduler"
GRACE_S: Final = 30
PREEMPT: Final = "PreemptLowerPriority"

# Shared between objects; nothing alters an object in place.
_NO_SECURITY: Final = PodSecurityContext()
_EMPTY_DIR: Final = EmptyDirVolumeSource()


def pod(obj: Pod) -> Pod:
    changes: dict[str, Any] = {}
    if obj.spec is not None:
        labels = (obj.metadata.labels if obj.metadata is not None else None) or {}
        spec = _own_pod_spec(pod_spec_defaults(obj.spec, requests_from_limits=True), labels)
        if spec is not obj.spec:
            changes["spec"] = spec
    status = _pod_status(obj.status)
    if status is not obj.status:
        changes["status"] = status
    return changed(obj, changes)


def _pod_status(status: PodStatus | None) -> PodStatus:
    if status is None:
        return PodStatus(phase="Pending")
    changes = canonical_lists(status, "allocatedResources")
    if not status.phase:
        changes["phase"] = "Pending"
    for name in ("containerStatuses", "initContainerStatuses"):
        old = getattr(status, name)
        new = each(old, _container_status)
        if new is not old:
            changes[name] = new
    if status.resources is not None:
        resources = _resources(status.resources)
        if resources is not status.resources:
            changes["resources"] = resources
    return changed(status, changes)


def _container_status(status: ContainerStatus) -> ContainerStatus:
    changes = canonical_lists(status, "allocatedResources")
    if status.resources is not None:
        resources = _resources(status.resources)
        if resources is not status.resources:
            changes["resources"] = resources
    return changed(status, changes)


def pod_spec_defaults(spec: PodSpec, *, requests_from_limits: bool) -> PodSpec:
    """Defaults of a pod spec, of a pod or of a template. Only a pod's containers get requests from their limits."""
    changes: dict[str, Any] = {}
    for name in ("containers", "initContainers"):
        old = getattr(spec, name)
        new = each(old, _pod_container if requests_from_limits else _container)
        if new is not old:
            changes[name] = new
    volumes = each(spec.volumes, _volume)
    if volumes is not spec.volumes:
        changes["volumes"] = volumes
    overhead = canonical_list(spec.overhead)
    if overhead is not spec.overhead:
        changes["overhead"] = overhead
    if not spec.restartPolicy:
        changes["restartPolicy"] = "Always"
    if not spec.dnsPolicy:
        changes["dnsPolicy"] = "ClusterFirst"
    if not spec.schedulerName:
        changes["schedulerName"] = SCHEDULER_NAME
    if spec.terminationGracePeriodSeconds is None:
        changes["terminationGracePeriodSeconds"] = GRACE_S
    if spec.securityContext is None:
        changes["securityContext"] = _NO_SECURITY
    account = spec.serviceAccountName or spec.serviceAccount
    if account and (spec.serviceAccountName, spec.serviceAccount) != (account, account):
        changes["serviceAccountName"] = changes["serviceAccount"] = account
    return changed(spec, changes)


def _own_pod_spec(spec: PodSpec, labels: Mapping[str, str]) -> PodSpec:
    """What applies to a pod but not to a template: the API server does it when the pod is created."""
    changes: dict[str, Any] = {}
    if spec.priority is None:
        changes["priority"] = 0
    if spec.preemptionPolicy is None:
        changes["preemptionPolicy"] = PREEMPT
    if spec.enableServiceLinks is None:
        changes["enableServiceLinks"] = True
    if spec.terminationGracePeriodSeconds is not None and spec.terminationGracePeriodSeconds < 0:
        changes["terminationGracePeriodSeconds"] = 1
    if spec.hostNetwork:
        for name in ("containers", "initContainers"):
            old = getattr(spec, name)
            new = each(old, _host_ports)
            if new is not old:
                changes[name] = new
    if spec.affinity is not None:
        affinity = _affinity(spec.affinity, labels)
        if affinity is not spec.affinity:
            changes["affinity"] = affinity
    if spec.topologySpreadConstraints:
        constraints = each(spec.topologySpreadConstraints, lambda item: _spread(item, labels))
        if constraints is not spec.topologySpreadConstraints:
            changes["topologySpreadConstraints"] = constraints
    if spec.resources is not None:
        resources = _pod_level(spec, _resources(spec.resources))
        if resources is not spec.resources:
            changes["resources"] = resources
    return changed(spec, changes)


def _pod_container(container: Container) -> Container:
    made = _container(container)
    resources = made.resources
    if resources is None or not resources.limits:
        return made
    requests = resources.requests or {}
    added = {key: value for key, value in resources.limits.items() if key not in requests}
    if not added:
        return made
    return msgspec.structs.replace(made, resources=msgspec.structs.replace(resources, requests={**requests, **added}))


def _container(container: Container) -> Container:
    changes: dict[str, Any] = {}
    if not container.imagePullPolicy:
        changes["imagePullPolicy"] = _pull_policy(container.image or "")
    if not container.terminationMessagePath:
        changes["terminationMessagePath"] = "/dev/termination-log"
    if not container.terminationMessagePolicy:
        changes["terminationMessagePolicy"] = "File"
    if container.resources is not None:
        resources = _resources(container.resources)
        if resources is not container.resources:
            changes["resources"] = resources
    if container.ports:
        ports = each(container.ports, lambda port: changed(port, missing(port, {"protocol": "TCP"})))
        if ports is not container.ports:
            changes["ports"] = ports
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        old = getattr(container, name)
        if old is not None and (new := _probe(old)) is not old:
            changes[name] = new
    return changed(container, changes)


@lru_cache(maxsize=1 << 12)
def _pull_policy(image: str) -> str:
    """Always for an image without tag and digest or with tag latest, else IfNotPresent."""
    if not image or "@" in image:
        return "IfNotPresent"
    _, _, tag = image.rpartition("/")[2].partition(":")
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _probe(probe: Probe) -> Probe:
    numbers = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    changes: dict[str, Any] = {name: value for name, value in numbers.items() if not getattr(probe, name)}
    if probe.httpGet is not None:
        http = changed(probe.httpGet, missing(probe.httpGet, {"path": "/", "scheme": "HTTP"}))
        if http is not probe.httpGet:
            changes["httpGet"] = http
    return changed(probe, changes)


def _host_ports(container: Container) -> Container:
    ports = each(container.ports, lambda port: port if port.hostPort else msgspec.structs.replace(port, hostPort=port.containerPort))
    return container if ports is container.ports else msgspec.structs.replace(container, ports=ports)


def _resources(resources: ResourceRequirements) -> ResourceRequirements:
    return changed(resources, canonical_lists(resources, "limits", "requests"))


_VOLUME_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Volume) if field.name != "name")


def _volume(volume: Volume) -> Volume:
    if volume.persistentVolumeClaim is not None:
        return volume
    changes = defaults_storage.sources(volume, defaults_storage.SOURCES)
    template = volume.ephemeral.volumeClaimTemplate if volume.ephemeral is not None else None
    if volume.emptyDir is not None and volume.emptyDir.sizeLimit is not None:
        limit = canonical_only(volume.emptyDir.sizeLimit)
        if limit != volume.emptyDir.sizeLimit:
            changes["emptyDir"] = msgspec.structs.replace(volume.emptyDir, sizeLimit=limit)
    elif template is not None and volume.ephemeral is not None:
        spec = defaults_storage.claim_spec(template.spec)
        if spec is not template.spec:
            filled = msgspec.structs.replace(template, spec=spec)
            changes["ephemeral"] = msgspec.structs.replace(volume.ephemeral, volumeClaimTemplate=filled)
    elif all(getattr(volume, name) is None for name in _VOLUME_FIELDS):
        changes["emptyDir"] = _EMPTY_DIR
    return changed(volume, changes)


# matchLabelKeys: the values of the pod's own labels become part of the selectors


def _merged(selector: LabelSelector, keys: Sequence[str] | None, operator: str, labels: Mapping[str, str]) -> LabelSelector:
    """The selector with `key operator [value]` for every key among the labels.

    A key that already has a requirement with that operator was merged before: the same key in both places is refused by validation.
    """
    if not keys:
        return selector
    present = {(item.key, item.operator) for item in selector.matchExpressions or ()}
    added = [
        LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]])
        for key in keys
        if key in labels and (key, operator) not in present
    ]
    return msgspec.structs.replace(selector, matchExpressions=[*(selector.matchExpressions or ()), *added]) if added else selector


def _spread(constraint: TopologySpreadConstraint, labels: Mapping[str, str]) -> TopologySpreadConstraint:
    if not constraint.matchLabelKeys or constraint.labelSelector is None:
        return constraint
    selector = _merged(constraint.labelSelector, constraint.matchLabelKeys, "In", labels)
    return constraint if selector is constraint.labelSelector else msgspec.structs.replace(constraint, labelSelector=selector)


def _term(term: PodAffinityTerm, labels: Mapping[str, str]) -> PodAffinityTerm:
    if term.labelSelector is None or not (term.matchLabelKeys or term.mismatchLabelKeys):
        return term
    selector = _merged(term.labelSelector, term.matchLabelKeys, "In", labels)
    selector = _merged(selector, term.mismatchLabelKeys, "NotIn", labels)
    return term if selector is term.labelSelector else msgspec.structs.replace(term, labelSelector=selector)


def _affinity(affinity: Affinity, labels: Mapping[str, str]) -> Affinity:
    changes: dict[str, Any] = {}
    for name in ("podAffinity", "podAntiAffinity"):
        group = getattr(affinity, name)
        if group is None:
            continue
        required = each(group.requiredDuringSchedulingIgnoredDuringExecution, lambda term: _term(term, labels))
        preferred = each(
            group.preferredDuringSchedulingIgnoredDuringExecution,
            lambda weighted: (
                weighted
                if (term := _term(weighted.podAffinityTerm, labels)) is weighted.podAffinityTerm
                else msgspec.structs.replace(weighted, podAffinityTerm=term)
            ),
        )
        below: dict[str, Any] = {}
        if required is not group.requiredDuringSchedulingIgnoredDuringExecution:
            below["requiredDuringSchedulingIgnoredDuringExecution"] = required
        if preferred is not group.preferredDuringSchedulingIgnoredDuringExecution:
            below["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
        if below:
            changes[name] = msgspec.structs.replace(group, **below)
    return changed(affinity, changes)


# Pod-level resources


def _pod_level(spec: PodSpec, own: ResourceRequirements) -> ResourceRequirements:
    """Pod-level requests and hugepages limits out of those of the containers, where the pod states any."""
    if not own.requests and not own.limits:
        return own
    try:
        requested, limited = _aggregate(spec, "requests"), _aggregate(spec, "limits")
    except InputError:
        return own  # a quantity that cannot be parsed: validation names it
    requests, limits = dict(own.requests or {}), dict(own.limits or {})
    for key, amount in limited.items():
        if key.startswith("hugepages-") and key not in requests:
            limits.setdefault(key, str(amount))
    for key, amount in requested.items():
        if key in ("cpu", "memory"):
            requests.setdefault(key, str(amount))
    for key, text in limits.items():
        if key in ("cpu", "memory") or key.startswith("hugepages-"):
            requests.setdefault(key, text)
    changes: dict[str, Any] = {}
    if requests != (own.requests or {}):
        changes["requests"] = requests
    if limits != (own.limits or {}):
        changes["limits"] = limits
    return changed(own, changes)


def _aggregate(spec: PodSpec, side: str) -> dict[str, Quantity]:
    """Requests or limits of all containers together: what runs at once, init containers at their peak (spec/scheduling.md 3.2)."""

    def of(container: Container) -> dict[str, Quantity]:
        quantities = getattr(container.resources, side) if container.resources is not None else None
        return {key: parse(text) for key, text in (quantities or {}).items()}

    total: dict[str, Quantity] = {}
    for container in spec.containers:
        _add(total, of(container))
    beside: dict[str, Quantity] = {}  # sidecars started so far
    peak: dict[str, Quantity] = {}
    for container in spec.initContainers or ():
        own = of(container)
        if container.restartPolicy == "Always":
            _add(total, own)
            _add(beside, own)
            used = beside
        else:
            used = dict(own)
            _add(used, beside)
        _raise_to(peak, used)
    _raise_to(total, peak)
    return total


def _add(total: dict[str, Quantity], more: Mapping[str, Quantity]) -> None:
    for key, amount in more.items():
        total[key] = total[key] + amount if key in total else amount


def _raise_to(total: dict[str, Quantity], floor: Mapping[str, Quantity]) -> None:
    for key, amount in floor.items():
        if key not in total or amount > total[key]:
            total[key] = amount


def template(obj: PodTemplateSpec) -> PodTemplateSpec:
    """A pod template: only what applies to its spec as such."""
    if obj.spec is None:
        return obj
    spec = pod_spec_defaults(obj.spec, requests_from_limits=False)
    return obj if spec is obj.spec else msgspec.structs.replace(obj, spec=spec)
