"""The fit of growth, and the figures, tables and file that bench.growth makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import grown, growth
from bench.growth import Line, Point, fitted

SIZES = (500, 1_000, 5_000, 20_000)


@pytest.mark.parametrize(("exponent", "factor"), [(0.0, 7.0), (0.5, 3.0), (1.0, 0.02), (2.0, 1e-6), (-0.5, 90.0)])
def test_fit_finds_the_law_that_made_the_times(exponent: float, factor: float) -> None:
    fit = fitted(SIZES, [factor * size**exponent for size in SIZES])
    assert fit.exponent == pytest.approx(exponent, abs=1e-9)
    assert fit.factor == pytest.approx(factor)
    assert fit.r_squared == pytest.approx(1)


def test_fit_is_least_squares_over_logarithms() -> None:
    """Times 1, 10, 1 at 1, 10, 100: symmetric, so nothing is explained by a slope."""
    fit = fitted([1, 10, 100], [1, 10, 1])
    assert fit.exponent == pytest.approx(0, abs=1e-12)
    assert fit.factor == pytest.approx(10 ** (1 / 3))
    assert fit.r_squared == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("sizes", "times", "said"),
    [
        ([5], [1.0], "at least two sizes, not 1 for"),
        ([5, 5], [1.0, 2.0], r"at least two sizes, not 2 for \[5\]"),
        ([5, 6], [1.0], "at least two sizes, not 1 for"),
        ([5, 6], [1.0, 0.0], "positive"),
        ([0, 6], [1.0, 1.0], "positive"),
    ],
)
def test_fit_refuses_what_has_no_line(sizes: list[float], times: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fitted(sizes, times)


def test_table_has_a_row_for_each_measure_and_its_exponent() -> None:
    line = Line("nodes", "plain", (Point(10, 5.0, 1.0, 2.0), Point(100, 5.0, 10.0, 2.0)))
    rows = [" ".join(row.split()) for row in growth.tables([line, Line("claims", "bound", (Point(1, 1.0, 1.0, 1.0),))])]
    assert rows == [
        "NODES MICROSECONDS A POD 10 100 EXPONENT R2",
        "plain one at a time, p50 5.0 5.0 0.00 1.00",
        "plain every node anew, p50 1.0 10.0 1.00 1.00",
        "plain in a batch, mean 2.0 2.0 0.00 1.00",
        "",
        "CLAIMS MICROSECONDS A POD 1 EXPONENT R2",
        "bound one at a time, p50 1.0",
        "bound every node anew, p50 1.0",
        "bound in a batch, mean 1.0",
    ]


def test_a_further_run_keeps_what_is_lower() -> None:
    line = Line("nodes", "plain", (Point(10, 5.0, 1.0, 2.0), Point(100, 5.0, 10.0, 2.0)))
    before = Line("nodes", "plain", (Point(10, 4.0, 3.0, 2.5), Point(100, 6.0, 9.0, 1.0))).to_json()
    assert growth.lower(line, [before]).points == (Point(10, 4.0, 1.0, 2.0), Point(100, 5.0, 9.0, 1.0))
    assert growth.lower(line, [{**before, "kind": "mixed"}]) == line
    with pytest.raises(ValueError, match="plain along nodes have other sizes"):
        growth.lower(line._replace(points=line.points[:1]), [before])


def test_command_writes_the_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"BATCH_PODS": 8, "ZONES": (2, 4), "CLAIMS": (1, 2)}.items():
        monkeypatch.setattr(growth, name, value)
    for name, value in {"NODES": 20, "PODS": 8, "ZONES": 2}.items():
        monkeypatch.setattr(grown, name, value)
    assert growth.main(["--nodes", "20", "40", "--kinds", "plain", "mixed", "--json", str(tmp_path / "g.json")]) == 0
    lines = json.loads((tmp_path / "g.json").read_text())
    assert [(line["axis"], line["kind"], [point["size"] for point in line["points"]]) for line in lines] == [
        ("nodes", "plain", [20, 40]),
        ("nodes", "mixed", [20, 40]),
        ("volumes", "zonal", [60, 120]),
        ("claims", "bound", [1, 2]),
        ("claims", "static", [1, 2]),
        ("claims", "dynamic", [1, 2]),
    ]
    for line in lines:
        assert line["fits"].keys() == {"one_us", "rescore_us", "batch_us"}
        assert all(point[measure] > 0 for point in line["points"] for measure in line["fits"])
    assert capsys.readouterr().out.count("EXPONENT") == 3


@pytest.mark.parametrize("kind", growth.CLAIM_KINDS)
def test_every_pod_of_a_grown_cluster_fits(monkeypatch: pytest.MonkeyPatch, kind: grown.ClaimKind) -> None:
    """A figure of pods that are refused would be one of something else."""
    monkeypatch.setattr(grown, "NODES", 40)
    monkeypatch.setattr(grown, "PODS", 12)
    for objects in (grown.claims(3, kind), grown.volumes(4)):
        cluster, pending = growth._split(objects)
        engine = growth.loaded("native", cluster)
        assert engine.schedule_many(engine.batch(pending)).scheduled == 12


@pytest.mark.parametrize("arguments", [["--nodes", "0"], ["--nodes", "5", "5"], ["--kinds", "no"], ["--again"]])
def test_command_refuses_sizes_and_kinds_that_are_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        growth.main(arguments)
    assert left.value.code == 2
    assert "error: " in capsys.readouterr().err
