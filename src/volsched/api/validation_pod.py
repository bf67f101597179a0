"""Validation of pods, at creation and at update: what a pod spec needs to be scheduled and run, and which of it may change.

Source: kubernetes pkg/apis/core/validation/validation.go, ValidatePodSpec, ValidatePodCreate, ValidatePodUpdate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from lightkube.models.core_v1 import (
    Affinity,
    Container,
    NodeAffinity,
    NodeSelectorTerm,
    Pod,
    PodAffinityTerm,
    PodSpec,
    ResourceRequirements,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)

from volsched.api import fields, validation_storage
from volsched.api.fields import Problems, same

EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_COMPUTE: Final = ("cpu", "memory")
_STANDARD: Final = ("cpu", "memory", "ephemeral-storage")
_INT32_MAX: Final = 2**31 - 1
_UPDATABLE: Final = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod(problems: Problems, obj: Pod) -> None:
    """A pod as it is created."""
    spec = obj.spec or PodSpec(containers=[])
    pod_spec(problems, spec, (obj.metadata.name if obj.metadata is not None else None) or "")
    if spec.ephemeralContainers:
        problems.forbidden("spec.ephemeralContainers", "cannot be set on create")
    if spec.nodeName and spec.schedulingGates:
        problems.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def pod_spec(problems: Problems, spec: PodSpec, pod_name: str) -> None:
    volumes = _volumes(problems, spec.volumes or (), pod_name)
    if not spec.containers:
        problems.required("spec.containers")
    names: set[str] = set()
    _containers(problems, "spec.containers", spec.containers, volumes, names)
    _containers(problems, "spec.initContainers", spec.initContainers or (), volumes, names)
    if spec.resources is not None:
        if spec.resources.claims:
            problems.forbidden("spec.resources.claims", "claims may not be set for Resources at pod-level")
        resources(problems, "spec.resources", spec.resources)
    if spec.hostNetwork:
        _host_network(problems, spec.containers)
    _one_of(problems, "spec.restartPolicy", spec.restartPolicy, ("Always", "OnFailure", "Never"))
    fields.labels(problems, "spec.nodeSelector", spec.nodeSelector)
    if spec.affinity is not None:
        affinity(problems, "spec.affinity", spec.affinity)
    _gates(problems, spec)
    _spread(problems, spec.topologySpreadConstraints or ())
    for path, name in (
        ("spec.nodeName", spec.nodeName),
        ("spec.serviceAccountName", spec.serviceAccountName),
        ("spec.priorityClassName", spec.priorityClassName),
    ):
        if name:
            problems.each(path, name, fields.dns_subdomain(name))
    if spec.activeDeadlineSeconds is not None and not 1 <= spec.activeDeadlineSeconds <= _INT32_MAX:
        problems.invalid("spec.activeDeadlineSeconds", spec.activeDeadlineSeconds, f"must be between 1 and {_INT32_MAX}, inclusive")
    tolerations(problems, "spec.tolerations", spec.tolerations or ())
    _one_of(problems, "spec.preemptionPolicy", spec.preemptionPolicy, ("PreemptLowerPriority", "Never"))
    if spec.overhead:
        resources(problems, "spec.overhead", ResourceRequirements(limits=spec.overhead))
    if spec.terminationGracePeriodSeconds is not None and spec.terminationGracePeriodSeconds < 0:
        problems.invalid("spec.terminationGracePeriodSeconds", spec.terminationGracePeriodSeconds, fields.NEGATIVE)


def _one_of(problems: Problems, path: str, value: str | None, supported: Sequence[str]) -> None:
    if value is not None and value not in supported:
        problems.unsupported(path, value, supported)


# Volumes


def _volumes(problems: Problems, volumes: Sequence[Volume], pod_name: str) -> dict[str, Volume]:
    """The good volumes by name."""
    created = {f"{pod_name}-{volume.name}" for volume in volumes if volume.ephemeral is not None and pod_name}
    found: dict[str, Volume] = {}
    for index, volume in enumerate(volumes):
        path = f"spec.volumes[{index}]"
        before = len(problems)
        claim = volume.persistentVolumeClaim
        if claim is not None and not claim.claimName:
            problems.required(f"{path}.persistentVolumeClaim.claimName")
        if volume.ephemeral is not None:
            _ephemeral(problems, f"{path}.ephemeral", volume)
        sources = [name for name in _VOLUME_SOURCES if getattr(volume, name) is not None]
        for name in sources[1:]:
            problems.forbidden(f"{path}.{name}", "may not specify more than 1 volume type")
        if not volume.name:
            problems.required(f"{path}.name")
        else:
            problems.each(f"{path}.name", volume.name, fields.dns_label(volume.name))
        if volume.name in found:
            problems.duplicate(f"{path}.name", volume.name)
        if len(problems) == before:
            found[volume.name] = volume
        if claim is not None and claim.claimName in created:
            problems.invalid(
                f"{path}.persistentVolumeClaim.claimName",
                claim.claimName,
                "must not reference a PVC that gets created for an ephemeral volume",
            )
    return found


_VOLUME_SOURCES: Final = tuple(field.name for field in msgspec.structs.fields(Volume) if field.name != "name")


def _ephemeral(problems: Problems, path: str, volume: Volume) -> None:
    template = volume.ephemeral.volumeClaimTemplate if volume.ephemeral is not None else None
    if template is None:
        problems.required(f"{path}.volumeClaimTemplate")
        return
    metadata = template.metadata
    if metadata is not None:
        fields.labels(problems, f"{path}.volumeClaimTemplate.metadata.labels", metadata.labels)
    validation_storage.claim_spec(problems, f"{path}.volumeClaimTemplate.spec", template.spec)


# Containers


def _containers(problems: Problems, path: str, containers: Sequence[Container], volumes: Mapping[str, Volume], names: set[str]) -> None:
    host_ports: set[str] = set()
    for index, container in enumerate(containers):
        at = f"{path}[{index}]"
        if not container.name:
            problems.required(f"{at}.name")
        else:
            problems.each(f"{at}.name", container.name, fields.dns_label(container.name))
        if not container.image:
            problems.required(f"{at}.image")
        if container.ports:
            _ports(problems, f"{at}.ports", container, host_ports)
        if container.volumeMounts:
            _mounts(problems, f"{at}.volumeMounts", container, volumes)
        if container.volumeDevices:
            _devices(problems, f"{at}.volumeDevices", container, volumes)
        if container.resources is not None:
            resources(problems, f"{at}.resources", container.resources)
        if container.name in names:
            problems.duplicate(f"{at}.name", container.name)
        names.add(container.name)
        _one_of(problems, f"{at}.imagePullPolicy", container.imagePullPolicy, ("Always", "IfNotPresent", "Never"))


def _port(problems: Problems, path: str, number: int) -> None:
    if not 1 <= number <= 65535:
        problems.invalid(path, number, "must be between 1 and 65535, inclusive")


def _ports(problems: Problems, path: str, container: Container, taken: set[str]) -> None:
    names: set[str] = set()
    for index, port in enumerate(container.ports or ()):
        at = f"{path}[{index}]"
        if port.name:
            complaints = fields.port_name(port.name)
            problems.each(f"{at}.name", port.name, complaints)
            if not complaints and port.name in names:
                problems.duplicate(f"{at}.name", port.name)
            names.add(port.name)
        if port.containerPort == 0:
            problems.required(f"{at}.containerPort")
        else:
            _port(problems, f"{at}.containerPort", port.containerPort)
        protocol = port.protocol or "TCP"
        _one_of(problems, f"{at}.protocol", protocol, ("SCTP", "TCP", "UDP"))
        if port.hostPort:
            _port(problems, f"{at}.hostPort", port.hostPort)
            key = f"{protocol}/{port.hostIP or ''}/{port.hostPort}"
            if key in taken:
                problems.duplicate(f"{at}.hostPort", key)
            taken.add(key)


def _mounts(problems: Problems, path: str, container: Container, volumes: Mapping[str, Volume]) -> None:
    devices = {device.name for device in container.volumeDevices or ()}
    paths: set[str] = set()
    for index, mount in enumerate(container.volumeMounts or ()):
        at = f"{path}[{index}]"
        if not mount.name:
            problems.required(f"{at}.name")
        if mount.name not in volumes:
            problems.not_found(f"{at}.name", mount.name)
        if not mount.mountPath:
            problems.required(f"{at}.mountPath")
        if mount.mountPath in paths:
            problems.invalid(f"{at}.mountPath", mount.mountPath, "must be unique")
        paths.add(mount.mountPath)
        if mount.name in devices:
            problems.invalid(f"{at}.name", mount.name, "must not already exist in volumeDevices")


def _devices(problems: Problems, path: str, container: Container, volumes: Mapping[str, Volume]) -> None:
    mounted = {mount.name for mount in container.volumeMounts or ()}
    names: set[str] = set()
    paths: set[str] = set()
    for index, device in enumerate(container.volumeDevices or ()):
        at = f"{path}[{index}]"
        volume = volumes.get(device.name)
        if volume is None:
            problems.not_found(f"{at}.name", device.name)
        elif volume.persistentVolumeClaim is None and volume.ephemeral is None:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            problems.invalid(f"{at}.name", device.name, detail)
        if device.name in names:
            problems.invalid(f"{at}.name", device.name, "must be unique")
        names.add(device.name)
        if not device.devicePath:
            problems.required(f"{at}.devicePath")
        if device.devicePath in paths:
            problems.invalid(f"{at}.devicePath", device.devicePath, "must be unique")
        paths.add(device.devicePath)
        if device.name in mounted:
            problems.invalid(f"{at}.name", device.name, "must not already exist in volumeMounts")


def _host_network(problems: Problems, containers: Sequence[Container]) -> None:
    for index, container in enumerate(containers):
        for place, port in enumerate(container.ports or ()):
            if (port.hostPort or 0) != port.containerPort:
                path = f"spec.containers[{index}].ports[{place}].hostPort"
                problems.invalid(path, port.hostPort or 0, "must match `containerPort` when `hostNetwork` is true")


# Resources


def _native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _extended(name: str) -> bool:
    return not _native(name) and not name.startswith("requests.") and not fields.label_key(f"requests.{name}")


def resources(problems: Problems, path: str, given: ResourceRequirements) -> None:
    """Names and amounts of limits and requests, and that no request exceeds its limit."""
    limits, requests = given.limits or {}, given.requests or {}
    for side, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            at = f"{path}.{side}[{name}]"
            _resource_name(problems, at, name)
            found = fields.not_negative(problems, at, text)
            if found is not None and _extended(name) and found.milli_value() % 1000:
                problems.invalid(at, str(found), "must be an integer")
    for name, text in requests.items():
        overcommit = _native(name) and not name.startswith("hugepages-")
        if name not in limits:
            if not overcommit:
                problems.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
            continue
        wanted, limit = fields.quantity(Problems(), "", text), fields.quantity(Problems(), "", limits[name])
        if wanted is None or limit is None:
            continue
        if wanted != limit and not overcommit:
            problems.invalid(f"{path}.requests", str(wanted), f"must be equal to {name} limit of {limit}")
        elif wanted > limit:
            problems.invalid(f"{path}.requests", str(wanted), f"must be less than or equal to {name} limit of {limit}")
    huge = any(name.startswith("hugepages-") for name in (*limits, *requests))
    if huge and not any(name in _COMPUTE for name in (*limits, *requests)):
        problems.forbidden(path, "HugePages require cpu or memory")


def _resource_name(problems: Problems, path: str, name: str) -> None:
    complaints = fields.label_key(name)
    problems.each(path, name, complaints)
    if complaints:
        return
    if "/" not in name:
        if name not in _STANDARD and not name.startswith("hugepages-"):
            problems.invalid(path, name, "must be a standard resource for containers")
    elif not _native(name) and not _extended(name):
        problems.invalid(path, name, "doesn't follow extended resource name standard")


# Where a pod may run


def affinity(problems: Problems, path: str, given: Affinity) -> None:
    if given.nodeAffinity is not None:
        _node_affinity(problems, f"{path}.nodeAffinity", given.nodeAffinity)
    for name in ("podAffinity", "podAntiAffinity"):
        group = getattr(given, name)
        if group is None:
            continue
        for index, term in enumerate(group.requiredDuringSchedulingIgnoredDuringExecution or ()):
            _pod_term(problems, f"{path}.{name}.requiredDuringSchedulingIgnoredDuringExecution[{index}]", term)
        for index, weighted in enumerate(group.preferredDuringSchedulingIgnoredDuringExecution or ()):
            at = f"{path}.{name}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            _weight(problems, at, weighted.weight)
            _pod_term(problems, f"{at}.podAffinityTerm", weighted.podAffinityTerm)


def _weight(problems: Problems, path: str, weight: int) -> None:
    if not 1 <= weight <= 100:
        problems.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _node_affinity(problems: Problems, path: str, given: NodeAffinity) -> None:
    required = given.requiredDuringSchedulingIgnoredDuringExecution
    if required is not None:
        fields.node_selector(problems, f"{path}.requiredDuringSchedulingIgnoredDuringExecution", required)
    for index, preferred in enumerate(given.preferredDuringSchedulingIgnoredDuringExecution or ()):
        at = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        _weight(problems, at, preferred.weight)
        fields.node_selector_term(problems, f"{at}.preference", preferred.preference, any_value=True)


def _pod_term(problems: Problems, path: str, term: PodAffinityTerm) -> None:
    fields.label_selector(problems, f"{path}.labelSelector", term.labelSelector)
    fields.label_selector(problems, f"{path}.namespaceSelector", term.namespaceSelector)
    for name in term.namespaces or ():
        problems.each(f"{path}.namespace", name, fields.dns_label(name))
    _label_keys(problems, path, "matchLabelKeys", term.matchLabelKeys, has_selector=term.labelSelector is not None)
    _label_keys(problems, path, "mismatchLabelKeys", term.mismatchLabelKeys, has_selector=term.labelSelector is not None)
    for index, key in enumerate(term.matchLabelKeys or ()):
        if key in (term.mismatchLabelKeys or ()):
            problems.invalid(f"{path}.matchLabelKeys[{index}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")
    if not term.topologyKey:
        problems.required(f"{path}.topologyKey", "can not be empty")
    problems.each(f"{path}.topologyKey", term.topologyKey, fields.label_key(term.topologyKey))


def _label_keys(problems: Problems, path: str, name: str, keys: Sequence[str] | None, *, has_selector: bool) -> None:
    if keys and not has_selector:
        problems.forbidden(f"{path}.{name}", "must not be specified when labelSelector is not set")
        return
    for index, key in enumerate(keys or ()):
        problems.each(f"{path}.{name}[{index}]", key, fields.label_key(key))


def _spread(problems: Problems, constraints: Sequence[TopologySpreadConstraint]) -> None:
    for index, item in enumerate(constraints):
        path = f"spec.topologySpreadConstraints[{index}]"
        if item.maxSkew <= 0:
            problems.invalid(f"{path}.maxSkew", item.maxSkew, fields.NOT_POSITIVE)
        if not item.topologyKey:
            problems.required(f"{path}.topologyKey", "can not be empty")
        _one_of(problems, f"{path}.whenUnsatisfiable", item.whenUnsatisfiable, ("DoNotSchedule", "ScheduleAnyway"))
        pair = (item.topologyKey, item.whenUnsatisfiable)
        if any((other.topologyKey, other.whenUnsatisfiable) == pair for other in constraints[index + 1 :]):
            problems.duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", f"{{{pair[0]}, {pair[1]}}}")
        if item.minDomains is not None:
            if item.minDomains <= 0:
                problems.invalid(f"{path}.minDomains", item.minDomains, fields.NOT_POSITIVE)
            if item.whenUnsatisfiable != "DoNotSchedule":
                detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {item.whenUnsatisfiable}"
                problems.invalid(f"{path}.minDomains", item.minDomains, detail)
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            _one_of(problems, f"{path}.{name}", getattr(item, name), ("Honor", "Ignore"))
        _label_keys(problems, path, "matchLabelKeys", item.matchLabelKeys, has_selector=item.labelSelector is not None)
        fields.label_selector(problems, f"{path}.labelSelector", item.labelSelector)


def tolerations(problems: Problems, path: str, given: Sequence[Toleration]) -> None:
    for index, item in enumerate(given):
        at = f"{path}[{index}]"
        operator, value = item.operator or "", item.value or ""
        if item.key:
            problems.each(f"{at}.key", item.key, fields.label_key(item.key))
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            problems.invalid(f"{at}.operator", operator, detail)
        if item.tolerationSeconds is not None and item.effect != "NoExecute":
            problems.invalid(f"{at}.effect", item.effect or "", "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator in ("", "Equal"):
            complaints = fields.label_value(value)
            if complaints:
                problems.invalid(f"{at}.operator", value, ";".join(complaints))
        elif operator == "Exists":
            if value:
                problems.invalid(f"{at}.operator", value, "value must be empty when `operator` is 'Exists'")
        elif operator in ("Lt", "Gt"):
            problems.unsupported(f"{at}.operator", operator, ("Equal", "Exists", "Lt", "Gt"))
        else:
            problems.unsupported(f"{at}.operator", operator, ("Equal", "Exists"))
        if item.effect and item.effect not in EFFECTS:
            problems.unsupported(f"{at}.effect", item.effect, EFFECTS)


def _gates(problems: Problems, spec: PodSpec) -> None:
    seen: set[str] = set()
    for index, gate in enumerate(spec.schedulingGates or ()):
        path = f"spec.schedulingGates[{index}]"
        problems.each(path, gate.name, fields.label_key(gate.name))
        if gate.name in seen:
            problems.duplicate(path, gate.name)
        seen.add(gate.name)


# Updates


def pod_update(problems: Problems, old: Pod, new: Pod) -> None:
    """Images, the deadline, more tolerations and fewer gates; the node selection of a gated pod may become narrower."""
    if new.spec is old.spec:
        return  # only metadata was written, and the spec was accepted when it came in
    before, after = old.spec or PodSpec(containers=[]), new.spec or PodSpec(containers=[])
    pod_spec(problems, after, (new.metadata.name if new.metadata is not None else None) or "")
    for name in ("containers", "initContainers"):
        if len(getattr(before, name) or ()) != len(getattr(after, name) or ()):
            problems.forbidden(f"spec.{name}", "pod updates may not add or remove containers")
            return
    _deadline(problems, before, after)
    _only_added_tolerations(problems, before, after)
    old_gates = {gate.name for gate in before.schedulingGates or ()}
    for index, gate in enumerate(after.schedulingGates or ()):
        if gate.name not in old_gates:
            problems.forbidden(
                f"spec.schedulingGates[{index}].name", f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            )
    if not same(_put_back(problems, before, after), before):
        problems.forbidden("spec", f"pod updates may not change fields other than {_UPDATABLE}")


def _deadline(problems: Problems, before: PodSpec, after: PodSpec) -> None:
    old, new = before.activeDeadlineSeconds, after.activeDeadlineSeconds
    if new is None and old is not None:
        problems.invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")
    elif new is not None and old is not None and old < new:
        problems.invalid("spec.activeDeadlineSeconds", new, "must be less than or equal to previous value")


def _only_added_tolerations(problems: Problems, before: PodSpec, after: PodSpec) -> None:
    kept = [msgspec.structs.replace(item, tolerationSeconds=None) for item in after.tolerations or ()]
    if any(msgspec.structs.replace(item, tolerationSeconds=None) not in kept for item in before.tolerations or ()):
        problems.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _put_back(problems: Problems, before: PodSpec, after: PodSpec) -> PodSpec:
    """The new spec with everything that may change set back to what it was."""
    changes: dict[str, Any] = {
        "activeDeadlineSeconds": before.activeDeadlineSeconds,
        "schedulingGates": before.schedulingGates,
        "tolerations": before.tolerations,
    }
    for name in ("containers", "initContainers"):
        pairs = zip(getattr(after, name) or (), getattr(before, name) or (), strict=True)
        changes[name] = [msgspec.structs.replace(item, image=was.image) for item, was in pairs]
    if before.schedulingGates:
        if not same(after.nodeSelector, before.nodeSelector):
            if any((after.nodeSelector or {}).get(key) != value for key, value in (before.nodeSelector or {}).items()):
                detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
                problems.invalid("spec.nodeSelector", after.nodeSelector, detail)
            changes["nodeSelector"] = before.nodeSelector
        was = before.affinity.nodeAffinity if before.affinity is not None else None
        now = after.affinity.nodeAffinity if after.affinity is not None else None
        if not same(was, now):
            _narrowed(problems, was, now)
            changes["affinity"] = msgspec.structs.replace(after.affinity or Affinity(), nodeAffinity=was)
    return msgspec.structs.replace(after, **changes)


def _narrowed(problems: Problems, before: NodeAffinity | None, after: NodeAffinity | None) -> None:
    old = before.requiredDuringSchedulingIgnoredDuringExecution if before is not None else None
    new = after.requiredDuringSchedulingIgnoredDuringExecution if after is not None else None
    if old is None:
        return
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    terms = new.nodeSelectorTerms if new is not None else []
    if len(terms) != len(old.nodeSelectorTerms):
        problems.invalid(path, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
        return
    for index, (was, now) in enumerate(zip(old.nodeSelectorTerms, terms, strict=True)):
        if not _only_adds(was, now):
            problems.invalid(f"{path}[{index}]", now, "only additions are allowed (no mutations or deletions)")


def _only_adds(before: NodeSelectorTerm, after: NodeSelectorTerm) -> bool:
    if not before.matchExpressions and not before.matchFields:
        # An empty term selects nothing; giving it expressions would make the pod fit more nodes.
        return not after.matchExpressions and not after.matchFields
    for name in ("matchExpressions", "matchFields"):
        old, new = getattr(before, name) or [], getattr(after, name) or []
        if new[: len(old)] != old:
            return False
    return True
