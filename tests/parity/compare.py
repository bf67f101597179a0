"""How a verdict is compared with a recorded decision: both are brought into one form, and the first field that differs is named.

Left out on purpose: scores of 0 (a plugin that counts nothing may be absent), the text of errors, and claims' order within a node's plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Any


def _rejection(value: Mapping[str, Json] | None) -> Json:
    return value and (value.get("plugin"), value["code"], list(value.get("reasons") or ()))


def _plan(value: Mapping[str, Json]) -> Json:
    return sorted((item["pvc"], item["pv"]) for item in value.get("bind") or ()), sorted(value.get("provision") or ())


def _canonical(answer: Mapping[str, Json]) -> dict[str, Json]:
    plans = {node: _plan(value) for node, value in (answer.get("volumes") or {}).items()}
    return {
        "prefilter": _rejection(answer.get("prefilter")),
        "feasible": sorted(answer.get("feasible") or ()),
        "rejected": {node: _rejection(value) for node, value in (answer.get("rejected") or {}).items()},
        "volumes": {node: plan for node, plan in plans.items() if plan != ([], [])},
        "scores": {
            node: {plugin: score for plugin, score in scores.items() if score} for node, scores in (answer.get("scores") or {}).items()
        },
        "total": dict(answer.get("total") or {}),
        "best": sorted(answer.get("best") or ()),
        "message": answer.get("message") or "",
    }


def _step(answer: Mapping[str, Json]) -> dict[str, Json]:
    bind, provision = _plan(answer)
    return {
        "node": answer.get("node"),
        "best": sorted(answer.get("best") or ()),
        "bind": bind,
        "provision": provision,
        "message": answer.get("message") or "",
        "error": bool(answer.get("error")),
    }


def _first_difference(expected: Mapping[str, Json], actual: Mapping[str, Json]) -> str | None:
    for field, wanted in expected.items():
        decided = actual[field]
        if wanted == decided:
            continue
        while isinstance(wanted, dict) and isinstance(decided, dict):
            key = next(key for key in sorted({*wanted, *decided}) if wanted.get(key) != decided.get(key))
            field, wanted, decided = f"{field}[{key}]", wanted.get(key), decided.get(key)
        return f"{field}: recorded {wanted!r}, decided {decided!r}"
    return None


def difference(case: Mapping[str, Json], answer: Mapping[str, Json]) -> str | None:
    """What differs between a recorded case and the verdict on it, None when they agree."""
    if "steps" in case:
        if len(case["steps"]) != len(answer["steps"]):
            return f"{len(case['steps'])} steps recorded, {len(answer['steps'])} decided"
        for number, (step, decided) in enumerate(zip(case["steps"], answer["steps"], strict=True)):
            found = _first_difference(_step(step["expect"]), _step(decided))
            if found is not None:
                return f"step {number}: {found}"
        return None
    recorded = case["expect"]
    if recorded.get("error"):
        return None if answer.get("error") else "the recorded cycle failed, a decision was made"
    if answer.get("error"):
        return f"the cycle failed: {answer['error']}"
    if recorded.get("crash"):
        # upstream dies on these; any decision will do
        return None if answer.get("best") or answer.get("message") else "no decision"
    return _first_difference(_canonical(recorded), _canonical(answer))


def compare_engines(left: Mapping[str, Json], right: Mapping[str, Json]) -> str | None:
    """What differs between two engines' verdicts on one case, error texts included."""
    if left.get("error") or right.get("error"):
        return None if left.get("error") == right.get("error") else f"error: {left.get('error')!r} against {right.get('error')!r}"
    if "steps" in left:
        for number, (one, other) in enumerate(zip(left["steps"], right["steps"], strict=True)):
            if one != other:
                return f"step {number}: {one!r} against {other!r}"
        return None
    return _first_difference(_canonical(left), _canonical(right))
