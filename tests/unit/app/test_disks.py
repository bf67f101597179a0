"""The nodes' disks in the store: what is mounted, staged and confirmed is there for whoever opens it again."""

from __future__ import annotations

import pytest

from volsched.app.disks import StoredDisks
from volsched.controllers.kubelet_mounts import Device, Mount
from volsched.env import Uids, VirtualClock
from volsched.store import Store

DEVICE = Device("n1", "csi.example.com", "vol-1")
MOUNTS = [Mount(DEVICE, f"/pods/{pod}", "/staging", pod=("default", pod), node_id="id-n1") for pod in ("a", "b")]


@pytest.fixture
def store() -> Store:
    return Store(clock=VirtualClock(0), uids=Uids(1))


def test_they_are_as_they_were_left(store: Store) -> None:
    disks = StoredDisks(store)
    for pod, mount in zip("ab", MOUNTS, strict=True):
        disks.add(pod, mount)
    disks.set_staged(DEVICE, staged=True)
    disks.confirm(DEVICE)
    again = StoredDisks(store)
    assert [again.of(pod) for pod in "ab"] == [[mount] for mount in MOUNTS]
    assert again.is_staged(DEVICE) and again.is_confirmed(DEVICE)
    again.set_staged(DEVICE, staged=False)
    assert not StoredDisks(store).is_staged(DEVICE)
    assert StoredDisks(store).is_confirmed(DEVICE)


def test_a_device_is_confirmed_until_nobody_uses_it(store: Store) -> None:
    disks = StoredDisks(store)
    for pod, mount in zip("ab", MOUNTS, strict=True):
        disks.add(pod, mount)
    disks.confirm(DEVICE)
    disks.remove("a", MOUNTS[0])
    assert StoredDisks(store).is_confirmed(DEVICE)
    disks.remove("b", MOUNTS[1])
    assert not disks.is_confirmed(DEVICE)
    assert not StoredDisks(store).is_confirmed(DEVICE)
    assert store.values("kubelet") == {}
