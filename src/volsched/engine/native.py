"""Engine: the native engine's Python face.

    object ──_rows──> packed row ──_core──> columns        pod ──_rows──> program row + instance row ──_core──> Decision

Encoding walks the object once; everything after that is native, and the interpreter is free while a decision is made. Node names, dicts and
tuples are built only when a Decision is read. With plugins of one's own (`volsched.engine.plugin`) the native plugins are called one by one
and the others run between them, where the profile has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lightkube.models.core_v1 import Pod

from volsched.api.columns import Columns
from volsched.api.kinds import Object, key_of
from volsched.engine import _core, _rows
from volsched.engine import decision as protocol
from volsched.engine.batch import BatchResult, PodBatch
from volsched.engine.chain import Arrangement, arrange, ask_filter, ask_pre_filter, ask_pre_score, ask_scores
from volsched.engine.columns import load_columns
from volsched.engine.decision import Rejection, TieBreak, VolumePlan
from volsched.engine.native_trial import MixedTrial, NativeTrial, promised_rows
from volsched.engine.plugin import ArrayPlugin, BoolArray, CycleState, CycleView, IntArray
from volsched.engine.profile import DEFAULT_PROFILE, EngineProfile
from volsched.engine.profile_row import profile_row
from volsched.errors import EngineError, PluginError
from volsched.rules.volumes import pod_terminated


class FilterResult(NamedTuple):
    """What the filters left. mask: bool, (nodes,), in the order of `Engine.node_names()`. rejected: the others, with their reasons.
    prefilter: the pod itself was refused, the mask is empty."""

    mask: BoolArray
    rejected: dict[str, Rejection]
    prefilter: Rejection | None


class Mixed(NamedTuple):
    """What own plugins leave for a trial. `skipped`: those whose filter is not asked."""

    cycle: CycleView
    arrangement: Arrangement
    skipped: frozenset[str]


class NativeDecision:
    """A decision of the native engine; see `volsched.engine.decision.Decision`."""

    __slots__ = ("_core", "_mixed", "_pod", "_unscored")

    def __init__(self, core: _core.Decision, pod: Pod, mixed: Mixed | None = None, unscored: str | None = None) -> None:
        self._core = core
        self._pod = pod
        self._mixed = mixed
        self._unscored = unscored  # why an own plugin could not score

    @property
    def pod(self) -> Pod:
        return self._pod

    @property
    def prefilter(self) -> Rejection | None:
        found = self._core.prefilter
        return None if found is None else Rejection._make(found)

    @property
    def error(self) -> str | None:
        return self._core.error

    @property
    def node(self) -> str | None:
        return self._core.node

    @property
    def generation(self) -> int:
        """The engine's generation it was made at."""
        return self._core.generation

    def feasible(self) -> list[str]:
        return self._core.feasible()

    def rejected(self) -> dict[str, Rejection]:
        shared: dict[Any, Rejection] = {}
        return {
            node: shared[found] if found in shared else shared.setdefault(found, Rejection._make(found))
            for node, found in self._core.rejected().items()
        }

    def _check_scored(self) -> None:
        if self._unscored is not None:
            raise EngineError(self._unscored)

    def scores(self) -> dict[str, dict[str, int]]:
        """Raises EngineError when scoring failed and the one feasible node was taken without it."""
        self._check_scored()
        return self._core.scores()

    def totals(self) -> dict[str, int]:
        self._check_scored()
        return self._core.totals()

    def best(self) -> list[str]:
        self._check_scored()
        return self._core.best()

    def volumes(self, node: str) -> VolumePlan:
        return VolumePlan.of(self._core.volumes(node))

    def message(self) -> str:
        return self._core.message()

    @property
    def absent(self) -> Rejection | None:
        found = self._core.absent
        return None if found is None else Rejection._make(found)

    def rejecting_plugins(self) -> frozenset[str]:
        return frozenset(self._core.rejecting_plugins())

    def mask(self) -> BoolArray:
        """bool, (nodes,): the feasible nodes, in the order of `Engine.node_names()`."""
        return self._core.feasible_mask()


class NativeAssumption:
    """An assumption of the native engine; see `volsched.engine.decision.Assumption`."""

    __slots__ = ("_core", "_pod")

    def __init__(self, core: _core.Assumption, pod: Pod) -> None:
        self._core = core
        self._pod = pod

    @property
    def pod(self) -> Pod:
        return self._pod

    @property
    def node(self) -> str:
        return self._core.node

    @property
    def volumes(self) -> VolumePlan:
        return VolumePlan.of(self._core.plan)


def _searched(
    search: _core.Search,
    cycle: CycleView,
    pod: Pod,
    profile: EngineProfile,
    *,
    arrangement: Arrangement,
    skipped: set[str],
    keep_promises: Callable[[], None],
) -> _core.Decision:
    """PreFilter and Filter with own plugins between the native ones. Fills `skipped`."""
    error: str | None = None
    go_on = bool(cycle.node_names)
    for place, step in enumerate(arrangement.pre_filters if go_on else ()):
        if step.own is None:
            go_on = search.pre_filter_at(place)
        else:
            try:
                answer = ask_pre_filter(step, cycle, pod)
            except PluginError as failure:
                error, go_on = f'running PreFilter plugin "{step.name}": {failure}', False
            else:
                if answer.skip:
                    skipped.add(step.name)
                elif answer.reason is not None:
                    go_on = search.refuse(step.name, answer.reason, answer.resolvable)
                elif answer.nodes is not None:
                    go_on = search.restrict(step.name, answer.nodes)
        if not go_on:
            break
    if not (go_on and search.end_pre_filters()):
        decision = search.end()
        if error is not None:
            decision.fail(error)
        return decision
    keep_promises()
    places = {name: place for place, name in enumerate(profile.filters)}
    for step in arrangement.filters:
        if step.own is None:
            search.filter_at(places[step.name])
        elif step.name not in skipped and (alive := search.alive()).any():
            try:
                for verdict in ask_filter(step, cycle, pod, alive):
                    search.reject(verdict.keep, step.name, verdict.reason, verdict.resolvable)
            except PluginError as failure:
                search.fail(step.name, str(failure))
    search.visit(arrangement.takes_first)
    decision = search.end()
    for step in arrangement.late:
        if decision.error is not None or not (found := decision.feasible_mask()).any():
            break
        try:
            for verdict in ask_filter(step, cycle, pod, found):
                decision.narrow(verdict.keep, step.name, verdict.reason, verdict.resolvable)
        except PluginError as failure:
            decision.fail(str(failure))
    return decision


def _chosen(decision: _core.Decision, cycle: CycleView, pod: Pod, arrangement: Arrangement) -> str | None:
    """Own scores, then the choice; answers why an own plugin could not score."""
    if decision.error is not None or decision.prefilter is not None or not decision.feasible_count:
        return None
    failure = _score_own(decision, cycle, pod, arrangement)
    if failure is None:
        decision.choose()
        return None
    native = decision.score_failure()
    text = native[2] if native is not None and native[:2] < failure[:2] else failure[2]
    if decision.feasible_count == 1:
        decision.choose()  # a node that is alone needs no scores
    else:
        decision.fail(text)
    return text


def _score_own(decision: _core.Decision, cycle: CycleView, pod: Pod, arrangement: Arrangement) -> tuple[bool, int, str] | None:
    """Own PreScore and Score; the first failure as (in Score, place there, text)."""
    idle: set[str] = set()
    for place, step in enumerate(arrangement.pre_scores):
        if step.own is not None:
            try:
                if not ask_pre_score(step, cycle, pod, decision.feasible_mask()):
                    idle.add(step.name)
            except PluginError as failure:
                return False, place, f'running PreScore plugin "{step.name}": {failure}'
    for place, step in enumerate(arrangement.scores):
        if step.own is not None and step.name not in idle:
            try:
                scores = ask_scores(step, cycle, pod, decision.feasible_mask())
            except PluginError as failure:
                return True, place, str(failure)
            decision.add_scores(step.name, step.weight, scores)
    return None


class Engine:
    """A cluster in native columns and profiles over it.

    tie_break: among nodes of equal total, `first` in upstream's node order, smallest `name`, `random` from `seed`, or `kube`, upstream's
    heap walk. percentage_of_nodes_to_score: 100 looks at every node; less stops early as upstream does; 0 is upstream's adaptive share.
    profile: the plugins and their arguments, upstream's default profile unless given.
    """

    def __init__(
        self,
        tie_break: TieBreak = "first",
        seed: int = 0,
        percentage_of_nodes_to_score: int = 100,
        profile: EngineProfile | None = None,
    ) -> None:
        self._profile = profile or DEFAULT_PROFILE
        self._compiled = [(DEFAULT_PROFILE, _core.default_profile())]
        self._adopt(_core.Engine(tie_break, seed, percentage_of_nodes_to_score))

    def _adopt(self, core: _core.Engine) -> None:
        self._core = core
        encode = _rows
        self._upserts: dict[str, Callable[[Any], None]] = {
            "Node": lambda obj: core.put_node(encode.node_row(obj)),
            "Pod": self._upsert_pod,
            "PersistentVolume": lambda obj: core.put_volume(encode.volume_row(obj)),
            "PersistentVolumeClaim": lambda obj: core.put_claim(encode.claim_row(obj)),
            "StorageClass": lambda obj: core.put_class(encode.class_row(obj)),
            "CSINode": lambda obj: core.put_csi_node(encode.csi_node_row(obj)),
            "CSIDriver": lambda obj: core.put_csi_driver(encode.csi_driver_row(obj)),
            "CSIStorageCapacity": lambda obj: core.put_capacity(encode.capacity_row(obj)),
            "VolumeAttachment": lambda obj: core.put_attachment(encode.attachment_row(obj)),
            "Namespace": lambda obj: core.put_namespace(encode.namespace_row(obj)),
            "Service": lambda obj: core.put_service(encode.service_row(obj)),
            "ReplicationController": lambda obj: core.put_controller(encode.controller_row(obj)),
            "ReplicaSet": lambda obj: core.put_controller(encode.controller_row(obj)),
            "StatefulSet": lambda obj: core.put_controller(encode.controller_row(obj)),
        }
        self._removals: dict[str, Callable[[str, str], None]] = {
            "Node": core.remove_node,
            "Pod": core.remove_pod,
            "PersistentVolume": core.remove_volume,
            "PersistentVolumeClaim": core.remove_claim,
            "StorageClass": core.remove_class,
            "CSINode": core.remove_csi_node,
            "CSIDriver": core.remove_csi_driver,
            "CSIStorageCapacity": core.remove_capacity,
            "VolumeAttachment": core.remove_attachment,
            "Namespace": core.remove_namespace,
            "Service": core.remove_service,
            "ReplicationController": core.remove_replication_controller,
            "ReplicaSet": core.remove_replica_set,
            "StatefulSet": core.remove_stateful_set,
        }

    # Objects ----------------------------------------------------------------------------------------------------------------------

    def upsert(self, obj: Object) -> None:
        """Take an object in; see `SchedulingEngine.upsert`."""
        take = self._upserts.get(type(obj).__name__)
        if take is not None:
            take(obj)

    def _upsert_pod(self, pod: Pod) -> None:
        if pod.spec is None or not pod.spec.nodeName or pod_terminated(pod):
            key = key_of(pod)
            self._core.remove_pod(key.namespace, key.name)
            return
        self._core.put_pod(_rows.program_row(pod), _rows.instance_row(pod), _rows.usage_row(pod))

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Forget an object; see `SchedulingEngine.remove`."""
        drop = self._removals.get(kind)
        if drop is not None:
            drop(namespace or "default", name)

    # Decisions --------------------------------------------------------------------------------------------------------------------

    def decide(
        self,
        pod: Pod,
        *,
        only: Sequence[str] | None = None,
        plugins: Sequence[ArrayPlugin] = (),
        profile: EngineProfile | None = None,
        state: CycleState | None = None,
        beside: Mapping[str, Sequence[Pod]] | None = None,
    ) -> NativeDecision:
        """Run a profile, and the `plugins` in it, for a pending pod; see `SchedulingEngine.decide`."""
        used = profile or self._profile
        program, instance = _rows.program_row(pod), _rows.instance_row(pod)
        restricted = None if only is None else list(only)
        if not plugins and not used.names_own:
            if beside:
                return NativeDecision(self._core.decide(program, instance, restricted, self._handle(used), promised_rows(beside)), pod)
            return NativeDecision(self._core.decide(program, instance, restricted, self._handle(used)), pod)
        arrangement = arrange(used, plugins)
        search = _core.Search(self._core, program, instance, restricted, self._handle(used))
        cycle = CycleView(self._core, search, state)
        skipped: set[str] = set()

        def keep_promises() -> None:
            known = frozenset(cycle.node_names)
            promised = [(node, pods) for node, pods in (beside or {}).items() if pods and node in known]
            if not promised:
                return
            trial = MixedTrial(self._core, search.trial(), cycle, pod, arrangement=arrangement, skipped=frozenset(skipped))
            for node, pods in promised:
                plugin, verdict = trial.beside(node, pods)
                if isinstance(verdict, str):
                    search.fail_on(node, verdict)
                elif verdict is not None:
                    search.refuse_on(node, plugin, verdict.reasons, verdict.code == protocol.UNSCHEDULABLE)

        decision = _searched(search, cycle, pod, used, arrangement=arrangement, skipped=skipped, keep_promises=keep_promises)
        unscored = _chosen(decision, cycle, pod, arrangement)
        return NativeDecision(decision, pod, Mixed(cycle, arrangement, frozenset(skipped)), unscored)

    def trial(self, decision: protocol.Decision, *, pods_on: Callable[[str], Sequence[Pod]] | None = None) -> protocol.Trial:
        """What-if questions about a decision's pod; see `SchedulingEngine.trial`."""
        if not isinstance(decision, NativeDecision):
            raise EngineError(f"a decision of the native engine is needed, not {type(decision).__name__}")
        trial = _core.Trial(self._core, decision._core)
        mixed = decision._mixed
        if mixed is None:
            return NativeTrial(trial)
        return MixedTrial(
            self._core, trial, mixed.cycle, decision.pod, arrangement=mixed.arrangement, skipped=mixed.skipped, pods_on=pods_on
        )

    def _handle(self, profile: EngineProfile) -> _core.Profile:
        """The profile as the native engine knows it. Compiled when it is first met."""
        for known, handle in self._compiled:
            if known is profile:
                return handle
        for known, handle in self._compiled:
            if known == profile:
                return handle
        handle = self._core.profile(profile_row(profile))
        self._compiled.append((profile, handle))
        return handle

    def _filtered(self, pod: Pod, only: Sequence[str] | None, profile: EngineProfile | None) -> _core.Decision:
        """The built-in filters alone. Raises EngineError when one cannot decide."""
        restricted = None if only is None else list(only)
        handle = self._handle(profile or self._profile)
        decision = self._core.filter(_rows.program_row(pod), _rows.instance_row(pod), restricted, handle)
        if decision.error is not None:
            raise EngineError(decision.error)
        return decision

    def filter(self, pod: Pod, *, only: Sequence[str] | None = None, profile: EngineProfile | None = None) -> FilterResult:
        """The built-in filters alone, for a scheduler of one's own. Raises EngineError when a filter cannot decide."""
        decision = NativeDecision(self._filtered(pod, only, profile), pod)
        return FilterResult(decision.mask(), decision.rejected(), decision.prefilter)

    def score(self, pod: Pod, *, profile: EngineProfile | None = None) -> IntArray:
        """int64, (nodes,), in the order of `node_names()`: the total score of each feasible node, -1 for the others."""
        return self._filtered(pod, None, profile).total_column()

    def batch(self, pods: Iterable[Pod] = ()) -> PodBatch:
        """Pending pods, defaulted, compiled for this engine and to be placed in this order."""
        return PodBatch(self._core, pods)

    def load(self, columns: Columns, *, source: str = "columns") -> PodBatch:
        """Take in a cluster given as templates and columns (`volsched.api.columns`), in native code; returns its pending pods as a batch.

        The cluster is the same as if each object were upserted. source: how errors name it, a file for instance.
        Raises InputError with the table and row of an object that cannot be read, EngineError for a pod that is pending twice.
        """
        batch = PodBatch(self._core)
        load_columns(batch.core, columns, source=source)
        return batch

    def schedule_many(self, batch: PodBatch, *, count: int | None = None, profile: EngineProfile | None = None) -> BatchResult:
        """Decide and assume the pods of a batch one after the other in native code, all of them or the first `count`; `advance` of the
        result goes on. The decisions are those of `decide` and `assume`. Raises EngineError when the batch is of another engine, one of its
        pods is counted on a node already, or the profile names own plugins."""
        used = profile or self._profile
        if used.names_own:
            raise EngineError("a batch runs built-in plugins only; decide one by one with a profile that names others")
        result = BatchResult(self._core, batch, self._handle(used))
        result.advance(len(batch) if count is None else count)
        return result

    def assume(self, decision: protocol.Decision, node: str | None = None) -> NativeAssumption:
        """Count the pod on a node; see `SchedulingEngine.assume`."""
        if not isinstance(decision, NativeDecision):
            raise EngineError(f"a decision of the native engine is needed, not {type(decision).__name__}")
        return NativeAssumption(self._core.assume(decision._core, node), decision.pod)

    def forget(self, assumption: protocol.Assumption) -> None:
        """Undo an assumption exactly; see `SchedulingEngine.forget`."""
        if not isinstance(assumption, NativeAssumption):
            raise EngineError(f"an assumption of the native engine is needed, not {type(assumption).__name__}")
        self._core.forget(assumption._core)

    # The cluster ------------------------------------------------------------------------------------------------------------------

    def node_names(self) -> list[str]:
        """In upstream's node order (spec/scheduling.md 9.2), as a decision made now would visit them."""
        return self._core.node_names()

    @property
    def generation(self) -> int:
        """Grows with every change; decisions carry the one they were made at."""
        return self._core.generation

    @property
    def node_count(self) -> int:
        """Nodes that exist."""
        return self._core.node_count

    @property
    def pod_count(self) -> int:
        """Pods counted on nodes, assumed ones included."""
        return self._core.pod_count

    def fork(self) -> Engine:
        """An independent copy for what-if questions. It shares the memory of what neither of the two has changed since: making one takes
        milliseconds and megabytes even of 100,000 nodes (docs/decisions/0011). The two may be used in different threads."""
        copy = Engine.__new__(Engine)
        copy._profile = self._profile
        copy._compiled = list(self._compiled)  # names and selectors have the same numbers in a copy
        copy._adopt(self._core.fork())
        return copy

    def bytes_used(self) -> dict[str, int]:
        """Approximate native memory by part."""
        return dict(self._core.bytes_used())

    def digest(self) -> str:
        """Text of everything decisions depend on, but for what depends on history: the order of nodes and of the pods on one, and lagging
        image counts. Equal for equal clusters, whatever way they came about. For tests."""
        return self._core.digest()

    def validate(self) -> str:
        """Empty, or the first invariant of the native structures that does not hold. For tests."""
        return self._core.validate()
