"""What a pod asks for and what a node offers, in the integers that scheduling compares.

    containers ──sum, init peak, sidecars──> per-pod quantities ──pod level replaces──> + overhead ──> Resources (integers)

Quantities are added exactly and rounded once at the end. A pod that is on a node already counts with what its status says as well, because
a resize may have been granted or be under way; a pod still to be placed counts with its spec alone. Scoring counts containers that name no
cpu or memory as if they asked for a little, so that such pods spread.

Source: component-helpers/resource/helpers.go, pkg/scheduler/framework/types.go (calculateResource), pkg/scheduler/util/pod_resources.go;
spec/scheduling.md 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from lightkube.models.core_v1 import Container, ContainerStatus, Node, Pod

from volsched.api.quantity import Quantity
from volsched.api.quantity import parse as parse_quantity
from volsched.rules.numbers import wrap64
from volsched.rules.selectors import is_label_key

CPU: Final = "cpu"
MEMORY: Final = "memory"
EPHEMERAL_STORAGE: Final = "ephemeral-storage"
PODS: Final = "pods"
HUGEPAGES_PREFIX: Final = "hugepages-"
ATTACHABLE_PREFIX: Final = "attachable-volumes-"

DEFAULT_REQUESTS: Final[Mapping[str, Quantity]] = {CPU: parse_quantity("100m"), MEMORY: parse_quantity("200Mi")}
"""What scoring takes a container to ask for when it names no request."""

Quantities: TypeAlias = dict[str, Quantity]
_RequestsOf: TypeAlias = Callable[[Container], Quantities]


class Resources(msgspec.Struct, frozen=True):
    """Amounts as 64-bit integers: cpu in thousandths, bytes, and scalars (extended resources, huge pages) by name."""

    milli_cpu: int = 0
    memory: int = 0
    ephemeral_storage: int = 0
    pods: int = 0
    scalars: dict[str, int] = {}

    def plus(self, other: Resources) -> Resources:
        """The sum, wrapping as 64-bit integers do."""
        return self._combined(other, 1)

    def minus(self, other: Resources) -> Resources:
        """The difference, wrapping as 64-bit integers do; a scalar that falls to zero keeps its entry."""
        return self._combined(other, -1)

    def _combined(self, other: Resources, sign: int) -> Resources:
        scalars = dict(self.scalars)
        for name, amount in other.scalars.items():
            scalars[name] = wrap64(scalars.get(name, 0) + sign * amount)
        return Resources(
            wrap64(self.milli_cpu + sign * other.milli_cpu),
            wrap64(self.memory + sign * other.memory),
            wrap64(self.ephemeral_storage + sign * other.ephemeral_storage),
            self.pods + sign * other.pods,
            scalars,
        )

    def at_least_zero(self) -> Resources:
        """Negative amounts raised to zero, as is done for a pod still to be placed."""
        return Resources(
            max(0, self.milli_cpu),
            max(0, self.memory),
            max(0, self.ephemeral_storage),
            max(0, self.pods),
            {name: max(0, amount) for name, amount in self.scalars.items()},
        )


def is_scalar_resource(name: str) -> bool:
    """Whether a resource of this name is counted at all beside cpu, memory and ephemeral storage."""
    return name.startswith((HUGEPAGES_PREFIX, ATTACHABLE_PREFIX)) or "kubernetes.io/" in name or is_extended_resource(name)


def is_extended_resource(name: str) -> bool:
    """Whether the name is one that only device plugins and extenders know what to do with."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith("requests."):
        return False
    # quota prefixes it with `requests.`, so the prefixed name has to be a qualified one as well
    return is_label_key(f"requests.{name}")


def is_pod_level_resource(name: str) -> bool:
    """Whether spec.resources of a pod may set it."""
    return name in (CPU, MEMORY) or name.startswith(HUGEPAGES_PREFIX)


def quantities(listed: Mapping[str, str] | None) -> Quantities:
    """A resource list with its quantities parsed. Raises InputError."""
    return {name: parse_quantity(text) for name, text in (listed or {}).items()}


def to_resources(amounts: Mapping[str, Quantity]) -> Resources:
    """Quantities as integers; names that are not counted are left out."""
    zero = Quantity.zero()
    return Resources(
        amounts.get(CPU, zero).milli_value(),
        amounts.get(MEMORY, zero).value(),
        amounts.get(EPHEMERAL_STORAGE, zero).value(),
        amounts.get(PODS, zero).value(),
        {
            name: amount.value()
            for name, amount in sorted(amounts.items())
            if name not in (CPU, MEMORY, EPHEMERAL_STORAGE, PODS) and is_scalar_resource(name)
        },
    )


def node_allocatable(node: Node) -> Resources:
    """What a node offers to pods; what it does not state is zero, the number of pods included."""
    return to_resources(quantities(node.status.allocatable if node.status else None))


# Adding up a pod ----------------------------------------------------------------------------------------------------------------------


def _add(total: Quantities, more: Mapping[str, Quantity]) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise_to(total: Quantities, other: Mapping[str, Quantity]) -> None:
    for name, amount in other.items():
        if name not in total or total[name] < amount:
            total[name] = amount


def is_sidecar(container: Container) -> bool:
    """Whether an init container keeps running beside the pod's containers."""
    return container.restartPolicy == "Always"


def _container_requests(container: Container) -> Quantities:
    return quantities(container.resources.requests if container.resources else None)


def _aggregate(pod: Pod, requests_of: _RequestsOf) -> Quantities:
    """Containers and sidecars run together; each init container runs alone beside the sidecars started before it."""
    running: Quantities = {}
    sidecars: Quantities = {}
    peak: Quantities = {}
    if pod.spec is None:
        return running
    for container in pod.spec.containers or ():
        _add(running, requests_of(container))
    for container in pod.spec.initContainers or ():
        use = dict(requests_of(container))
        if is_sidecar(container):
            _add(running, use)
            _add(sidecars, use)
            use = dict(sidecars)
        else:
            _add(use, sidecars)
        _raise_to(peak, use)
    _raise_to(running, peak)
    return running


def pod_level_requests(pod: Pod) -> Quantities:
    """Requests of spec.resources that pods may set; empty when there are none."""
    resources = pod.spec.resources if pod.spec else None
    listed = quantities(resources.requests if resources else None)
    return {name: amount for name, amount in listed.items() if is_pod_level_resource(name)}


def _with_defaults(requests: Quantities, defaults: Mapping[str, Quantity]) -> Quantities:
    return {**{name: amount for name, amount in defaults.items() if name not in requests}, **requests}


def _resize_is_infeasible(pod: Pod) -> bool:
    conditions = (pod.status.conditions if pod.status else None) or []
    return any(condition.type == "PodResizePending" and condition.reason == "Infeasible" for condition in conditions)


def _granted_sources(pod: Pod, in_spec: _RequestsOf) -> tuple[_RequestsOf, _RequestsOf]:
    """Requests of a container as allocated and as in force; each falls back to the one before, the first to `in_spec`."""
    status = pod.status
    statuses: dict[str, ContainerStatus] = {}
    for item in ((status.containerStatuses if status else None) or []) + ((status.initContainerStatuses if status else None) or []):
        statuses[item.name] = item

    def allocated(container: Container) -> Quantities:
        found = statuses.get(container.name)
        if found is not None and found.allocatedResources is not None:
            return quantities(found.allocatedResources)
        return in_spec(container)

    def in_force(container: Container) -> Quantities:
        found = statuses.get(container.name)
        if found is not None and found.resources is not None and found.resources.requests is not None:
            return quantities(found.resources.requests)
        return allocated(container)

    return allocated, in_force


def _highest(*listed: Mapping[str, Quantity]) -> Quantities:
    highest: Quantities = {}
    for amounts in listed:
        _raise_to(highest, amounts)
    return highest


def pod_requests(
    pod: Pod,
    *,
    use_status: bool = False,
    pod_level: bool = True,
    container_defaults: Mapping[str, Quantity] | None = None,
) -> Quantities:
    """What a pod asks for by resource name, overhead included.

    use_status: the pod is on a node, so what its status says was granted counts too, and when a resize was found infeasible what the spec
    asks for does not. pod_level: whether spec.resources replaces the containers' sum. container_defaults: requests assumed for each
    container that does not name the resource.
    """
    defaults = container_defaults or {}
    status = pod.status if use_status else None
    allocated = status.allocatedResources if status else None
    in_force = status.resources.requests if status and status.resources else None
    spec_counts = status is None or not _resize_is_infeasible(pod)

    def in_spec(container: Container) -> Quantities:
        return _container_requests(container) if spec_counts else {}

    def total(requests_of: _RequestsOf) -> Quantities:
        return _aggregate(pod, lambda container: _with_defaults(requests_of(container), defaults))

    totals = [total(in_spec)] if spec_counts else []
    if allocated is not None and in_force is not None:
        totals += [quantities(allocated), quantities(in_force)]
    elif status is not None:
        totals += [total(source) for source in _granted_sources(pod, in_spec)]
    amounts = _highest(*totals)
    level = pod_level_requests(pod) if pod_level else {}
    if level:
        if status is not None and status.resources is not None:
            level = _highest(level if spec_counts else {}, quantities(allocated), quantities(in_force))
        amounts.update({name: amount for name, amount in level.items() if is_pod_level_resource(name)})
    _add(amounts, quantities(pod.spec.overhead if pod.spec else None))
    return amounts


def incoming_requests(pod: Pod) -> Resources:
    """What a pod still to be placed asks for, as filters compare it: never less than nothing, even where a huge sum has wrapped."""
    return incoming_balance_requests(pod).at_least_zero()


def incoming_balance_requests(pod: Pod) -> Resources:
    """What a pod still to be placed asks for, as the balance of a node is scored."""
    return to_resources(pod_requests(pod))


def incoming_scoring_requests(pod: Pod) -> Resources:
    """What a pod still to be placed counts as when nodes are scored by free resources: containers only, with defaults and overhead."""
    return to_resources(pod_requests(pod, pod_level=False, container_defaults=DEFAULT_REQUESTS))


def placed_requests(pod: Pod) -> Resources:
    """What a pod on a node uses up."""
    return to_resources(pod_requests(pod, use_status=True))


def placed_scoring_requests(pod: Pod) -> Resources:
    """What a pod on a node counts as in scores. With pod-level requests only resources asked for nowhere take the defaults."""
    defaults = dict(DEFAULT_REQUESTS)
    if pod_level_requests(pod):
        asked = pod_requests(pod, use_status=True)
        defaults = {name: amount for name, amount in defaults.items() if name not in asked}
    return to_resources(pod_requests(pod, use_status=True, container_defaults=defaults))
