"""The quality-of-service class of a pod, which the API server writes into its status when it is created.

Guaranteed: every container limits cpu and memory and requests exactly that. BestEffort: nobody asks for cpu or memory. Burstable: the rest.
Resources of the whole pod (spec.resources) decide alone where they are set. Source: pkg/apis/core/v1/helper/qos/qos.go ComputePodQOS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lightkube.models.core_v1 import PodSpec

from volsched.api import quantity

_COUNTED: Final = ("cpu", "memory")


def qos_class(spec: PodSpec) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`."""
    own = spec.resources
    if own is not None and (own.requests or own.limits):
        parts: list[Any] = [own]
    else:
        parts = [container.resources for container in (*(spec.containers or ()), *(spec.initContainers or ()))]
    requests = _sum(part.requests for part in parts if part is not None)
    limits = _sum(part.limits for part in parts if part is not None)
    if not requests and not limits:
        return "BestEffort"
    everywhere = all(part is not None and _sum([part.limits]).keys() == set(_COUNTED) for part in parts)
    if everywhere and requests.keys() == limits.keys() and all(limits[name] == value for name, value in requests.items()):
        return "Guaranteed"
    return "Burstable"


def _sum(lists: Iterable[Mapping[str, str] | None]) -> dict[str, quantity.Quantity]:
    """cpu and memory over several resource lists; zero amounts do not count."""
    total: dict[str, quantity.Quantity] = {}
    for resources in lists:
        for name in _COUNTED:
            amount = quantity.parse((resources or {}).get(name, "0"))
            if amount > quantity.Quantity.zero():
                total[name] = total[name] + amount if name in total else amount
    return total
