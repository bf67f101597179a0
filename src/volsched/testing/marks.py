"""The CSI driver that a test's markers ask for, and what is told of it when the test fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from volsched.api.quantity import parse
from volsched.csi import profile as profiles
from volsched.csi.profile import DriverProfile
from volsched.errors import InputError
from volsched.testing.driver import NODE_ID, CsiDriver
from volsched.testing.plans import Fault, faults_of, plan_text

CALLS_TOLD: Final = 20
_OPTIONS: Final = (
    "profile",
    "name",
    "zones",
    "capacity",
    "max_volumes_per_node",
    "mutable_parameters",
    "node_id",
    "nodes",
    "process",
    "restarts",
)


@contextmanager
def running(
    options: Mapping[str, Any], marks: Sequence[tuple[Sequence[Any], Mapping[str, Any]]], *, folder: Path, seed: int
) -> Iterator[CsiDriver]:
    """A driver with the options of @pytest.mark.csi_driver and under the faults of @pytest.mark.csi_faults. Raises VolschedError."""
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InputError(f"csi_driver takes no {unknown[0]}; known: {', '.join(_OPTIONS)}")
    process = options.get("process", "here")
    if process not in ("here", "child"):
        raise InputError(f"csi_driver, process: is {process!r}, has to be here or child")
    faults: list[Fault] = []
    for given, keywords in marks:
        found, plan_seed = faults_of(given, keywords, folder=folder, known=[str(fault["name"]) for fault in faults])
        faults += found
        seed = seed if plan_seed is None else plan_seed
    plan_text(faults, seed=seed)
    with CsiDriver.running(
        profile_of(options),
        process=process,
        node_id=options.get("node_id", NODE_ID),
        nodes=options.get("nodes"),
        faults=faults,
        fault_folder=folder,
        seed=seed,
        restarts=options.get("restarts", True),
    ) as driver:
        yield driver


def profile_of(options: Mapping[str, Any]) -> DriverProfile:
    """`profile` is a DriverProfile, or the name of one that the other options say more about. Raises InputError."""
    chosen = options.get("profile", "full")
    more = {name: options[name] for name in ("name", "zones", "capacity", "max_volumes_per_node", "mutable_parameters") if name in options}
    if isinstance(chosen, DriverProfile):
        if more:
            raise InputError(f"csi_driver, {next(iter(more))}: a DriverProfile says that itself")
        return chosen
    capacity = {zone: size if isinstance(size, int) else parse(size).value() for zone, size in more.get("capacity", {}).items()}
    if chosen == "zonal":
        if "max_volumes_per_node" in more or "mutable_parameters" in more:
            raise InputError("csi_driver: the zonal profile can neither attach nor modify volumes; use the full one")
        return profiles.zonal(name=more.get("name", profiles.ZONAL_DRIVER), zone_names=more.get("zones"), capacity=capacity)
    if chosen != "full":
        raise InputError(f"csi_driver, profile: is {chosen!r}, has to be {' or '.join(profiles.PROFILES)}, or a DriverProfile")
    return profiles.full(
        name=more.get("name", profiles.FULL_DRIVER),
        zone_names=more.get("zones", ()),
        capacity=capacity,
        max_volumes_per_node=more.get("max_volumes_per_node", 0),
        mutable_parameters=frozenset(more.get("mutable_parameters", profiles.MUTABLE_PARAMETERS)),
    )


def told(driver: CsiDriver) -> tuple[str, str]:
    """A title and a text for the report of a failure: the last calls, and which faults took effect."""
    lines = []
    for text, alike in itertools.groupby(map(str, driver.calls)):
        count = len(list(alike))
        lines.append(text if count == 1 else f"{text} (x{count})")
    if len(lines) > CALLS_TOLD:
        lines = [f"… {len(lines) - CALLS_TOLD:,} lines before these", *lines[-CALLS_TOLD:]]
    lines = lines or ["no call has reached it"]
    fired = driver.faults.fired
    if fired:
        lines.append("faults fired: " + ", ".join(f"{name} {count}" for name, count in fired.items()))
    return f"csi driver: {driver.name} at {driver.endpoint}", "\n".join(lines)
