"""The pieces of a cycle that can be tested alone."""

from __future__ import annotations

import struct

import pytest

from volsched.engine.decision import UNSCHEDULABLE, Rejection
from volsched.engine.reference.balanced_allocation import balance
from volsched.engine.reference.cycle import fit_error, heap_winner, nodes_wanted
from volsched.engine.reference.framework import default_normalize
from volsched.engine.reference.image_locality import normalized_image_name
from volsched.engine.reference.pod_topology_spread import natural_logarithm


@pytest.mark.parametrize(
    ("nodes", "percentage", "wanted"),
    [
        (5, 0, 5),
        (99, 1, 99),
        (100, 0, 100),
        (150, 0, 100),
        (500, 0, 230),
        (1000, 0, 420),
        (2000, 0, 680),
        (5000, 0, 500),
        (6000, 0, 300),
        (5000, 1, 100),
        (5000, 10, 500),
        (5000, 100, 5000),
    ],
)
def test_nodes_wanted(nodes: int, percentage: int, wanted: int) -> None:
    assert nodes_wanted(nodes, percentage) == wanted


@pytest.mark.parametrize(
    ("totals", "winner"),
    [([7], 0), ([1, 1], 0), ([0, 0, 1, 0, 1], 4), ([0, 0, 1], 2), ([0, 1, 1], 1), ([0, 0, 1, 1], 3), ([0, 0, 0, 0, 0, 0, 0, 1, 1], 7)],
)
def test_heap_winner(totals: list[int], winner: int) -> None:
    assert heap_winner(totals) == winner


class TestFitError:
    @staticmethod
    def _text(rejections: dict[str, Rejection], *, nodes: int, prefilter: str = "", absent: tuple[str, ...] = ()) -> str:
        return fit_error(node_count=nodes, prefilter_text=prefilter, rejections=rejections, absent_reasons=absent)

    def test_reasons_of_different_plugins_with_equal_text_merge(self) -> None:
        rejections = {"n1": Rejection("A", UNSCHEDULABLE, ("x", "y")), "n2": Rejection("B", UNSCHEDULABLE, ("x",))}
        assert self._text(rejections, nodes=2) == "0/2 nodes are available: 1 y, 2 x."

    def test_absent_nodes_count_with_their_own_reasons(self) -> None:
        rejections = {"n1": Rejection("A", UNSCHEDULABLE, ("x",))}
        assert self._text(rejections, nodes=4, absent=("gone",)) == "0/4 nodes are available: 1 x, 3 gone."

    def test_a_prefilter_speaks_alone(self) -> None:
        assert self._text({}, nodes=3, prefilter="no", absent=("gone",)) == "0/3 nodes are available: no."

    def test_nothing_to_say(self) -> None:
        assert self._text({}, nodes=3) == "0/3 nodes are available:"


@pytest.mark.parametrize(
    ("scores", "reverse", "normalized"),
    [
        ({"a": 0, "b": 0}, False, {"a": 0, "b": 0}),
        ({"a": 0, "b": 0}, True, {"a": 100, "b": 100}),
        ({"a": 1, "b": 3}, False, {"a": 33, "b": 100}),
        ({"a": 1, "b": 3}, True, {"a": 67, "b": 0}),
        ({"a": -5, "b": 0}, False, {"a": -5, "b": 0}),
    ],
)
def test_default_normalize(scores: dict[str, int], reverse: bool, normalized: dict[str, int]) -> None:
    assert default_normalize(scores, reverse=reverse) == normalized


@pytest.mark.parametrize(
    ("name", "normalized"),
    [
        ("app", "app:latest"),
        ("app:1", "app:1"),
        ("reg:5000/app", "reg:5000/app:latest"),
        ("reg:5000/app:1", "reg:5000/app:1"),
        ("", ":latest"),
    ],
)
def test_image_names(name: str, normalized: str) -> None:
    assert normalized_image_name(name) == normalized


@pytest.mark.parametrize(
    ("columns", "score"),
    [
        ([(0, 4), (0, 8)], 100),
        ([(1, 4), (1, 8)], 93),
        ([(68, 100), (0, 100)], 65),
        ([(9, 4), (0, 8)], 50),
        ([(1, 0), (1, 2)], 100),
        ([], 100),
    ],
)
def test_balance(columns: list[tuple[int, int]], score: int) -> None:
    assert balance(columns) == score


def test_the_logarithm_to_the_bit() -> None:
    (bits,) = struct.unpack(">Q", struct.pack(">d", natural_logarithm(3.0)))
    assert bits == 0x3FF193EA7AAD030A
    assert natural_logarithm(1.0) == 0.0
    assert natural_logarithm(2.0) == 0.6931471805599453
