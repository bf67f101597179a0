"""The form of a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): its fields, and nothing else.

None stands for a field that is not given; what it then means is said in `reader`. Parts that only concern a process in a cluster (leader
election, client connection, profiling, parallelism) are read and checked like the rest, and change nothing here.

Source: k8s.io/kube-scheduler/config/v1/types.go, types_pluginargs.go; k8s.io/component-base/config/v1alpha1/types.go.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from lightkube.models.core_v1 import NodeAffinity, TopologySpreadConstraint

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
KIND: Final = "KubeSchedulerConfiguration"


class LeaderElectionConfiguration(msgspec.Struct):
    leaderElect: bool | None = None
    leaseDuration: str | None = None
    renewDeadline: str | None = None
    retryPeriod: str | None = None
    resourceLock: str | None = None
    resourceName: str | None = None
    resourceNamespace: str | None = None


class ClientConnectionConfiguration(msgspec.Struct):
    kubeconfig: str | None = None
    acceptContentTypes: str | None = None
    contentType: str | None = None
    qps: float | None = None
    burst: int | None = None


class Plugin(msgspec.Struct):
    name: str = ""
    weight: int | None = None


class PluginSet(msgspec.Struct):
    enabled: list[Plugin] | None = None
    disabled: list[Plugin] | None = None


class Plugins(msgspec.Struct):
    preEnqueue: PluginSet | None = None
    queueSort: PluginSet | None = None
    preFilter: PluginSet | None = None
    filter: PluginSet | None = None
    postFilter: PluginSet | None = None
    preScore: PluginSet | None = None
    score: PluginSet | None = None
    reserve: PluginSet | None = None
    permit: PluginSet | None = None
    preBind: PluginSet | None = None
    bind: PluginSet | None = None
    postBind: PluginSet | None = None
    multiPoint: PluginSet | None = None
    placementGenerate: PluginSet | None = None
    placementScore: PluginSet | None = None
    podGroupPostFilter: PluginSet | None = None


class PluginConfig(msgspec.Struct):
    name: str = ""
    args: Any = None  # decoded by the plugin's name


class KubeSchedulerProfile(msgspec.Struct):
    schedulerName: str | None = None
    percentageOfNodesToScore: int | None = None
    plugins: Plugins | None = None
    pluginConfig: list[PluginConfig] | None = None


class ExtenderManagedResource(msgspec.Struct):
    name: str = ""
    ignoredByScheduler: bool | None = None


class ExtenderTLSConfig(msgspec.Struct):
    insecure: bool | None = None
    serverName: str | None = None
    certFile: str | None = None
    keyFile: str | None = None
    caFile: str | None = None
    certData: str | None = None
    keyData: str | None = None
    caData: str | None = None


class Extender(msgspec.Struct):
    urlPrefix: str = ""
    filterVerb: str | None = None
    preemptVerb: str | None = None
    prioritizeVerb: str | None = None
    weight: int | None = None
    bindVerb: str | None = None
    enableHTTPS: bool | None = None
    tlsConfig: ExtenderTLSConfig | None = None
    httpTimeout: str | None = None
    nodeCacheCapable: bool | None = None
    managedResources: list[ExtenderManagedResource] | None = None
    ignorable: bool | None = None


class KubeSchedulerConfiguration(msgspec.Struct):
    apiVersion: str | None = None
    kind: str | None = None
    parallelism: int | None = None
    leaderElection: LeaderElectionConfiguration | None = None
    clientConnection: ClientConnectionConfiguration | None = None
    enableProfiling: bool | None = None
    enableContentionProfiling: bool | None = None
    percentageOfNodesToScore: int | None = None
    podInitialBackoffSeconds: int | None = None
    podMaxBackoffSeconds: int | None = None
    profiles: list[KubeSchedulerProfile] | None = None
    extenders: list[Extender] | None = None
    delayCacheUntilActive: bool | None = None


# Arguments of plugins ----------------------------------------------------------------------------------------------------------------


class UtilizationShapePoint(msgspec.Struct):
    utilization: int = 0
    score: int = 0


class ResourceSpec(msgspec.Struct):
    name: str = ""
    weight: int | None = None


class RequestedToCapacityRatioParam(msgspec.Struct):
    shape: list[UtilizationShapePoint] | None = None


class ScoringStrategy(msgspec.Struct):
    type: str | None = None
    resources: list[ResourceSpec] | None = None
    requestedToCapacityRatio: RequestedToCapacityRatioParam | None = None


class Args(msgspec.Struct):
    """What all of them may say of themselves."""

    apiVersion: str | None = None
    kind: str | None = None


class NodeResourcesFitArgs(Args):
    ignoredResources: list[str] | None = None
    ignoredResourceGroups: list[str] | None = None
    scoringStrategy: ScoringStrategy | None = None


class NodeResourcesBalancedAllocationArgs(Args):
    resources: list[ResourceSpec] | None = None


class VolumeBindingArgs(Args):
    bindTimeoutSeconds: int | None = None
    shape: list[UtilizationShapePoint] | None = None


class NodeAffinityArgs(Args):
    addedAffinity: NodeAffinity | None = None


class PodTopologySpreadArgs(Args):
    defaultConstraints: list[TopologySpreadConstraint] | None = None
    defaultingType: str | None = None


class InterPodAffinityArgs(Args):
    hardPodAffinityWeight: int | None = None
    ignorePreferredTermsOfExistingPods: bool | None = None


class DefaultPreemptionArgs(Args):
    minCandidateNodesPercentage: int | None = None
    minCandidateNodesAbsolute: int | None = None


class DynamicResourcesArgs(Args):
    filterTimeout: str | None = None
    bindingTimeout: str | None = None


ARGS: Final[dict[str, type[Args]]] = {
    "DefaultPreemption": DefaultPreemptionArgs,
    "DynamicResources": DynamicResourcesArgs,
    "InterPodAffinity": InterPodAffinityArgs,
    "NodeAffinity": NodeAffinityArgs,
    "NodeResourcesBalancedAllocation": NodeResourcesBalancedAllocationArgs,
    "NodeResourcesFit": NodeResourcesFitArgs,
    "PodTopologySpread": PodTopologySpreadArgs,
    "VolumeBinding": VolumeBindingArgs,
}
