"""Profiles refuse what no driver can be, and behaviour parameters are read as written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.csi.world import full
from volsched.csi.backend import NEEDS, FakeDriver
from volsched.csi.checks import ready_after_ns
from volsched.csi.profile import DriverProfile, check_driver_name, zonal, zones
from volsched.env.clock import VirtualClock
from volsched.errors import CsiError, InputError


def test_driver_names() -> None:
    for name in ("a", "A9", "x" * 63, "a-b.c", "9.a"):
        check_driver_name(name)
    for name in ("", "x" * 64, "-a", "a.", "a_b", "a/b", "ä"):
        with pytest.raises(InputError, match="driver name"):
            check_driver_name(name)


def test_zones() -> None:
    assert zones(["a", "B-1_x.y"]) == ({"topology.kubernetes.io/zone": "a"}, {"topology.kubernetes.io/zone": "B-1_x.y"})
    for names in (["a", "a"], [""], ["x" * 64], ["-a"], ["a/b"]):
        with pytest.raises(InputError, match="zone"):
            zones(names)


def test_profiles_that_contradict_themselves() -> None:
    for changes, text in (
        ({"reachable": 0}, "reachable is 0"),
        ({"topology_keys": ("rack",)}, "does not have exactly the keys"),
        ({"capacity": {"elsewhere": 1}}, "capacity names 'elsewhere'"),
        ({"capacity": {"a": -1}}, "has to be 0 or more bytes"),
        ({"topology_keys": (), "segments": (), "capacity": {"a": 1}}, "capacity names 'a'"),
        ({"name": "no good"}, "driver name"),
    ):
        with pytest.raises(InputError, match=text):
            replace(full(), **changes)
    assert zonal(capacity={"anything": 1}).segments is None


def test_only_what_is_advertised_is_offered() -> None:
    empty = FakeDriver(DriverProfile(name="empty.driver", services=()), clock=VirtualClock(0))
    assert all(empty.offers(method) for method in ("GetPluginInfo", "GetPluginCapabilities", "Probe"))
    assert not any(empty.offers(method) for method in (*NEEDS, "ControllerGetCapabilities", "ValidateVolumeCapabilities", "NodeGetInfo"))
    everything = FakeDriver(full(), clock=VirtualClock(0))
    assert all(everything.offers(method) for method in NEEDS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("0", 0), ("8s", 8), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("1.5s", 1.5), ("100us", 1e-4), ("7ns", 7e-9)],
)
def test_durations(text: str, seconds: float) -> None:
    assert ready_after_ns({"readyAfter": text}) == round(seconds * 1e9)


@pytest.mark.parametrize("text", ["8", "s", "8 s", "8s ", "-8s", "8sec", "1d", "8s8", "١s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(CsiError, match="has to be a duration"):
        ready_after_ns({"readyAfter": text})
