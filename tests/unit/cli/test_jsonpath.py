"""The part of JSONPath that scripts use."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import make_node, make_pv
from volsched.cli.jsonpath import Template, custom_columns, sorted_by
from volsched.errors import InputError

POD = {
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "x", "a.b/c": "dotted"}},
    "spec": {"containers": [{"name": "c", "image": "one"}, {"name": "d", "image": "two"}]},
    "status": {"ready": True, "conditions": [{"type": "Ready", "status": "False"}, {"type": "Bound", "status": "True"}]},
}


# fmt: off
TEMPLATES = [
    ("{.metadata.name}",                                        "web"),
    ("{$.metadata.name}",                                       "web"),
    ("name={.metadata.name}!",                                  "name=web!"),
    ("{.spec.containers[*].image}",                             "one two"),
    ("{.spec.containers[0].image}",                             "one"),
    ("{.spec.containers[-1].image}",                            "two"),
    ("{.spec.containers[9].image}",                             ""),
    ("{.metadata.labels['a.b/c']}",                             "dotted"),
    (r"{.metadata.labels.a\.b/c}",                              "dotted"),
    ('{.status.conditions[?(@.type=="Ready")].status}',         "False"),
    ("{.status.conditions[?(@.type!='Ready')].type}",           "Bound"),
    ("{.status.ready}",                                         "true"),
    ("{.spec.nothing.at.all}",                                  ""),
    ("{.metadata.labels}",                                      '{"app":"x","a.b/c":"dotted"}'),
    ('{range .spec.containers[*]}{.name}{"\\t"}{.image}{"\\n"}{end}', "c\tone\nd\ttwo\n"),
    ('{range .spec.containers[*]}[{.name}]{end}{"\\n"}',        "[c][d]\n"),
]
# fmt: on


@pytest.mark.parametrize(("template", "text"), TEMPLATES)
def test_templates(template: str, text: str) -> None:
    assert Template(template).render(POD) == text


@pytest.mark.parametrize("template", ["{.a", "{.a[}", "{range .a}x", "{end}", "{.a[?(@.b>1)]}", '{"\\q"}'])
def test_what_cannot_be_read_is_named(template: str) -> None:
    with pytest.raises(InputError, match="JSONPath"):
        Template(template).render(POD)


def test_custom_columns() -> None:
    nodes = [make_node("a", labels={"x.y/z": "1"}), make_node("b")]
    titles, rows = custom_columns("NAME:.metadata.name,Z:.metadata.labels['x.y/z']", nodes)
    assert titles == ["NAME", "Z"]
    assert rows == [["a", "1"], ["b", "<none>"]]
    with pytest.raises(InputError, match="not TITLE:PATH"):
        custom_columns("NAME", nodes)


def test_sorting_knows_quantities() -> None:
    volumes: list[Any] = [make_pv("a", size="10Gi"), make_pv("b", size="900Mi"), make_pv("c", size="1Ti")]
    assert [pv.metadata.name for pv in sorted_by(volumes, ".spec.capacity.storage")] == ["b", "a", "c"]
    assert [pv.metadata.name for pv in sorted_by(reversed(volumes), "{.metadata.name}")] == ["a", "b", "c"]  # type: ignore[arg-type]
