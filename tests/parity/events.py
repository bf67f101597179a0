"""What happens to a cluster: events as data, and their making by chance.

    Happenings.draw(known) ──Event──> a world (tests.parity.worlds) ──> the engines, and what survives

An event holds whole objects, so a sequence can be played again without the chance it came from, and goes on making sense when some of its
events are left out: whoever plays it passes over what has become impossible.

Nothing is kept consistent on purpose. A pod may come before its node and its claim, a claim before its volume and its class; a volume may
be bound to a claim that thinks otherwise; nodes go with pods on them. All of these an engine sees, if only for a moment, because every kind
of object is watched on its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from lightkube.models.core_v1 import (
    Container,
    ContainerStatus,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodCondition,
    PodStatus,
    ResourceRequirements,
)

from tests.builders import make_claim_ref, make_csidriver, make_namespace, make_owner
from tests.parity.clusters import CLASSES, DELETED, DRIVERS, OWNERS, Draw
from volsched.api.defaults import with_defaults
from volsched.api.edit import replace, uid_of, with_annotations, with_labels, with_metadata, with_spec
from volsched.api.kinds import Object, key_of
from volsched.rules.volumes import ANN_SELECTED_NODE, ephemeral_claim_name

Name: TypeAlias = tuple[str, str]  # namespace (empty for cluster-scoped kinds), name

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"


class Put(NamedTuple):
    """An object is new or has changed. late: its watch event stays on the way for a while."""

    obj: Any
    late: bool = False


class Drop(NamedTuple):
    """An object is gone."""

    kind: str
    name: Name
    late: bool = False


class Resync(NamedTuple):
    """An informer tells of an object again, unchanged."""

    kind: str
    name: Name


class Assume(NamedTuple):
    """The pod is decided on and counted: on the chosen node, or on some other feasible one."""

    pod: Pod
    other: int | None = None


class Confirm(NamedTuple):
    """The API server reports an assumed pod on its node."""

    name: Name


class Forget(NamedTuple):
    """An assumption is taken back."""

    name: Name


class Carry(NamedTuple):
    """The next step of an assumed pod's binding cycle: a write, or a look at what has become of the earlier ones."""

    name: Name
    late: bool = False


class Deliver(NamedTuple):
    """Watch events that are on the way arrive."""


class Fork(NamedTuple):
    """What follows happens to a copy."""


Event: TypeAlias = Put | Drop | Resync | Assume | Confirm | Forget | Carry | Deliver | Fork


class Known(Protocol):
    """What a world knows when the next event is drawn."""

    objects: Mapping[str, Mapping[Name, Any]]
    """By kind, as the API server has them. Pods: those on nodes."""

    @property
    def held(self) -> Sequence[Name]:
        """Pods assumed and not forgotten."""


def _name(obj: Object) -> Name:
    key = key_of(obj)
    return key.namespace, key.name


# happening -> how often, in proportion
OFTEN: Final[Mapping[str, int]] = {
    "node_comes": 6,
    "node_changes": 8,
    "node_goes": 4,
    "csi_node_comes": 5,
    "csi_node_goes": 2,
    "pod_comes": 14,
    "pod_changes": 10,
    "pod_goes": 7,
    "claim_comes": 9,
    "claim_changes": 10,
    "claim_goes": 2,
    "own_claim_comes": 3,
    "volume_comes": 7,
    "volume_changes": 9,
    "volume_goes": 3,
    "class_comes": 4,
    "class_goes": 1,
    "driver_comes": 3,
    "driver_goes": 1,
    "capacity_comes": 4,
    "capacity_goes": 2,
    "attachment_comes": 5,
    "attachment_goes": 3,
    "namespace_comes": 2,
    "namespace_goes": 1,
    "service_comes": 2,
    "service_goes": 1,
    "controller_comes": 2,
    "controller_goes": 2,
    "assume": 18,
    "confirm": 5,
    "forget": 6,
    "resync": 4,
    "fork": 1,
    "carry": 12,
    "deliver": 8,
}
_FOR_BINDING_CYCLES: Final = frozenset({"carry", "deliver"})


class Happenings:
    """Draws events. `templates` are the pods that are asked for and assumed; each is replaced now and then. Of many, most are rarely asked
    for: what an engine keeps for them falls far behind.

    images: whether nodes have any. binding: whether there is an API server between the events' making and their arrival, so that they can
    be late and bindings are carried out write by write.
    """

    def __init__(self, draw: Draw, *, images: bool, binding: bool, templates: int = 6) -> None:
        self._draw = draw
        self._images = images
        self._binding = binding
        self._serial = 0
        self.templates = [self._template(number) for number in range(templates)]
        self._names = [name for name in OFTEN if binding or name not in _FOR_BINDING_CYCLES]
        self._ladder = [name for name in self._names for _ in range(OFTEN[name])]

    @property
    def names(self) -> Sequence[str]:
        """What can happen here."""
        return self._names

    def use(self, chance: random.Random) -> None:
        """Draw from another source of chance from now on."""
        self._draw.chance = chance

    def pod(self) -> Pod:
        """The pod to be decided on next."""
        common = self.templates[:20] if self._draw.maybe(90) else self.templates
        return self._draw.one(*common)

    def any(self, known: Known) -> Event:
        """Something happens."""
        while True:
            event = self.draw(self._draw.one(*self._ladder), known)
            if event is not None:
                return event

    def draw(self, name: str, known: Known) -> Event | None:
        """This happens; None when it cannot."""
        event: Event | None = getattr(self, f"_{name}")(known)
        return event

    def population(self) -> list[Put]:
        """A whole cluster, in no order."""
        objects = [self._ready(obj) for obj in self._draw.situation(pods=0).objects]
        self._draw.chance.shuffle(objects)
        return [Put(obj) for obj in objects]

    # Pieces

    def _ready(self, obj: Object) -> Object:
        if isinstance(obj, Node) and not self._images:
            obj = replace(obj, status=replace(obj.status, images=None))
        return with_defaults(obj)

    def _put(self, obj: Object) -> Put:
        return Put(self._ready(obj), late=self._binding and self._draw.maybe(15))

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _some(self, known: Known, kind: str) -> Any | None:
        """An object of the kind, None when there is none."""
        objects = known.objects.get(kind)
        return self._draw.one(*objects.values()) if objects else None

    def _drop(self, known: Known, kind: str) -> Drop | None:
        found = self._some(known, kind)
        return None if found is None else Drop(kind, _name(found), late=self._binding and self._draw.maybe(15))

    def _node_number(self) -> int:
        return self._draw.chance.randrange(self._draw.nodes)

    def _template(self, number: int) -> Pod:
        """Most have few claims, else there is nearly always one that cannot be used."""
        pod = self._draw.pod(f"pod{number}")
        keep = self._draw.one(30, 60, 100)
        volumes = [volume for volume in pod.spec.volumes or () if volume.persistentVolumeClaim is None or self._draw.maybe(keep)]
        namespace = "other" if self._draw.maybe(10) else "default"
        pod = with_metadata(pod, uid=f"uid-pod{number}-{self._next()}", namespace=namespace)
        return with_defaults(with_spec(pod, volumes=volumes or None))

    # Nodes

    def _node_comes(self, known: Known) -> Event:
        return self._put(self._draw.node(self._node_number()))

    def _node_changes(self, known: Known) -> Event | None:
        """Some part of a node, the others left alone: labels, taints, or what it offers and holds."""
        node = self._some(known, "Node")
        if node is None:
            return None
        fresh = self._draw.node(int(_name(node)[1].removeprefix("node")))
        parts = [part for part in ("metadata", "spec", "status") if self._draw.maybe(45)]
        return self._put(replace(node, **{part: getattr(fresh, part) for part in parts}))

    def _node_goes(self, known: Known) -> Event | None:
        return self._drop(known, "Node")

    def _csi_node_comes(self, known: Known) -> Event:
        return self._put(self._draw.csi_node(self._node_number()))

    def _csi_node_goes(self, known: Known) -> Event | None:
        return self._drop(known, "CSINode")

    # Pods on nodes

    def _placed(self, name: str) -> Pod:
        number = self._node_number() if self._draw.maybe(97) else self._draw.nodes  # a node that is never there
        pod = self._draw.pod(name, node=f"node{number}")
        return with_metadata(pod, uid=f"uid-{name}-{self._next()}")

    def _pod_comes(self, known: Known) -> Event:
        """A new pod, or another one in the place of one that has its name."""
        return self._put(self._placed(f"placed{self._draw.chance.randrange(2 * self._draw.nodes)}"))

    def _pod_changes(self, known: Known) -> Event | None:
        pod = self._some(known, "Pod")
        if pod is None:
            return None
        changes = (
            self._relabelled,
            self._relabelled,
            self._terminating,
            self._resized,
            self._resized,
            self._resize_under_way,
            self._another_spec,
            self._another_owner,
            self._on_another_node,
            self._ended,
            self._pending,
        )
        return self._put(self._draw.one(*changes)(pod))

    def _relabelled(self, pod: Pod) -> Pod:
        return with_labels(pod, {self._draw.one("app", "tier"): self._draw.one("a", "b", None)})

    def _terminating(self, pod: Pod) -> Pod:
        return with_metadata(pod, deletionTimestamp=DELETED)

    def _resized(self, pod: Pod) -> Pod:
        return with_spec(pod, containers=[self._draw.container(container.name) for container in pod.spec.containers])

    def _resize_under_way(self, pod: Pod) -> Pod:
        """What the kubelet has given the pod differs from what it asks for."""

        def given(container: Container) -> ContainerStatus:
            amounts = {"cpu": self._draw.one("50m", "700m", "3"), "memory": self._draw.one("1Mi", "2Gi")}
            allocated = amounts if self._draw.maybe(70) else None
            actual = ResourceRequirements(requests=amounts) if self._draw.maybe(50) else None
            return ContainerStatus(
                name=container.name, image="", imageID="", ready=True, restartCount=0, allocatedResources=allocated, resources=actual
            )

        reason = self._draw.one("Infeasible", "Deferred", None)
        waiting = [PodCondition(type="PodResizePending", status="True", reason=reason)] if reason else None
        return replace(pod, status=PodStatus(containerStatuses=[given(container) for container in pod.spec.containers], conditions=waiting))

    def _another_spec(self, pod: Pod) -> Pod:
        return with_spec(replace(pod, spec=self._draw.pod("p").spec), nodeName=pod.spec.nodeName)

    def _another_owner(self, pod: Pod) -> Pod:
        return with_metadata(pod, ownerReferences=[self._draw.owner()] if self._draw.maybe(70) else None)

    def _on_another_node(self, pod: Pod) -> Pod:
        """Only a pod of the same name can be; its uid is another."""
        moved = with_metadata(pod, uid=f"uid-{_name(pod)[1]}-{self._next()}", deletionTimestamp=None)
        return with_spec(moved, nodeName=f"node{self._node_number()}")

    def _ended(self, pod: Pod) -> Pod:
        return replace(pod, status=PodStatus(phase=self._draw.one("Succeeded", "Failed")))

    def _pending(self, pod: Pod) -> Pod:
        """A pod of the same name that is on no node yet, perhaps never will be."""
        fresh = with_metadata(pod, uid=f"uid-{_name(pod)[1]}-{self._next()}", deletionTimestamp=DELETED if self._draw.maybe(30) else None)
        return with_spec(fresh, nodeName=None)

    def _pod_goes(self, known: Known) -> Event | None:
        return self._drop(known, "Pod")

    # Claims

    def _claim_name(self) -> str:
        return self._draw.one(*self._draw.claims, *self._draw.claims, "missing")

    def _claim_comes(self, known: Known) -> Event:
        name = self._claim_name()
        bound = {"bound_to": self._draw.one(f"bound-{name}", f"bound-{name}", "free0", "nowhere")} if self._draw.maybe(35) else {}
        return self._put(self._draw.claim(name, namespace="other" if self._draw.maybe(12) else "default", **bound))

    def _claim_changes(self, known: Known) -> Event | None:
        claim = self._some(known, "PersistentVolumeClaim")
        if claim is None:
            return None
        changes = (
            self._bound,
            self._bound,
            self._bound,
            self._half_bound,
            self._unbound,
            self._unbound,
            self._unbound,
            self._selected,
            self._selected,
            self._lost,
            self._recreated,
            self._recreated,
            self._regrown,
            self._regrown,
        )
        return self._put(self._draw.one(*changes)(claim, known))

    def _bound(self, claim: PersistentVolumeClaim, known: Known) -> PersistentVolumeClaim:
        """To the volume that says so, if there is one."""
        namespace, name = _name(claim)
        mine = [
            key[1]
            for key, pv in known.objects.get("PersistentVolume", {}).items()
            if (ref := pv.spec.claimRef) is not None and (ref.namespace, ref.name) == (namespace, name)
        ]
        bound = with_spec(claim, volumeName=self._draw.one(*(mine or [f"bound-{name}", "free0"])))
        return with_annotations(replace(bound, status=replace(claim.status, phase="Bound")), {BIND_COMPLETED: "yes"})

    def _half_bound(self, claim: PersistentVolumeClaim, known: Known) -> PersistentVolumeClaim:
        return with_annotations(with_spec(claim, volumeName=f"bound-{_name(claim)[1]}"), {BIND_COMPLETED: None})

    def _unbound(self, claim: PersistentVolumeClaim, known: Known) -> PersistentVolumeClaim:
        freed = with_spec(replace(claim, status=replace(claim.status, phase="Pending")), volumeName=None)
        return with_annotations(freed, {BIND_COMPLETED: None, ANN_SELECTED_NODE: None})

    def _selected(self, claim: PersistentVolumeClaim, known: Known) -> PersistentVolumeClaim:
        return with_annotations(claim, {ANN_SELECTED_NODE: self._draw.one(None, f"node{self._node_number()}")})

    def _lost(self, claim: PersistentVolumeClaim, known: Known) -> PersistentVolumeClaim:
        return replace(claim, status=replace(claim.status, phase="Lost"))

    def _recreated(self, claim: PersistentVolumeClaim, known: Known) -> PersistentVolumeClaim:
        return with_metadata(claim, uid=self._draw.one(None, f"uid-{_name(claim)[1]}", f"uid-{self._next()}"))

    def _regrown(self, claim: PersistentVolumeClaim, known: Known) -> PersistentVolumeClaim:
        """Another size, class, mode, selector under the same name and uid."""
        fresh = self._draw.claim(_name(claim)[1], namespace=_name(claim)[0])
        return replace(claim, spec=replace(fresh.spec, volumeName=claim.spec.volumeName))

    def _claim_goes(self, known: Known) -> Event | None:
        return self._drop(known, "PersistentVolumeClaim")

    def _own_claim_comes(self, known: Known) -> Event | None:
        """The claim of a pod's generic ephemeral volume, now and then with the wrong owner."""
        pods = [*known.objects.get("Pod", {}).values(), *self.templates]
        found = [(pod, volume) for pod in pods for volume in pod.spec.volumes or () if volume.ephemeral is not None]
        if not found:
            return None
        pod, volume = self._draw.one(*found)
        owner = make_owner("Pod", _name(pod)[1], uid_of(pod) if self._draw.maybe(85) else "uid-of-another")
        name = ephemeral_claim_name(_name(pod)[1], volume.name)
        bound = {"bound_to": "free0"} if self._draw.maybe(30) else {}
        return self._put(self._draw.claim(name, namespace=_name(pod)[0], owners=[owner] if self._draw.maybe(95) else [], **bound))

    # Volumes

    def _volume_comes(self, known: Known) -> Event:
        if self._draw.maybe(50):
            claim = self._draw.one(*self._draw.claims)
            return self._put(self._draw.volume(f"bound-{claim}", claim=f"default/{claim}", claim_uid=f"uid-{claim}"))
        phase = self._draw.one("Available", "Available", "Available", "Pending", "Released")
        reserved = {"claim": f"default/{self._draw.one(*self._draw.claims)}"} if self._draw.maybe(15) else {}
        return self._put(self._draw.volume(f"free{self._node_number()}", phase=phase, **reserved))

    def _volume_changes(self, known: Known) -> Event | None:
        volume = self._some(known, "PersistentVolume")
        if volume is None:
            return None
        changes = (
            self._reserved,
            self._reserved,
            self._released,
            self._released,
            self._released,
            self._phased,
            self._rebuilt,
            self._relabelled_volume,
        )
        return self._put(self._draw.one(*changes)(volume, known))

    def _reserved(self, volume: PersistentVolume, known: Known) -> PersistentVolume:
        claim = self._some(known, "PersistentVolumeClaim")
        if claim is None:
            return with_spec(volume, claimRef=make_claim_ref("default/missing", uid=None))
        uid = self._draw.one(uid_of(claim) or None, uid_of(claim) or None, None, "uid-of-another")
        reserved = with_spec(volume, claimRef=make_claim_ref("/".join(_name(claim)), uid=uid))
        return replace(reserved, status=replace(volume.status, phase="Bound")) if self._draw.maybe(60) else reserved

    def _released(self, volume: PersistentVolume, known: Known) -> PersistentVolume:
        return with_spec(replace(volume, status=replace(volume.status, phase="Available")), claimRef=None)

    def _phased(self, volume: PersistentVolume, known: Known) -> PersistentVolume:
        phase = self._draw.one("Available", "Available", "Released", "Failed", "Pending")
        deleted = DELETED if self._draw.maybe(15) else None
        return with_metadata(replace(volume, status=replace(volume.status, phase=phase)), deletionTimestamp=deleted)

    def _rebuilt(self, volume: PersistentVolume, known: Known) -> PersistentVolume:
        """Another size, class, source or affinity under the same name."""
        fresh = self._draw.volume(_name(volume)[1])
        return replace(volume, spec=replace(fresh.spec, claimRef=volume.spec.claimRef))

    def _relabelled_volume(self, volume: PersistentVolume, known: Known) -> PersistentVolume:
        return with_metadata(volume, labels=self._draw.volume("v").metadata.labels)

    def _volume_goes(self, known: Known) -> Event | None:
        return self._drop(known, "PersistentVolume")

    # The other kinds

    def _class_comes(self, known: Known) -> Event:
        return self._put(self._draw.storage_class(self._draw.one(*CLASSES, *CLASSES, "gone")))

    def _class_goes(self, known: Known) -> Event | None:
        return self._drop(known, "StorageClass")

    def _driver_comes(self, known: Known) -> Event:
        made = make_csidriver(self._draw.one(*DRIVERS), storage_capacity=self._draw.maybe(60), prevent_if_missing=self._draw.maybe(25))
        return self._put(made)

    def _driver_goes(self, known: Known) -> Event | None:
        return self._drop(known, "CSIDriver")

    def _capacity_comes(self, known: Known) -> Event:
        return self._put(self._draw.capacity(self._draw.chance.randrange(5)))

    def _capacity_goes(self, known: Known) -> Event | None:
        return self._drop(known, "CSIStorageCapacity")

    def _attachment_comes(self, known: Known) -> Event:
        return self._put(self._draw.attachment(self._draw.chance.randrange(self._draw.nodes + 2)))

    def _attachment_goes(self, known: Known) -> Event | None:
        return self._drop(known, "VolumeAttachment")

    def _namespace_comes(self, known: Known) -> Event:
        return self._put(make_namespace(self._draw.one("default", "other"), labels={"team": self._draw.one("x", "y")}))

    def _namespace_goes(self, known: Known) -> Event | None:
        return self._drop(known, "Namespace")

    def _service_comes(self, known: Known) -> Event:
        return self._put(self._draw.service(self._draw.chance.randrange(3)))

    def _service_goes(self, known: Known) -> Event | None:
        return self._drop(known, "Service")

    def _controller_comes(self, known: Known) -> Event:
        return self._put(self._draw.controller(self._draw.chance.randrange(len(OWNERS))))

    def _controller_goes(self, known: Known) -> Event | None:
        kinds = [kind for _version, kind in OWNERS if known.objects.get(kind)]
        return self._drop(known, self._draw.one(*kinds)) if kinds else None

    # The scheduler's own

    def _assume(self, known: Known) -> Event | None:
        place = self._draw.chance.randrange(len(self.templates))
        if self._draw.maybe(15):
            self.templates[place] = self._template(place)
        pod = self.templates[place]
        if _name(pod) in known.held or _name(pod) in known.objects.get("Pod", {}):
            return None
        return Assume(pod, self._node_number() if self._draw.maybe(40) else None)

    def _confirm(self, known: Known) -> Event | None:
        return Confirm(self._draw.one(*known.held)) if known.held else None

    def _forget(self, known: Known) -> Event | None:
        return Forget(self._draw.one(*known.held)) if known.held else None

    def _carry(self, known: Known) -> Event | None:
        return Carry(self._draw.one(*known.held), late=self._draw.maybe(30)) if known.held else None

    def _deliver(self, known: Known) -> Event:
        return Deliver()

    def _resync(self, known: Known) -> Event | None:
        kinds = [kind for kind, objects in known.objects.items() if objects]
        if not kinds:
            return None
        kind = self._draw.one("PersistentVolume", "PersistentVolumeClaim", *kinds)
        found = self._some(known, kind)
        return None if found is None else Resync(kind, _name(found))

    def _fork(self, known: Known) -> Event | None:
        return None if self._binding else Fork()
