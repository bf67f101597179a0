"""A seed becomes a story: a small cluster, and a user who creates, edits and deletes what storage consists of, at bad moments.

The story is a pure function of the seed and does not look at what happens, so it can be printed, stored, shortened and played again. Names
come from small pools, so objects of one name come and go and refer to each other before and after they exist. Many entries share an instant
or follow within milliseconds: they fall between two writes of some controller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from volsched.env.chance import Chance, Stream

ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
GROUP_API = "groupsnapshot.storage.k8s.io/v1"
DEFAULT_SNAPSHOT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"
ZONES = ("a", "b", "c")
DRIVERS = ("one.csi.example.com", "two.csi.example.com")
GAPS_S = (0.0, 0.0, 0.0, 0.001, 0.01, 0.1, 0.5, 1.0, 1.001, 3.0, 8.0, 16.0, 40.0)
STEPS = (0, 0, 1, 2, 3, 5, 8, 13, 21, 34, 55)  # of an instant, before the user acts in the middle of it
RETRIABLE_CODES = ("4", "10", "14")
FINAL_CODES = ("3", "5", "6", "9", "11", "13")

Entry = dict[str, Any]

# What a story is mostly about: actions that come so many times more often, and traits its cluster has for certain.
# fmt: off
THEMES: dict[str, tuple[dict[str, int], frozenset[str]]] = {
    "anything":  ({}, frozenset()),
    "snapshots": ({"create_snapshot": 3, "delete_snapshot": 3, "edit_content": 2}, frozenset({"snapshot classes"})),
    "restores":  ({"restore": 4, "create_snapshot": 2, "delete_snapshot": 2}, frozenset({"snapshot classes", "failing"})),
    "crowded":   ({"create_pod": 3, "delete_pod": 2}, frozenset({"mounting", "limit", "few nodes"})),
    "retained":  ({"edit_volume": 5, "delete_claim": 2, "replace": 4}, frozenset({"retain"})),
    "local":     ({"create_pod": 2, "edit_node": 2, "replace": 2}, frozenset({"local", "instant"})),
    "failing":   ({"edit_class": 3, "delete_claim": 2, "restore": 2}, frozenset({"failing", "snapshot classes"})),
    "nodes":     ({"edit_node": 4, "edit_driver": 4, "create_pod": 2, "delete_pod": 2}, frozenset({"mounting"})),
    "groups":    ({"create_group": 5, "delete_group": 4, "create_claim": 2, "restore": 2}, frozenset({"groups"})),
    "growing":   ({"expand": 8, "modify": 6, "create_pod": 2}, frozenset({"mounting", "attributes"})),
    "sets":      ({"create_set": 3, "edit_set": 5, "delete_pod": 3, "edit_node": 2}, frozenset({"sets"})),
}
# fmt: on


class Generator:
    """Builds one story."""

    def __init__(self, seed: int, *, actions: int = 60) -> None:
        self._chance: Stream = Chance(seed)("story")
        self._timeline: list[Entry] = []
        self._at = 0.0
        self._steps: int | None = 0  # the cluster is there before anything happens
        self._actions = actions
        self._theme = self._pick(tuple(THEMES))
        self._weights, traits = THEMES[self._theme]
        self._traits = traits
        self._zones = ZONES[: self._pick((1, 2, 3, 3))]
        self._mounting = "mounting" in traits or (self._one_in(2) and "instant" not in traits)
        self._drivers = DRIVERS[: self._pick((1, 1, 2))]
        self._limit = self._pick((1, 2) if "limit" in traits else (0, 0, 2, 3)) if self._mounting else 0
        self._capacity_objects = self._one_in(4)
        self._exact_capacity = self._capacity_objects and seed % 2 == 1
        self._nodes = [f"n{number}" for number in range(self._pick((1, 2) if "few nodes" in traits else (2, 3, 4, 5)))]
        self._local = "local" in traits or self._one_in(2)
        self._claims = [f"c{number}" for number in range(self._pick((2, 5, 9)))]
        self._pods = [f"p{number}" for number in range(self._pick((2, 5, 9)))]
        self._snapshots = [f"s{number}" for number in range(self._pick((1, 3, 5)))]
        self._groups = [f"g{number}" for number in range(self._pick((1, 2)))] if "groups" in traits or self._one_in(4) else []
        self._attributes = ["gold", "silver", "bad"] if "attributes" in traits or self._one_in(4) else []
        self._sets = [f"set{number}" for number in range(self._pick((1, 2)))] if "sets" in traits or self._one_in(8) else []
        self._classes: list[str] = []
        self._snapshot_classes: list[str] = []
        self._likely: dict[str, dict[str, None]] = {}  # kind -> names that probably exist at this point of the story

    # chance

    def _pick(self, options: Sequence[Any]) -> Any:
        return options[self._chance.randrange(len(options))]

    def _one_in(self, count: int) -> bool:
        return self._chance.randrange(count) == 0

    def _name(self, kind: str, pool: Sequence[str], *, present: bool) -> str:
        """A name of the pool: mostly one that probably exists, or mostly one that does not."""
        likely = self._likely.get(kind, {})
        fitting = [name for name in pool if (name in likely) is present]
        return str(self._pick(fitting if fitting and not self._one_in(6) else pool))

    def _claim(self, *, present: bool = True) -> str:
        return self._name("PersistentVolumeClaim", self._claims, present=present)

    def _pod(self, *, present: bool = True) -> str:
        return self._name("Pod", self._pods, present=present)

    def _snapshot(self, *, present: bool = True) -> str:
        return self._name("VolumeSnapshot", self._snapshots, present=present)

    # the story

    def story(self) -> dict[str, Any]:
        """The whole story."""
        drivers = [self._driver(name) for name in self._drivers]
        self._cluster()
        for _ in range(self._actions):
            gap = self._pick(GAPS_S)
            self._at = round(self._at + gap, 3)
            self._steps = self._pick(STEPS) if gap == 0 else None
            self._action()
        return {
            "drivers": drivers,
            "kubelet": "mounting" if self._mounting else "instant",
            "exact_capacity": self._exact_capacity,
            "timeline": self._timeline,
            "teardown": True,
            "theme": self._theme,
        }

    def _driver(self, name: str) -> Entry:
        options: Entry = {"strict_topology": self._one_in(4)}
        if self._capacity_objects:
            options |= {"enable_capacity": True}
        scope = self._pick(("anywhere", "anywhere", "topology"))
        driver: Entry = {"profile": "full", "name": name, "options": options, "source_scope": scope}
        if self._capacity_objects:
            driver["capacity"] = {zone: self._pick((0, 30, 100)) << 30 for zone in self._zones}
        if self._limit:
            driver["max_volumes_per_node"] = self._limit
        return driver

    def _do(self, verb: str, kind: str, name: str, body: Any = None, **more: Any) -> None:
        do: Entry = {"verb": verb, "kind": kind, "name": name} | more
        if body is not None:
            do["body"] = body
        if verb == "create":
            self._likely.setdefault(kind, {})[name] = None
        elif verb == "delete":
            self._likely.get(kind, {}).pop(name, None)
        entry: Entry = {"at": self._at, "do": do}
        if self._steps is not None:
            entry["steps"] = self._steps
        self._timeline.append(entry)
        self._steps = 0 if self._steps is None else self._pick(STEPS[:4])

    def _create(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, metadata: Entry | None = None, **fields: Any
    ) -> None:
        meta: Entry = {"name": name} | ({"namespace": namespace} if namespace else {}) | (metadata or {})
        body = {"apiVersion": api_version, "kind": kind, "metadata": meta} | fields
        self._do("create", kind, name, body, **({"namespace": namespace} if namespace else {}))

    # the cluster at the start

    def _cluster(self) -> None:
        for name in self._drivers:
            spec = {"attachRequired": self._mounting, "storageCapacity": self._capacity_objects}
            self._create("storage.k8s.io/v1", "CSIDriver", name, spec=spec)
        for node in self._nodes:
            self._node(node)
        self._make_classes()
        for name in self._attributes:
            parameters = {"colour": "red"} if name == "bad" else {"iops": self._pick(("100", "200"))}
            self._create("storage.k8s.io/v1", "VolumeAttributesClass", name, driverName=self._drivers[0], parameters=parameters)
        if self._groups:
            policy = self._pick(("Delete", "Delete", "Retain"))
            fields = {"driver": self._drivers[0], "deletionPolicy": policy, "parameters": {"readyAfter": f"{self._pick((0, 5))}s"}}
            self._create(GROUP_API, "VolumeGroupSnapshotClass", "groups", **fields)
        if self._local:
            for number in range(self._pick((1, 2, 4))):
                self._local_volume(f"local-{number}")

    def _node(self, name: str) -> None:
        number = int(name[1:])
        zone = self._zones[number % len(self._zones)]
        cpu = self._pick(("1", "4", "8"))
        room = {"cpu": cpu, "memory": "8Gi", "pods": "20"}
        status = {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}
        self._create("v1", "Node", name, metadata={"labels": {HOSTNAME: name, ZONE: zone}}, spec={}, status=status)
        drivers = []
        for driver in self._drivers:
            entry: Entry = {"name": driver, "nodeID": f"id-{name}", "topologyKeys": [ZONE]}
            if self._limit:
                entry["allocatable"] = {"count": self._limit}
            drivers.append(entry)
        self._create("storage.k8s.io/v1", "CSINode", name, spec={"drivers": drivers})

    def _make_classes(self) -> None:
        wffc, immediate = "WaitForFirstConsumer", "Immediate"
        first = self._drivers[0]
        self._class("wffc", first, wffc)
        self._class("imm", first, immediate)
        chosen = [self._pick(("retain", "zone", "fail", "retry", "other", "default")) for _ in range(self._pick((0, 1, 2, 3)))]
        chosen += ["retain"] if "retain" in self._traits else []
        chosen += ["fail", "retry"] if "failing" in self._traits else []
        for what in chosen:
            if what == "retain":
                self._class("retain", first, self._pick((wffc, immediate)), reclaimPolicy="Retain")
            elif what == "zone":
                terms = [{"matchLabelExpressions": [{"key": ZONE, "values": [self._pick(ZONES)]}]}]
                self._class("zone", first, self._pick((wffc, immediate)), allowedTopologies=terms)
            elif what == "fail":
                self._class("fail", first, self._pick((wffc, immediate)), parameters={"fail": self._pick(FINAL_CODES)})
            elif what == "retry":
                self._class("retry", first, self._pick((wffc, immediate)), parameters={"fail": self._pick(RETRIABLE_CODES)})
            elif what == "other":
                self._class("other", self._drivers[-1], self._pick((wffc, immediate)))
            elif what == "default":
                self._class("default", first, self._pick((wffc, immediate)), metadata={"annotations": {DEFAULT_CLASS: "true"}})
        if self._local:
            self._class("local", "kubernetes.io/no-provisioner", wffc)
        self._snapshot_class("snap")
        for _ in range(self._pick((2, 4) if "snapshot classes" in self._traits else (0, 1, 2))):
            self._snapshot_class(self._pick(("snap-retain", "snap-slow", "snap-fail", "snap-retry", "snap-default")))

    def _class(self, name: str, provisioner: str, mode: str, **fields: Any) -> None:
        if name not in self._classes:
            self._classes.append(name)
        fields = {"reclaimPolicy": "Delete", "allowVolumeExpansion": True} | fields
        self._create("storage.k8s.io/v1", "StorageClass", name, provisioner=provisioner, volumeBindingMode=mode, **fields)

    def _snapshot_class(self, name: str) -> None:
        if name not in self._snapshot_classes:
            self._snapshot_classes.append(name)
        fields: Entry = {"driver": self._drivers[0], "deletionPolicy": "Retain" if name == "snap-retain" else "Delete"}
        if name == "snap-slow":
            fields["parameters"] = {"readyAfter": f"{self._pick((2, 9, 30))}s"}
        if name == "snap-fail":
            fields["parameters"] = {"fail": self._pick(FINAL_CODES)}
        if name == "snap-retry":
            fields["parameters"] = {"fail": self._pick((*RETRIABLE_CODES, "8"))}
        metadata = {"annotations": {DEFAULT_SNAPSHOT_CLASS: "true"}} if name == "snap-default" else None
        self._create("snapshot.storage.k8s.io/v1", "VolumeSnapshotClass", name, metadata=metadata, **fields)

    def _local_volume(self, name: str) -> None:
        node = self._pick(self._nodes)
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node]}]}]}}
        spec: Entry = {
            "capacity": {"storage": self._pick(("5Gi", "20Gi"))},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local",
            "local": {"path": f"/disks/{name}"},
            "nodeAffinity": affinity,
        }
        if self._one_in(6):
            spec["claimRef"] = {"name": self._pick(self._claims), "namespace": "default"}
        self._create("v1", "PersistentVolume", name, spec=spec)

    # the user

    def _action(self) -> None:
        # fmt: off
        actions: Sequence[tuple[int, Callable[[], None]]] = (
            (16, self._create_claim), (7, self._delete_claim), (7, self._restore),
            (18, self._create_pod), (8, self._delete_pod), (2, self._finish_pod),
            (10, self._create_snapshot), (5, self._delete_snapshot), (2, self._import_snapshot), (3, self._edit_content),
            (5, self._write), (3, self._edit_volume), (2, self._edit_claim), (4, self._edit_class), (4, self._edit_node), (1, self._force),
            (2, self._register_volume), (2, self._edit_snapshot), (2, self._replace), (1, self._edit_driver), (2, self._expand),
            *(((3, self._create_group), (2, self._delete_group), (1, self._import_group)) if self._groups else ()),
            *(((3, self._modify),) if self._attributes else ()), *(((2, self._create_set), (3, self._edit_set)) if self._sets else ()),
        )
        # fmt: on
        weighted = [(weight * self._weights.get(action.__name__.strip("_"), 1), action) for weight, action in actions]
        draw = self._chance.randrange(sum(weight for weight, _ in weighted))
        for weight, action in weighted:
            draw -= weight
            if draw < 0:
                action()
                return

    def _claim_spec(self) -> Entry:
        modes = self._pick((["ReadWriteOnce"],) * 8 + (["ReadWriteMany"], ["ReadWriteOncePod"], ["ReadWriteOnce", "ReadOnlyMany"]))
        spec: Entry = {"accessModes": modes, "resources": {"requests": {"storage": self._pick(("1Gi", "5Gi", "5Gi", "10Gi"))}}}
        often = 2 if self._theme in ("failing", "retained", "local") else 5
        storage_class = self._pick((*self._classes, *("wffc", "imm") * often, None, "", "missing"))
        if storage_class is not None:
            spec["storageClassName"] = storage_class
        if self._one_in(12):
            spec["volumeMode"] = "Block"
        if self._local and self._one_in(20):
            spec["volumeName"] = "local-0"
        if self._attributes and self._one_in(3):
            spec["volumeAttributesClassName"] = self._pick(self._attributes)
        return spec

    def _create_claim(self) -> None:
        metadata = {"labels": {"app": self._pick(("db", "web"))}} if self._groups else None
        self._create("v1", "PersistentVolumeClaim", self._claim(present=False), "default", metadata, spec=self._claim_spec())

    def _expand(self) -> None:
        body = {"spec": {"resources": {"requests": {"storage": self._pick(("6Gi", "12Gi", "24Gi"))}}}}
        self._do("patch", "PersistentVolumeClaim", self._claim(), body, namespace="default")

    def _modify(self) -> None:
        body = {"spec": {"volumeAttributesClassName": self._pick(self._attributes)}}
        self._do("patch", "PersistentVolumeClaim", self._claim(), body, namespace="default")

    def _group(self, *, present: bool = True) -> str:
        return self._name("VolumeGroupSnapshot", self._groups, present=present)

    def _create_group(self) -> None:
        spec = {"source": {"selector": {"matchLabels": {"app": self._pick(("db", "web"))}}}, "volumeGroupSnapshotClassName": "groups"}
        self._create(GROUP_API, "VolumeGroupSnapshot", self._group(present=False), "default", spec=spec)

    def _delete_group(self) -> None:
        if self._one_in(4):
            name = f"groupsnapcontent-<uid:VolumeGroupSnapshot/{self._group()}>"
            self._do("delete", "VolumeGroupSnapshotContent", name)
        else:
            self._do("delete", "VolumeGroupSnapshot", self._group(), namespace="default")

    def _import_group(self) -> None:
        """A group content made by hand for a group that may be in the backend, and a VolumeGroupSnapshot that names it."""
        name, number = self._group(present=False), 1 + self._chance.randrange(2)
        handles = {"volumeGroupSnapshotHandle": f"group-{number:04d}", "volumeSnapshotHandles": [f"snap-{number:04d}"]}
        spec = {
            "deletionPolicy": self._pick(("Delete", "Retain", "Retain")),
            "driver": self._drivers[0],
            "source": {"groupSnapshotHandles": handles},
            "volumeGroupSnapshotRef": {"name": name, "namespace": "default"},
        }
        self._create(GROUP_API, "VolumeGroupSnapshotContent", f"imported-{name}", spec=spec)
        source = {"volumeGroupSnapshotContentName": f"imported-{name}"}
        self._create(GROUP_API, "VolumeGroupSnapshot", name, "default", spec={"source": source})

    def _set(self, *, present: bool = True) -> str:
        return self._name("StatefulSet", self._sets, present=present)

    def _create_set(self) -> None:
        name = self._set(present=False)
        labels = {"set": name}
        container = {"name": "main", "image": "app", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
        claim = {"metadata": {"name": "data"}, "spec": self._claim_spec() | {"storageClassName": self._pick(("wffc", "imm"))}}
        policy = self._pick(("Retain", "Delete"))
        spec: Entry = {
            "replicas": self._pick((1, 2, 3)),
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [claim],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": policy, "whenScaled": self._pick(("Retain", "Delete"))},
            "podManagementPolicy": self._pick(("OrderedReady", "Parallel")),
        }
        self._create("apps/v1", "StatefulSet", name, "default", spec=spec)

    def _edit_set(self) -> None:
        name, what = self._set(), self._pick(("scale", "scale", "scale", "delete", "pod", "claim"))
        if what == "scale":
            self._do("patch", "StatefulSet", name, {"spec": {"replicas": self._pick((0, 1, 2, 4))}}, namespace="default")
        elif what == "delete":
            self._do("delete", "StatefulSet", name, namespace="default")
        elif what == "pod":
            self._do("delete", "Pod", f"{name}-{self._pick((0, 1))}", namespace="default")
        else:
            self._do("delete", "PersistentVolumeClaim", f"data-{name}-{self._pick((0, 1))}", namespace="default")

    def _restore(self) -> None:
        spec = self._claim_spec()
        spec["resources"] = {"requests": {"storage": self._pick(("5Gi", "10Gi"))}}
        if self._one_in(3):
            spec["dataSource"] = {"kind": "PersistentVolumeClaim", "name": self._claim()}
        else:
            source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": self._snapshot()}
            spec["dataSource"] = source
        self._create("v1", "PersistentVolumeClaim", self._claim(present=False), "default", spec=spec)

    def _delete_claim(self) -> None:
        self._do("delete", "PersistentVolumeClaim", self._claim(), namespace="default")

    def _edit_claim(self) -> None:
        body = self._pick(
            (
                {"spec": {"storageClassName": self._pick(self._classes)}},
                {"metadata": {"labels": {"touched": str(self._chance.randrange(9))}}},
                {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": None}}},
            )
        )
        self._do("patch", "PersistentVolumeClaim", self._claim(), body, namespace="default")

    def _create_pod(self) -> None:
        name = self._pod(present=False)
        claims = {self._claim() for _ in range(self._pick((1, 1, 1, 1, 2, 3)))}
        volumes: list[Entry] = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in sorted(claims)]
        if self._one_in(8):
            volumes.append({"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": self._claim_spec()}}})
        container = {"name": "main", "image": "app", "resources": {"requests": {"cpu": self._pick(("0", "300m", "900m"))}}}
        spec: Entry = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": self._pick((0, 30))}
        if self._one_in(8):
            spec["nodeSelector"] = {ZONE: self._pick(self._zones)}
        if self._one_in(8):
            spec["priority"] = self._pick((10, 100))
        self._create("v1", "Pod", name, "default", spec=spec)

    def _delete_pod(self) -> None:
        more: Entry = {"grace": 0} if self._one_in(3) else {}
        self._do("delete", "Pod", self._pod(), namespace="default", **more)

    def _finish_pod(self) -> None:
        running = {"status": {"phase": "Running"}}
        self._do("patch-status", "Pod", self._pod(), {"status": {"phase": "Succeeded"}}, namespace="default", **{"if": running})

    def _create_snapshot(self) -> None:
        spec: Entry = {"source": {"persistentVolumeClaimName": self._claim()}}
        often = 1 if self._theme in ("snapshots", "failing") else 4
        snapshot_class = self._pick((*self._snapshot_classes, *("snap",) * often, None, "missing"))
        if snapshot_class is not None:
            spec["volumeSnapshotClassName"] = snapshot_class
        self._create("snapshot.storage.k8s.io/v1", "VolumeSnapshot", self._snapshot(present=False), "default", spec=spec)

    def _delete_snapshot(self) -> None:
        self._do("delete", "VolumeSnapshot", self._snapshot(), namespace="default")

    def _import_snapshot(self) -> None:
        """A content made by hand for a snapshot that may be in the backend, and a VolumeSnapshot that names it."""
        name, handle = self._snapshot(present=False), f"snap-{1 + self._chance.randrange(3):04d}"
        policy = self._pick(("Delete", "Retain", "Retain"))
        reference = {"name": name, "namespace": "default"}
        spec = {"deletionPolicy": policy, "driver": self._drivers[0], "source": {"snapshotHandle": handle}, "volumeSnapshotRef": reference}
        self._create("snapshot.storage.k8s.io/v1", "VolumeSnapshotContent", f"imported-{name}", spec=spec)
        source = {"volumeSnapshotContentName": f"imported-{name}"}
        self._create("snapshot.storage.k8s.io/v1", "VolumeSnapshot", name, "default", spec={"source": source})

    def _content(self) -> str:
        name = self._snapshot()
        return self._pick((f"imported-{name}", f"snapcontent-<uid:VolumeSnapshot/{name}>", f"snapcontent-<uid:VolumeSnapshot/{name}#2>"))

    def _edit_content(self) -> None:
        if self._one_in(3):
            self._do("delete", "VolumeSnapshotContent", self._content())
        else:
            self._do("patch", "VolumeSnapshotContent", self._content(), {"spec": {"deletionPolicy": self._pick(("Delete", "Retain"))}})

    def _write(self) -> None:
        body = {self._pick(("x", "y", "z")): f"{self._chance.randrange(10**6)}"}
        self._do("write", "PersistentVolumeClaim", self._claim(), body, namespace="default")

    def _volume(self) -> str:
        name = self._claim()
        uid = f"<uid:PersistentVolumeClaim/{name}{self._pick(('', '', '#2'))}>"
        return self._pick(("local-0", f"pvc-{uid}", f"pvc-{uid}"))

    def _edit_volume(self) -> None:
        name, what = self._volume(), self._pick(("policy", "policy", "free", "free", "delete"))
        if what == "policy":
            self._do("patch", "PersistentVolume", name, {"spec": {"persistentVolumeReclaimPolicy": self._pick(("Delete", "Retain"))}})
        elif what == "free":
            released = {"status": {"phase": "Released"}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}}
            self._do("patch", "PersistentVolume", name, {"spec": {"claimRef": None}}, **{"if": released})
        else:
            self._do("delete", "PersistentVolume", name)

    def _register_volume(self) -> None:
        """A PersistentVolume made by hand for a volume that the backend may have, for anybody or for one claim."""
        number = 1 + self._chance.randrange(4)
        spec: Entry = {
            "capacity": {"storage": self._pick(("5Gi", "10Gi"))},
            "accessModes": self._pick((["ReadWriteOnce"], ["ReadWriteOnce", "ReadWriteMany"])),
            "persistentVolumeReclaimPolicy": self._pick(("Retain", "Delete")),
            "storageClassName": self._pick(("wffc", "imm", "")),
            "csi": {"driver": self._drivers[0], "volumeHandle": f"spare-{number}"},
        }
        if self._one_in(2):
            spec["claimRef"] = {"namespace": "default", "name": self._pick(self._claims)}
        self._create("v1", "PersistentVolume", f"spare-{number}", spec=spec)

    def _edit_snapshot(self) -> None:
        body = {"spec": {"volumeSnapshotClassName": self._pick((*self._snapshot_classes, "missing"))}}
        self._do("patch", "VolumeSnapshot", self._snapshot(), body, namespace="default")

    def _replace(self) -> None:
        """Something is deleted and made again under its name at once, or a few steps later."""
        what = self._pick(("claim", "pod", "snapshot"))
        if what == "claim":
            self._delete_claim()
            self._again("PersistentVolumeClaim", self._create_claim)
        elif what == "pod":
            self._delete_pod()
            self._again("Pod", self._create_pod)
        else:
            self._delete_snapshot()
            self._again("VolumeSnapshot", self._create_snapshot)

    def _again(self, kind: str, create: Callable[[], None]) -> None:
        name = self._timeline[-1]["do"]["name"]
        self._steps = self._pick(STEPS)
        create()
        made = self._timeline[-1]["do"]
        assert made["kind"] == kind
        made["name"] = made["body"]["metadata"]["name"] = name

    def _edit_driver(self) -> None:
        """Attach limits and registrations change, drivers leave a node and come back."""
        node = self._pick(self._nodes)
        if self._one_in(2):
            self._do("patch", "CSINode", node, {"spec": {"drivers": []}})
        else:
            entry: Entry = {"name": self._drivers[0], "nodeID": f"id-{node}", "topologyKeys": [ZONE]}
            if self._limit:
                entry["allocatable"] = {"count": self._limit}
            self._do("patch", "CSINode", node, {"spec": {"drivers": [entry]}})

    def _edit_class(self) -> None:
        what = self._pick(("delete", "make", "default", "delete-snapshot", "make-snapshot"))
        if what == "delete":
            self._do("delete", "StorageClass", self._pick(self._classes))
        elif what == "make":
            mode = self._pick(("WaitForFirstConsumer", "Immediate"))
            self._class(self._pick(("wffc", "imm", "missing", "zone", "retry", "fail")), self._drivers[0], mode)
        elif what == "default":
            value = self._pick(("true", "false"))
            self._do("patch", "StorageClass", self._pick(self._classes), {"metadata": {"annotations": {DEFAULT_CLASS: value}}})
        elif what == "delete-snapshot":
            self._do("delete", "VolumeSnapshotClass", self._pick(self._snapshot_classes))
        else:
            self._snapshot_class(self._pick(("snap", "snap-default", "snap-slow")))

    def _edit_node(self) -> None:
        name, what = self._pick(self._nodes), self._pick(("lose", "make", "cordon", "uncordon", "away", "back"))
        if what == "lose":
            self._do("delete", "Node", name)
            self._do("delete", "CSINode", name)
        elif what == "make":
            self._node(name)
        elif what in ("cordon", "uncordon"):
            self._do("patch", "Node", name, {"spec": {"unschedulable": what == "cordon" or None}})
        else:
            ready = {"type": "Ready", "status": "True" if what == "back" else "Unknown"}
            self._do("patch-status", "Node", name, {"status": {"conditions": [ready]}})

    def _force(self) -> None:
        """Finalizers stripped by hand, as people do when something does not go away."""
        kind, name = self._pick(
            (
                ("PersistentVolumeClaim", self._pick(self._claims)),
                ("PersistentVolume", self._volume()),
                ("VolumeSnapshot", self._pick(self._snapshots)),
                ("VolumeSnapshotContent", self._content()),
            )
        )
        namespaced = {"namespace": "default"} if kind in ("PersistentVolumeClaim", "VolumeSnapshot") else {}
        self._do("patch", kind, name, {"metadata": {"finalizers": None}}, **{"if": {"metadata": {"deletionTimestamp": "*"}}}, **namespaced)


def story_of(seed: int, *, actions: int = 60) -> dict[str, Any]:
    """The story of a seed."""
    return Generator(seed, actions=actions).story()
