"""Everything a decision says, in a form that compares."""

from __future__ import annotations

from typing import Any

from volsched.engine import Decision
from volsched.errors import EngineError


def answer(decision: Decision) -> dict[str, Any]:
    """By field. Scores of 0 are left out, since a plugin that counts nothing may be absent."""
    said: dict[str, Any] = {
        "error": decision.error,
        "prefilter": decision.prefilter,
        "node": decision.node,
        "message": decision.message(),
        "plugins": decision.rejecting_plugins(),
    }
    if decision.error is None and decision.prefilter is None:
        said["absent"] = decision.absent
        said["feasible"] = decision.feasible()
        said["rejected"] = decision.rejected()
        said["volumes"] = {node: decision.volumes(node) for node in said["feasible"]}
        if said["feasible"]:
            said |= _scored(decision)
    return said


def _scored(decision: Decision) -> dict[str, Any]:
    try:
        scores = decision.scores()
    except EngineError as failure:  # a node that is alone is taken though it could not be scored
        return {"unscored": str(failure)}
    by_node = {node: {plugin: score for plugin, score in own.items() if score} for node, own in scores.items()}
    return {"scores": by_node, "totals": decision.totals(), "best": decision.best()}


def first_difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first field on which two answers differ, as text; None when they are equal."""
    if one == other:
        return None
    for field in one.keys() | other.keys():
        mine, theirs = one.get(field), other.get(field)
        if mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            node = min(node for node in mine.keys() | theirs.keys() if mine.get(node) != theirs.get(node))
            return f"{field} of {node}: {mine.get(node)!r} against {theirs.get(node)!r}"
        return f"{field}: {mine!r} against {theirs!r}"
    raise AssertionError("unequal answers have an unequal field")
