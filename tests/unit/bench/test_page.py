"""docs/benchmarks.md and its figures: blocks are made out of results, and the committed page is what the committed results make."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import figures, kept, page
from bench.kept import Kept, KeptError
from bench.page import Results


@pytest.fixture(scope="module")
def results() -> Results:
    path = kept.reference()
    assert path is not None
    return Results(kept.read(path))


def test_committed_page_is_made_from_the_committed_results(results: Results) -> None:
    text = page.PAGE.read_text()
    assert page.filled(text, results) == text, "run `make bench-docs`"


def test_committed_figures_are_those_the_page_shows(results: Results) -> None:
    text = page.PAGE.read_text()
    names = {path.stem for path in page.FIGURES.glob("*.svg")}
    assert names == page.charts(results).keys()
    assert all(f"](benchmarks/{name}.svg)" in text for name in names)


def test_every_figure_can_be_drawn_again(results: Results, tmp_path: Path) -> None:
    for name, (title, draw) in page.charts(results).items():
        figures.write(tmp_path / "one.svg", draw, title=title)
        figures.write(tmp_path / "two.svg", draw, title=title)
        assert (tmp_path / "one.svg").read_text() == (tmp_path / "two.svg").read_text(), name


def test_a_figure_names_its_axes_and_has_a_dark_scheme(tmp_path: Path) -> None:
    series = [figures.Series("here", [1.0, None]), figures.Series("there", [20.0, 30.0])]
    marks = [figures.Mark("floor", 10, 20), figures.Mark("line", 1, 1)]
    figures.write(tmp_path / "a.svg", lambda: figures.dots(["one", "two"], series, x="µs a pod", marks=marks), title="What it shows")
    panel = figures.Panel("some", "nodes", [figures.Series("kind", [1.0, 2.0], [10, 100])])
    figures.write(tmp_path / "b.svg", lambda: figures.growth([panel], y="ms"), title="Growth")
    first, second = (tmp_path / "a.svg").read_text(), (tmp_path / "b.svg").read_text()
    shown = ("one", "two", "here", "there", "floor", "line", "µs a pod", "What it shows")
    for text, words in ((first, shown), (second, ("nodes", "ms", "kind"))):
        said = "".join(ET.fromstring(text).itertext())
        assert all(word in said for word in words)
        assert "prefers-color-scheme: dark" in text
        assert figures.INK in text
        assert figures.DARK[figures.INK] in text


def test_results_without_a_benchmark_say_which(results: Results) -> None:
    empty = Results(Kept("some.json", "2026-12-01", "c", {}, {}, []))
    with pytest.raises(KeptError, match=r"some\.json: has no bench/test_decide\.py::test_native\[5000x4000-plain\]; measure anew"):
        empty.us("decide", "native", "5000x4000", "plain")
    with pytest.raises(KeptError, match="has no growth of plain at 5000 nodes"):
        empty.point("plain")
    with pytest.raises(KeptError, match="has 0 blocks <!-- machine -->"):
        page.filled("", results)


@pytest.mark.parametrize(("load", "shared"), [([0.4, 1.4], False), ([0.6, 1.0], True), ([0.1, 1.6], True)])
def test_a_shared_machine_is_said_to_be(results: Results, load: list[float], shared: bool) -> None:
    kept_then = results.kept._replace(machine={**results.kept.machine, "load": load})
    assert ("shared with others" in page.BLOCKS["machine"](Results(kept_then))) is shared


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.50"), (9.994, "9.99"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")])
def test_figures_have_three_digits_that_count(value: float, text: str) -> None:
    assert page.figure(value) == text
