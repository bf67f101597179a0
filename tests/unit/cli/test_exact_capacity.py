"""--exact-capacity on run, apply, explain and bench."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders import ZONE, make_capacity, make_class, make_csidriver, make_csinode, make_node, make_pod, make_pvc
from tests.unit.cli.shell import Shell, manifest

DRIVER = "csi.example.com"
GI = 1 << 30
POOLS: list[Any] = [
    *(make_node(f"n-{zone}", zone=zone) for zone in "ab"),
    *(make_csinode(f"n-{zone}", drivers={DRIVER: None}) for zone in "ab"),
    make_csidriver(DRIVER, storage_capacity=True, attach_required=False),
    make_class("lvm", provisioner=DRIVER),
    make_capacity("lvm-a", storage_class="lvm", capacity="100Gi", where={ZONE: "a"}),
    make_capacity("lvm-b", storage_class="lvm", capacity="50Gi", where={ZONE: "b"}),
]


def pod(name: str, *sizes: str, **rest: Any) -> list[Any]:
    """A pod and a claim for each size: `data-<pod>`, `data-<pod>-1`, …"""
    claims = [f"data-{name}" + (f"-{number}" if number else "") for number in range(len(sizes))]
    made = [make_pvc(claim, size=size, storage_class="lvm") for claim, size in zip(claims, sizes, strict=True)]
    return [*made, make_pod(name, claims=claims, **rest)]


BURST = [*pod("db-0", "60Gi"), *pod("db-1", "60Gi"), *pod("db-2", "45Gi"), *pod("db-3", "30Gi"), *pod("twins", "8Gi", "4Gi")]


def placed(volsched: Shell) -> dict[str, str | None]:
    return {item["metadata"]["name"]: item["spec"].get("nodeName") for item in volsched.get("pods")["items"]}


def test_run_counts_when_it_is_told_to(volsched: Shell) -> None:
    objects = volsched.file(*POOLS, *BURST)
    for words, waiting in (((), []), (("--no-exact-capacity",), []), (("--exact-capacity",), ["db-1", "twins"])):
        found = volsched("run", "-f", objects, "-o", "json", *words).value["objects"]
        pods = {item["metadata"]["name"]: item["spec"].get("nodeName") for item in found if item["kind"] == "Pod"}
        assert sorted(name for name, node in pods.items() if not node) == waiting, words


def test_the_cluster_remembers_how_it_counts(volsched: Shell) -> None:
    volsched.apply(*POOLS, options=["--exact-capacity"])
    volsched.apply(*BURST)
    assert placed(volsched) == {"db-0": "n-a", "db-1": None, "db-2": "n-b", "db-3": "n-a", "twins": None}
    volsched.apply(make_node("n-a", zone="a", labels={"changed": "yes"}), options=["--no-exact-capacity"])
    assert None not in placed(volsched).values()


def test_explain_says_which_pool_how_much_is_held_and_by_whom(volsched: Shell) -> None:
    volsched.apply(*POOLS, options=["--exact-capacity"])
    volsched.apply(*BURST)
    text = volsched("explain", "pod/db-1").out
    volumes = {item["spec"]["claimRef"]["name"]: item["metadata"]["name"] for item in volsched.get("pv")["items"]}
    sizes = {"data-db-0": "60Gi", "data-db-3": "30Gi"}
    held = sorted(f"volume {volumes[claim]} of claim default/{claim} ({size})" for claim, size in sizes.items())
    assert f"pool default/lvm-a (100Gi, 10Gi left): 90Gi of 100Gi held by {held[0]} and {held[1]}; 10Gi left, less than 60Gi" in text
    assert "pool default/lvm-b (50Gi, 5Gi left): it has 50Gi, less than 60Gi" in text
    assert "node(s) did not have enough free storage" in text
    together = "data-twins-1 4Gi, data-twins 8Gi out of pool default/lvm-a (10Gi left)"
    note = f"on n-a every claim could be served alone, but not all together: {together}"
    assert f"Note: {note}" in volsched("explain", "pod/twins").out
    assert "held by volume" not in volsched("explain", "pod/db-1", "--no-exact-capacity").out


def test_explain_of_a_claim_under_way_leaves_it_its_room(volsched: Shell) -> None:
    """Its own room is free for it, and its pool is the one it is served from."""
    notes = {"volsched.dev/storage-capacity": "default/lvm-a"}
    started = make_pvc("data-db", size="90Gi", storage_class="lvm", selected_node="n-a", annotations=notes)
    more = make_capacity("lvm-a2", storage_class="lvm", capacity="200Gi", where={ZONE: "a"})
    volsched.apply(*POOLS, more, started, make_pod("db", claims=["data-db"]), options=["--exact-capacity", "--no-run"])
    text = volsched("explain", "pod/db").out
    assert "pool default/lvm-a (100Gi): would do" in text
    assert "pool default/lvm-a2 (200Gi): passed over: the claim holds room in default/lvm-a" in text


def test_explain_as_json_names_what_the_claim_would_hold(volsched: Shell) -> None:
    volsched.apply(*POOLS, *pod("db", "60Gi"), options=["--exact-capacity", "--no-run"])
    plan = volsched("explain", "pod/db", "-o", "json").value["volumes"]["provision"]
    assert plan == [{"claim": "default/data-db", "capacity": "default/lvm-a", "holds": ["default/lvm-a"]}]
    plan = volsched("explain", "pod/db", "-o", "json", "--no-exact-capacity").value["volumes"]["provision"]
    assert plan == [{"claim": "default/data-db", "capacity": "default/lvm-a"}]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_bench_counts_claims_under_way(volsched: Shell, engine: str) -> None:
    started = make_pvc("started", size="60Gi", storage_class="lvm", selected_node="n-a")
    made = [*POOLS, started, *pod("db-1", "60Gi"), *pod("db-2", "45Gi"), *pod("db-3", "30Gi")]
    objects = volsched.text("workload.jsonl", "\n".join(json.dumps(manifest(obj)) for obj in made))
    assert volsched("bench", objects, "--engine", engine).value["scheduled"] == 3
    figures = volsched("bench", objects, "--engine", engine, "--exact-capacity").value
    assert (figures["scheduled"], figures["failed"]) == (2, 1)
