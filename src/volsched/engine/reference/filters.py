"""The filters of one cycle, as its PreFilters left them: what they say of a node, and what they would say with other pods there.

    Filters ──judge(node)──> the first plugin that does not let the pod pass, and what it said
       └─on(node)──> OnNode: own copies of what PreFilter counted ──add_pod, remove_pod──> judge

A plugin that skipped at PreFilter is not asked, neither about nodes nor about pods that come and go.

Source: pkg/scheduler/framework/runtime/framework.go (RunFilterPlugins, RunFilterPluginsWithNominatedPods, RunPreFilterExtensionAddPod,
RunPreFilterExtensionRemovePod); spec/scheduling.md 9.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

from lightkube.models.core_v1 import Pod

from volsched.api.edit import with_spec
from volsched.api.kinds import key_of
from volsched.engine.chain import Arrangement, Step, ask_filter, ask_follow
from volsched.engine.plugin import BoolArray, CycleState, CycleView
from volsched.engine.profile import EngineProfile
from volsched.engine.reference.columns import SnapshotColumns
from volsched.engine.reference.framework import Code, NodeInfo, Plugin, PodInfo, Snapshot, Status, failed
from volsched.engine.reference.volume_restrictions import VolumeRestrictions
from volsched.errors import EngineError, PluginError

# The plugin that does not let the pod pass, "" when none stops it, and what it said.
Judgement = tuple[str, Status]
PASSES: Final[Judgement] = ("", Status(Code.SUCCESS))


def failure_text(judgement: Judgement) -> str:
    """The text of a judgement with code Error."""
    plugin, status = judgement
    return f'running "{plugin}" filter plugin: {status.text}' if plugin else status.text


class _Fixed:
    """The generation of a cycle, for its view."""

    def __init__(self, generation: int) -> None:
        self.generation = generation


def view_of(snapshot: Snapshot, state: CycleState | None) -> CycleView:
    """The snapshot as own plugins see it."""
    columns = SnapshotColumns(snapshot)
    return CycleView(columns, _Fixed(columns.generation), state)


def mask_of(view: CycleView, nodes: Iterable[NodeInfo]) -> BoolArray:
    """bool, (nodes,): where the nodes are."""
    mask = view.nowhere()
    for node in nodes:
        mask[view.index_of(node.name)] = True
    return mask


class Filters:
    """`plugins`: the built-in ones by name. `skipped`: whose filters are not asked."""

    def __init__(
        self,
        snapshot: Snapshot,
        pod: Pod,
        *,
        profile: EngineProfile,
        arrangement: Arrangement,
        plugins: Mapping[str, Plugin],
        skipped: frozenset[str],
        view: CycleView,
    ) -> None:
        self.snapshot = snapshot
        self.pod = pod
        self.plugins = plugins
        self.view = view
        self._profile = profile
        self.steps = [step for step in arrangement.filters if step.name not in skipped]
        # AddPod and RemovePod belong to PreFilter
        self.followers = [step for step in arrangement.pre_filters if step.name not in skipped]

    def judge(self, node: NodeInfo) -> Judgement:
        """The built-in filters on one node."""
        for step in self.steps:
            status = self.ask(self.plugins, step, node)
            if not status.is_success:
                return step.name, status
        return PASSES

    def ask(self, plugins: Mapping[str, Plugin], step: Step, node: NodeInfo) -> Status:
        """One built-in filter, in the state that `plugins` have."""
        plugin = plugins.get(step.name)
        failure = self._profile.filter_failure(step.name)
        if failure is None:
            return plugin.filter(node) if plugin is not None else Status(Code.SUCCESS)
        if isinstance(plugin, VolumeRestrictions):
            status = plugin.filter_disks(node)
            if not status.is_success:
                return status
        return failed(failure)

    def judge_all(self, nodes: Sequence[NodeInfo]) -> Callable[[NodeInfo], Judgement]:
        """Every node judged, plugin by plugin, own ones among them; answers what the first that did not let it pass said."""
        judged: dict[str, Judgement] = {}
        alive = list(nodes)
        for step in self.steps:
            if not alive:
                break
            if step.own is None:
                for node in alive:
                    status = self.ask(self.plugins, step, node)
                    if not status.is_success:
                        judged[node.name] = (step.name, status)
            else:
                try:
                    judged.update(self.ask_own(step, self.view, alive))
                except PluginError as failure:
                    judged.update({node.name: (step.name, failed(str(failure))) for node in alive})
            alive = [node for node in alive if node.name not in judged]
        return lambda node: judged.get(node.name, PASSES)

    def ask_own(self, step: Step, view: CycleView, alive: Sequence[NodeInfo]) -> dict[str, Judgement]:
        """The nodes that an own filter refuses. Raises PluginError."""
        refused: dict[str, Judgement] = {}
        for answer in ask_filter(step, view, self.pod, mask_of(view, alive)):
            code = Code.UNSCHEDULABLE if answer.resolvable else Code.UNRESOLVABLE
            reasons = (answer.reason,) if answer.reason else ()
            for node in alive:
                if not answer.keep[view.index_of(node.name)]:
                    refused.setdefault(node.name, (step.name, Status(code, reasons)))
        return refused

    def on(self, node: NodeInfo) -> OnNode:
        """To try other pods on a node."""
        return OnNode(self, node, self.plugins, self.view.state)


class OnNode:
    """One node with some of its pods gone and others added. `plugins` and `state` are copied."""

    def __init__(self, filters: Filters, node: NodeInfo, plugins: Mapping[str, Plugin], state: CycleState) -> None:
        self._filters = filters
        self._node = node
        self._plugins = {name: plugin.clone() for name, plugin in plugins.items()}
        self._state = state.clone()

    @property
    def infos(self) -> tuple[PodInfo, ...]:
        """The pods that are there."""
        return self._node.infos

    def find(self, pod: Pod) -> PodInfo:
        """Raises EngineError when the pod is not there."""
        wanted = key_of(pod)
        for info in self._node.infos:
            if key_of(info.pod) == wanted:
                return info
        raise EngineError(f'pod "{wanted.namespace}/{wanted.name}" is not counted on node "{self._node.name}"')

    def remove(self, info: PodInfo) -> None:
        """Raises PluginError when an own plugin cannot follow."""
        self._node = self._node.holding([other for other in self._node.infos if other is not info])
        self._tell("remove_pod", info)

    def add(self, info: PodInfo) -> None:
        """Raises PluginError when an own plugin cannot follow."""
        self._node = self._node.holding([*self._node.infos, info])
        self._tell("add_pod", info)

    def _tell(self, method: Literal["add_pod", "remove_pod"], info: PodInfo) -> None:
        view: CycleView | None = None
        for step in self._filters.followers:
            plugin = self._plugins.get(step.name)
            if step.own is not None:
                view = view or self._view()
                ask_follow(step, method, view, self._filters.pod, info.pod, view.index_of(self._node.name))
            elif plugin is not None:
                getattr(plugin, method)(info, self._node)

    def _view(self) -> CycleView:
        """Read anew whenever the pods have changed."""
        snapshot = self._filters.snapshot
        nodes = [self._node if node.name == self._node.name else node for node in snapshot.nodes]
        return view_of(snapshot._replace(nodes=nodes), self._state)

    def judge(self) -> Judgement:
        """What the filters say of the node as it is now."""
        for step in self._filters.steps:
            if step.own is None:
                status = self._filters.ask(self._plugins, step, self._node)
                if not status.is_success:
                    return step.name, status
                continue
            try:
                refused = self._filters.ask_own(step, self._view(), [self._node])
            except PluginError as failure:
                return step.name, failed(str(failure))
            if refused:
                return refused[self._node.name]
        return PASSES

    def judge_beside(self, pods: Sequence[Pod]) -> Judgement:
        """What they say with promised pods there. Raises PluginError when an own plugin cannot follow."""
        tried = OnNode(self._filters, self._node, self._plugins, self._state)
        for pod in pods:
            tried.add(PodInfo(with_spec(pod, nodeName=self._node.name)))
        return tried.judge()

    def judge_both(self, pods: Sequence[Pod]) -> Judgement:
        """With the promised pods and, if the pod passes, without. Raises PluginError."""
        found = self.judge_beside(pods) if pods else PASSES
        return found if not found[1].is_success else self.judge()
