"""Two kept results beside each other: what is said to be slower or larger, and that it is a report, not a test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench import compare, kept
from tests.unit.bench.results import of_pytest_benchmark


def _said(before: Path, after: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert compare.main([str(before), str(after), *options]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_slower_by_more_than_a_tenth_is_told_worst_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = of_pytest_benchmark(tmp_path / "a.json", {"a": 10, "b": 10, "c": 10, "d": 10, "gone": 1})
    after = of_pytest_benchmark(tmp_path / "b.json", {"a": 11, "b": 11.2, "c": 30, "d": 5, "fresh": 1})
    assert _said(before, after, capsys)[3:] == [
        "2 of 4 compared became slower or larger by more than 10%.",
        "RATIO BEFORE AFTER WHAT BENCHMARK",
        "3.00x 10.0 30.0 us a pod c",
        "1.12x 10.0 11.2 us a pod b",
        "1 became faster or smaller by more than that.",
        "1 no longer there: gone",
        "1 new: fresh",
    ]


def test_threshold_is_the_callers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = of_pytest_benchmark(tmp_path / "a.json", {"a": 10}), of_pytest_benchmark(tmp_path / "b.json", {"a": 14})
    assert "0 of 1 compared became slower or larger by more than 50%." in _said(before, after, capsys, "--threshold", "0.5")


def test_sizes_are_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = of_pytest_benchmark(tmp_path / "a.json", {"a": 10}, facts={"bytes_engine": 100, "nodes": 5})
    after = of_pytest_benchmark(tmp_path / "b.json", {"a": 10}, facts={"bytes_engine": 150, "nodes": 50})
    assert _said(before, after, capsys)[3:6] == [
        "1 of 1 compared became slower or larger by more than 10%.",
        "RATIO BEFORE AFTER WHAT BENCHMARK",
        "1.50x 100.0 150.0 bytes engine a",
    ]


def test_units_are_compared_not_rounds(tmp_path: Path) -> None:
    """A round that does twice as much in twice the time is not slower."""
    before = of_pytest_benchmark(tmp_path / "a.json", {"a": 10}, units=100)
    after = of_pytest_benchmark(tmp_path / "b.json", {"a": 20}, units=200)
    found = compare.compare(kept.read(before), kept.read(after))
    assert (found.worse, found.better) == ([], [])


def test_a_difference_within_the_quartiles_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = of_pytest_benchmark(tmp_path / "a.json", {"a": 10}, iqr_us=4)
    after = of_pytest_benchmark(tmp_path / "b.json", {"a": 12}, iqr_us=4)
    assert "1.20x 10.0 12.0 us a pod a within the noise" in _said(before, after, capsys)


def test_other_machines_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = of_pytest_benchmark(tmp_path / "a.json", {"a": 1}), of_pytest_benchmark(tmp_path / "b.json", {"a": 1}, cpu="two")
    assert "The machines differ: one, two." in _said(before, after, capsys)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is kept and there is no reference."""
    monkeypatch.setattr(compare, "latest", lambda: kept.latest(tmp_path / "kept"))
    monkeypatch.setattr(kept, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    return tmp_path


def test_the_two_newest_are_compared(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for at, name in enumerate(("0001_x", "0002_y", "0003_z")):
        path = of_pytest_benchmark(folders / "kept" / "Linux" / f"{name}.json", {"a": 10 * (at + 1)})
        os.utime(path, (at, at))
    assert compare.main([]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("1.50x 20.0 30.0") == 1


def test_the_only_one_is_compared_with_the_newest_reference(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = kept.read(of_pytest_benchmark(folders / "a.json", {"a": 10}))
    for line, median in (("0.9", 1.0), ("0.10", 10.0)):
        bench = source.benches["a"]._replace(median_us=median)
        (folders / "results" / f"{line}.json").write_text(kept.compact(source._replace(benches={"a": bench})))
    of_pytest_benchmark(folders / "kept" / "Linux" / "0001.json", {"a": 20})
    assert compare.main([]) == 0
    assert "2.00x 10.0 20.0" in " ".join(capsys.readouterr().out.split())


def test_nothing_to_compare(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([]) == 1
    assert "`make bench` first" in capsys.readouterr().err
    of_pytest_benchmark(folders / "kept" / "Linux" / "0001.json", {"a": 20})
    assert compare.main([]) == 1
    assert "is the only kept result" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine_info": {}}', '{"benches": [{"name": "a"}]}'])
def test_a_file_that_holds_no_results(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(content)
    assert compare.main([str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "a.json") in error
    assert error.count("\n") == 1


def test_one_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        compare.main([str(tmp_path / "a.json")])
    assert left.value.code == 2


def test_compact_form_says_what_the_long_one_does(tmp_path: Path) -> None:
    long = of_pytest_benchmark(tmp_path / "a.json", {"x": 10, "y": 20}, units=4, iqr_us=1, facts={"bytes_engine": 5})
    (tmp_path / "g.json").write_text('[{"axis": "nodes"}]')
    assert kept.main([str(long), "--growth", str(tmp_path / "g.json"), "--to", str(tmp_path / "0.1.json")]) == 0
    before, after = kept.read(long), kept.read(tmp_path / "0.1.json")
    assert after._replace(source="", growth=[]) == before._replace(source="")
    assert after.growth == [{"axis": "nodes"}]
    assert after.benches["x"].unit_us == 2.5
    assert json.loads((tmp_path / "0.1.json").read_text())["machine"]["load"] == [0.5, 1.4]
