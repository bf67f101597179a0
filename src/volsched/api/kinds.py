"""The kinds volsched knows, one table: names, scope, subresources, Struct type and decoder.

Decoders are built here, at import, once for each type: msgspec crashes when several threads are the first to use a nested type.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec
from lightkube.models import apps_v1, core_v1, policy_v1, scheduling_v1, storage_v1
from lightkube.models.meta_v1 import ObjectMeta

from volsched.api import gateway, snapshot
from volsched.errors import InputError


class Object(Protocol):
    """What every Kubernetes object has. Objects are treated as immutable: change a copy (`volsched.api.edit`)."""

    apiVersion: str | None
    kind: str | None
    metadata: ObjectMeta | None


Json: TypeAlias = Any  # decoded JSON: dict, list, str, int, float, bool, None


class Generation(enum.Enum):
    """When metadata.generation moves. Source: spec/volumes.md 1.1, spec/snapshots.md 1.1."""

    NONE = "never present"
    POD = "1 at creation, 2 with the graceful-delete mark"
    SPEC = "1 at creation, +1 with a spec change and with the deletion mark"


class Kind(NamedTuple):
    """One row of the table. `plural` is the resource name of URLs and messages."""

    name: str
    group: str
    version: str
    plural: str
    short: tuple[str, ...]
    namespaced: bool
    status: bool  # has a status subresource
    generation: Generation
    type: type[Any]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Resource name as the API server prints it in messages: `storageclasses.storage.k8s.io`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


class Key(NamedTuple):
    """Identity of an object; `namespace` is empty for cluster-scoped kinds. Sorts by kind, namespace, name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


_STORAGE, _SNAP, _GROUP = "storage.k8s.io", "snapshot.storage.k8s.io", "groupsnapshot.storage.k8s.io"
_GATEWAY: Final = "gateway.networking.k8s.io"
_NO, _POD, _SPEC = Generation.NONE, Generation.POD, Generation.SPEC

# fmt: off
_ROWS: Final = (
    #    kind                         group      version plural                        short               namespaced status generation type
    Kind("Namespace",                 "",        "v1", "namespaces",                  ("ns",),             False, True,  _NO,   core_v1.Namespace),
    Kind("Node",                      "",        "v1", "nodes",                       ("no",),             False, True,  _NO,   core_v1.Node),
    Kind("Pod",                       "",        "v1", "pods",                        ("po",),             True,  True,  _POD,  core_v1.Pod),
    Kind("PersistentVolume",          "",        "v1", "persistentvolumes",           ("pv",),             False, True,  _NO,   core_v1.PersistentVolume),
    Kind("PersistentVolumeClaim",     "",        "v1", "persistentvolumeclaims",      ("pvc",),            True,  True,  _NO,   core_v1.PersistentVolumeClaim),
    Kind("Service",                   "",        "v1", "services",                    ("svc",),            True,  True,  _NO,   core_v1.Service),
    Kind("ReplicationController",     "",        "v1", "replicationcontrollers",      ("rc",),             True,  True,  _SPEC, core_v1.ReplicationController),
    Kind("Secret",                    "",        "v1", "secrets",                     (),                  True,  False, _NO,   core_v1.Secret),
    Kind("Event",                     "",        "v1", "events",                      ("ev",),             True,  False, _NO,   core_v1.Event),
    Kind("ReplicaSet",                "apps",    "v1", "replicasets",                 ("rs",),             True,  True,  _SPEC, apps_v1.ReplicaSet),
    Kind("StatefulSet",               "apps",    "v1", "statefulsets",                ("sts",),            True,  True,  _SPEC, apps_v1.StatefulSet),
    Kind("PodDisruptionBudget",       "policy",  "v1", "poddisruptionbudgets",        ("pdb",),            True,  True,  _SPEC, policy_v1.PodDisruptionBudget),
    Kind("PriorityClass",  "scheduling.k8s.io",  "v1", "priorityclasses",             ("pc",),             False, False, _NO,   scheduling_v1.PriorityClass),
    Kind("StorageClass",              _STORAGE,  "v1", "storageclasses",              ("sc",),             False, False, _NO,   storage_v1.StorageClass),
    Kind("CSIDriver",                 _STORAGE,  "v1", "csidrivers",                  (),                  False, False, _NO,   storage_v1.CSIDriver),
    Kind("CSINode",                   _STORAGE,  "v1", "csinodes",                    (),                  False, False, _NO,   storage_v1.CSINode),
    Kind("CSIStorageCapacity",        _STORAGE,  "v1", "csistoragecapacities",        (),                  True,  False, _NO,   storage_v1.CSIStorageCapacity),
    Kind("VolumeAttachment",          _STORAGE,  "v1", "volumeattachments",           ("va",),             False, True,  _NO,   storage_v1.VolumeAttachment),
    Kind("VolumeAttributesClass",     _STORAGE,  "v1", "volumeattributesclasses",     ("vac",),            False, False, _NO,   storage_v1.VolumeAttributesClass),
    Kind("VolumeSnapshot",            _SNAP,     "v1", "volumesnapshots",             ("vs",),             True,  True,  _SPEC, snapshot.VolumeSnapshot),
    Kind("VolumeSnapshotContent",     _SNAP,     "v1", "volumesnapshotcontents",      ("vsc", "vscs"),     False, True,  _SPEC, snapshot.VolumeSnapshotContent),
    Kind("VolumeSnapshotClass",       _SNAP,     "v1", "volumesnapshotclasses",       ("vsclass", "vsclasses"), False, False, _SPEC, snapshot.VolumeSnapshotClass),
    Kind("VolumeGroupSnapshot",       _GROUP,    "v1", "volumegroupsnapshots",        ("vgs",),            True,  True,  _SPEC, snapshot.VolumeGroupSnapshot),
    Kind("VolumeGroupSnapshotContent", _GROUP,   "v1", "volumegroupsnapshotcontents", ("vgsc", "vgscs"),   False, True,  _SPEC, snapshot.VolumeGroupSnapshotContent),
    Kind("VolumeGroupSnapshotClass",  _GROUP,    "v1", "volumegroupsnapshotclasses",  ("vgsclass", "vgsclasses"), False, False, _SPEC, snapshot.VolumeGroupSnapshotClass),
    Kind("ReferenceGrant",            _GATEWAY,  "v1beta1", "referencegrants",        ("refgrant",),       True,  False, _SPEC, gateway.ReferenceGrant),
)
# fmt: on

KINDS: Final[Mapping[str, Kind]] = {row.name: row for row in _ROWS}
_DECODERS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {row.name: msgspec.json.Decoder(row.type) for row in _ROWS}
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_BY_TYPE: Final[Mapping[type[Any], Kind]] = {row.type: row for row in _ROWS}
_BY_ALIAS: Final[Mapping[str, Kind]] = {
    alias.lower(): row for row in reversed(_ROWS) for alias in (row.name, row.plural, row.name.lower(), row.qualified, *row.short)
}


def kind_of(obj: Object) -> Kind:
    """The table row of an object, by its type."""
    return _BY_TYPE[type(obj)]


def kind_named(alias: str) -> Kind | None:
    """The row for what a user may type: `pvc`, `PersistentVolumeClaim`, `volumesnapshots.snapshot.storage.k8s.io`; None if unknown."""
    return _BY_ALIAS.get(alias.lower())


def meta(obj: Object) -> ObjectMeta:
    """metadata of an object that must have it. Raises InputError when it is absent."""
    if obj.metadata is None:
        raise InputError("metadata is missing", path="metadata")
    return obj.metadata


def key_of(obj: Object) -> Key:
    """Identity of an object. A namespaced object without a namespace belongs to `default`."""
    kind = kind_of(obj)
    metadata = meta(obj)
    return Key(kind.name, (metadata.namespace or "default") if kind.namespaced else "", metadata.name or "")


def encode(obj: Object) -> bytes:
    """Canonical JSON of an object: keys sorted, unset fields left out."""
    return _ENCODER.encode(obj)


def to_json(obj: Object) -> dict[str, Json]:
    """Plain dict of an object, ready for JSON or YAML."""
    built: dict[str, Json] = msgspec.to_builtins(obj)
    return built


def to_manifest(obj: Object) -> dict[str, Json]:
    """The same as it would be written down to be submitted: it says what kind of object it is."""
    kind = kind_of(obj)
    return {"apiVersion": kind.api_version, "kind": kind.name} | to_json(obj)


def decode(kind: str, raw: bytes | str) -> Any:
    """Object of a known kind from JSON written by `encode` or by an API server. Raises msgspec.ValidationError."""
    return _DECODERS[kind].decode(raw)


def from_json(kind: str, value: Mapping[str, Json]) -> Any:
    """Object of a known kind from a plain dict, without manifest niceties. Raises msgspec.ValidationError."""
    return msgspec.convert(value, KINDS[kind].type)
