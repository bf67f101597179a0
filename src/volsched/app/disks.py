"""The nodes' disks of a cluster that is kept in a state file: what is mounted where, beside the objects and as durable as they are."""

from __future__ import annotations

import json
from typing import Final

from volsched.controllers.kubelet_mounts import Device, Mount, NodeDisks
from volsched.store import Store

_ROOM: Final = "kubelet"


class StoredDisks(NodeDisks):
    """NodeDisks that write every change to the store's table for other rooms and start from what is there."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._made = 0
        saved = sorted((json.loads(body) | {"key": key} for key, body in store.values(_ROOM).items()), key=lambda row: int(row["order"]))
        for row in saved:
            self._made = max(self._made, int(row["order"]))
            device = Device(*row["device"])
            if row["key"].startswith("mount"):
                owner = (row["namespace"], row["name"])
                super().add(row["pod"], Mount(device, row["target"], row["staging"], pod=owner, node_id=row["node_id"]))
            elif row["key"].startswith("staged"):
                super().set_staged(device, staged=True)
            else:
                super().confirm(device)

    def add(self, pod_uid: str, mount: Mount) -> None:
        super().add(pod_uid, mount)
        namespace, name = mount.pod
        row: dict[str, object] = {"pod": pod_uid, "namespace": namespace, "name": name, "node_id": mount.node_id}
        self._put(_mount_key(pod_uid, mount), row | {"device": mount.device, "target": mount.target, "staging": mount.staging})

    def remove(self, pod_uid: str, mount: Mount) -> None:
        known = self.is_confirmed(mount.device)
        super().remove(pod_uid, mount)
        self._store.put_value(_ROOM, _mount_key(pod_uid, mount), None)
        if known and not self.is_confirmed(mount.device):
            self._store.put_value(_ROOM, _confirmed_key(mount.device), None)

    def confirm(self, device: Device) -> None:
        if not self.is_confirmed(device):
            super().confirm(device)
            self._put(_confirmed_key(device), {"device": device})

    def set_staged(self, device: Device, *, staged: bool) -> None:
        super().set_staged(device, staged=staged)
        if staged:
            self._put(_staged_key(device), {"device": device})
        else:
            self._store.put_value(_ROOM, _staged_key(device), None)

    def _put(self, key: str, value: dict[str, object]) -> None:
        self._made += 1
        self._store.put_value(_ROOM, key, json.dumps(value | {"order": self._made}).encode())


def _mount_key(pod_uid: str, mount: Mount) -> str:
    return "\0".join(("mount", pod_uid, mount.target))


def _staged_key(device: Device) -> str:
    return "\0".join(("staged", *device))


def _confirmed_key(device: Device) -> str:
    return "\0".join(("confirmed", *device))
