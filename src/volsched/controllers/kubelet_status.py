"""Pod status as a kubelet writes it. Source: pkg/kubelet/status/generate.go; the recordings of pods set Running without a kubelet."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Final

from lightkube.models.core_v1 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodCondition,
    PodStatus,
)

from volsched.api.edit import replace

CREATING: Final = "ContainerCreating"
_NOT_READY: Final = "ContainersNotReady"


def _with_conditions(pod: Pod, wanted: Mapping[str, PodCondition], now: datetime.datetime) -> list[PodCondition]:
    """The wanted conditions first, then what others have set; a condition that stays as it is keeps its time."""
    present = {entry.type: entry for entry in (pod.status.conditions if pod.status else None) or []}
    conditions = []
    for name, entry in wanted.items():
        old = present.pop(name, None)
        since = old.lastTransitionTime if old is not None and old.status == entry.status else now
        conditions.append(replace(entry, lastTransitionTime=since))
    return conditions + list(present.values())


def _conditions(*names: str) -> dict[str, PodCondition]:
    return {name: PodCondition(type=name, status="True") for name in names}


def instant_status(pod: Pod, now: datetime.datetime) -> PodStatus:
    """Running at once, nothing said about containers."""
    wanted = _conditions("Ready", "ContainersReady", "Initialized", "PodReadyToStartContainers")
    return replace(pod.status or PodStatus(), phase="Running", startTime=now, conditions=_with_conditions(pod, wanted, now))


def _containers(pod: Pod, state: ContainerState, *, ready: bool) -> list[ContainerStatus]:
    return [
        ContainerStatus(
            name=container.name,
            image=container.image or "",
            imageID="",
            ready=ready,
            started=ready,
            restartCount=0,
            state=state,
        )
        for container in (pod.spec.containers if pod.spec else None) or []
    ]


def creating_status(pod: Pod, now: datetime.datetime) -> PodStatus:
    """Pending on its node while volumes are attached and mounted."""
    names = " ".join(container.name for container in (pod.spec.containers if pod.spec else None) or [])
    unready = PodCondition(type="", status="False", reason=_NOT_READY, message=f"containers with unready status: [{names}]")
    wanted = {
        "PodReadyToStartContainers": PodCondition(type="PodReadyToStartContainers", status="False"),
        "Initialized": PodCondition(type="Initialized", status="True"),
        "Ready": replace(unready, type="Ready"),
        "ContainersReady": replace(unready, type="ContainersReady"),
    }
    old = pod.status or PodStatus()
    return replace(
        old,
        phase="Pending",
        startTime=old.startTime or now,
        conditions=_with_conditions(pod, wanted, now),
        containerStatuses=_containers(pod, ContainerState(waiting=ContainerStateWaiting(reason=CREATING)), ready=False),
    )


def running_status(pod: Pod, now: datetime.datetime) -> PodStatus:
    """Every container running."""
    wanted = _conditions("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    old = pod.status or PodStatus()
    return replace(
        old,
        phase="Running",
        startTime=old.startTime or now,
        conditions=_with_conditions(pod, wanted, now),
        containerStatuses=_containers(pod, ContainerState(running=ContainerStateRunning(startedAt=now)), ready=True),
    )
