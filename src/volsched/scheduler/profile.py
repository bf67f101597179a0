"""The default profile: which plugins a scheduler name has, in order.

Source: pkg/scheduler/apis/config/v1/default_plugins.go; spec/scheduling.md 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from volsched.cache.volume_binder import BIND_TIMEOUT_S
from volsched.engine.chain import has_engine_part
from volsched.scheduler.framework import DEFAULT_SCHEDULER, Handle, Plugin, Profile
from volsched.scheduler.plugins.default_binder import DefaultBinder
from volsched.scheduler.plugins.default_preemption import DefaultPreemption
from volsched.scheduler.plugins.dynamic_resources import DynamicResources
from volsched.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from volsched.scheduler.plugins.node_affinity import NodeAffinity
from volsched.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from volsched.scheduler.plugins.node_name import NodeName
from volsched.scheduler.plugins.node_ports import NodePorts
from volsched.scheduler.plugins.node_resources_fit import NodeResourcesFit
from volsched.scheduler.plugins.node_unschedulable import NodeUnschedulable
from volsched.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from volsched.scheduler.plugins.pod_topology_spread import PodTopologySpread
from volsched.scheduler.plugins.priority_sort import PrioritySort
from volsched.scheduler.plugins.scheduling_gates import SchedulingGates
from volsched.scheduler.plugins.taint_toleration import TaintToleration
from volsched.scheduler.plugins.volume_binding import VolumeBinding
from volsched.scheduler.plugins.volume_restrictions import VolumeRestrictions
from volsched.scheduler.plugins.volume_zone import VolumeZone

# Builds a profile once the scheduler that will run it exists.
ProfileFactory: TypeAlias = Callable[[Handle], Profile]


def default_profile(
    handle: Handle,
    *,
    scheduler_name: str = DEFAULT_SCHEDULER,
    bind_timeout_s: float = BIND_TIMEOUT_S,
    plugins: Sequence[Plugin] = (),
    engine_plugins: Sequence[Any] = (),
) -> Profile:
    """The default profile, own `plugins` after the built-in ones at every point they have a method for. `engine_plugins`: plugins that
    only filter and score."""
    built_in: tuple[Plugin, ...] = (
        SchedulingGates(),
        PrioritySort(),
        NodeName(),
        NodeUnschedulable(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        VolumeRestrictions(),
        NodeVolumeLimits(),
        VolumeBinding(handle.cache.binder, timeout_s=bind_timeout_s),
        VolumeZone(),
        PodTopologySpread(),
        InterPodAffinity(),
        DynamicResources(),
        DefaultPreemption(handle),
        DefaultBinder(),
        NodeDeclaredFeatures(),
    )
    asked = [plugin for plugin in plugins if has_engine_part(plugin)]
    return Profile((*built_in, *plugins), scheduler_name, (*asked, *engine_plugins))
