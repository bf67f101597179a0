"""Health calls of specification v1.13, and v1.12's volume conditions, which tell the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.csi.world import World, full, world
from volsched.api import csi
from volsched.csi.data import Ref
from volsched.errors import CsiCode


def test_missing_fields_and_unknown_volumes(any_world: World) -> None:
    for request in (csi.ControllerGetVolumeHealthRequest, csi.NodeGetVolumeHealthRequest):
        any_world.refused(request(), CsiCode.INVALID_ARGUMENT, match="volume_id is required", node="n1")
        any_world.refused(request(volume_id="vol-0009"), CsiCode.NOT_FOUND, match="vol-0009", node="n1")
    any_world.refused(csi.ControllerListVolumeHealthRequest(max_entries=-1), CsiCode.INVALID_ARGUMENT)
    any_world.refused(csi.ControllerListVolumeHealthRequest(starting_token="invalid-token"), CsiCode.ABORTED)
    volume = any_world.volume()
    any_world.refused(
        csi.NodeGetVolumeHealthRequest(volume_id=volume.volume_id), CsiCode.NOT_FOUND, match="vol-0001 is not on node n1", node="n1"
    )


def test_healthy(any_world: World) -> None:
    volume = any_world.volume()
    any_world.mount(volume.volume_id, "/t/v")
    healthy = csi.VolumeHealth(volume_id=volume.volume_id)
    assert any_world.call(csi.ControllerGetVolumeHealthRequest(volume_id=volume.volume_id)).volume_health == healthy
    assert any_world.call(csi.NodeGetVolumeHealthRequest(volume_id=volume.volume_id), node="n1").volume_health == healthy
    assert any_world.call(csi.ControllerListVolumeHealthRequest()) == csi.ControllerListVolumeHealthResponse()
    assert any_world.call(csi.NodeGetStorageHealthRequest(), node="n1") == csi.NodeGetStorageHealthResponse()


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
@pytest.mark.parametrize("files", [False, True])
def test_content_that_is_gone(transport: str, files: bool) -> None:
    with world(transport, files=files) as here:
        ids = [here.volume(f"v{number}").volume_id for number in range(4)]
        for volume_id in ids[1:]:
            here.driver.data.remove(Ref("volumes", volume_id))
        entry = csi.VolumeHealthEntry(status="DATA_LOSS", reason="ContentMissing", message="the content of volumes/vol-0002 is missing")
        expected = csi.VolumeHealth(volume_id=ids[1], health_statuses=[entry])
        assert here.call(csi.ControllerGetVolumeHealthRequest(volume_id=ids[1])).volume_health == expected
        status = here.call(csi.ControllerGetVolumeRequest(volume_id=ids[1])).status
        assert status.volume_condition == csi.VolumeCondition(abnormal=True, message=entry.message)
        first = here.call(csi.ControllerListVolumeHealthRequest(max_entries=2))
        assert [item.volume_id for item in first.entries] == ids[1:3]
        assert first.entries[0] == expected
        rest = here.call(csi.ControllerListVolumeHealthRequest(starting_token=first.next_token))
        assert ([item.volume_id for item in rest.entries], rest.next_token) == (ids[3:], "")


def test_a_path_that_is_gone(tmp_path: Path) -> None:
    with world(files=True) as here:
        volume = here.volume(modes=["MULTI_NODE_MULTI_WRITER"])
        here.mount(volume.volume_id, str(tmp_path / "one"), mode="MULTI_NODE_MULTI_WRITER")
        here.mount(volume.volume_id, str(tmp_path / "two"), mode="MULTI_NODE_MULTI_WRITER", node="n2")
        (tmp_path / "one").unlink()
        text = f"nothing is at {tmp_path / 'one'} on node n1 any more; publish the volume again"
        entry = csi.VolumeHealthEntry(status="INACCESSIBLE", reason="PathMissing", message=text)
        ask = csi.NodeGetVolumeHealthRequest(volume_id=volume.volume_id)
        assert here.call(ask, node="n1").volume_health.health_statuses == [entry]
        assert here.call(ask, node="n2").volume_health.health_statuses == []
        assert here.call(csi.ControllerGetVolumeHealthRequest(volume_id=volume.volume_id)).volume_health.health_statuses == []
        stats = csi.NodeGetVolumeStatsRequest(volume_id=volume.volume_id, volume_path=str(tmp_path / "one"))
        assert here.call(stats, node="n1").volume_condition == csi.VolumeCondition(abnormal=True, message=entry.message)
        here.mount(volume.volume_id, str(tmp_path / "one"), mode="MULTI_NODE_MULTI_WRITER")
        assert here.call(ask, node="n1").volume_health.health_statuses == []


def test_storage_that_is_gone() -> None:
    with world(files=True) as here:
        root: Path = here.driver.data._root  # type: ignore[attr-defined]
        shutil.rmtree(root / "volumes")
        [backend] = here.call(csi.NodeGetStorageHealthRequest(), node="n1").backend_health
        assert (backend.status, backend.reason) == ("STORAGE_UNREACHABLE", "DataUnreachable")
        assert backend.message == f"{root}/volumes is missing"


@pytest.mark.parametrize("transport", ["inprocess", "grpc"])
def test_a_driver_of_v1_12_has_none_of_it(transport: str) -> None:
    newer = {"GET_VOLUME_HEALTH", "LIST_VOLUME_HEALTH", "GET_STORAGE_HEALTH", "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS"}
    everything = full()
    older = {name: tuple(item for item in getattr(everything, name) if item not in newer) for name in ("services", "controller", "node")}
    with world(transport, replace(everything, **older)) as here:
        for request in (
            csi.ControllerGetVolumeHealthRequest(),
            csi.ControllerListVolumeHealthRequest(),
            csi.NodeGetVolumeHealthRequest(),
            csi.NodeGetStorageHealthRequest(),
        ):
            here.refused(request, CsiCode.UNIMPLEMENTED, node="n1")
