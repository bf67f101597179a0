"""Label selectors of objects and of the command line, field selectors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from volsched.errors import InputError
from volsched.rules.selectors import (
    Requirement,
    SelectorError,
    compile_selector,
    is_label_key,
    label_value_problems,
    match_labels,
    parse_field_selector,
    parse_label_selector,
)


def _expression(operator: str, values: Sequence[str] | None = None, key: str = "app") -> LabelSelector:
    listed = None if values is None else list(values)
    return LabelSelector(matchExpressions=[LabelSelectorRequirement(key=key, operator=operator, values=listed)])


class TestRequirements:
    @pytest.mark.parametrize(
        ("operator", "values", "missing", "present", "other"),
        [
            ("In", ["a"], False, True, False),
            ("NotIn", ["a"], True, False, True),
            ("Exists", [], False, True, True),
            ("DoesNotExist", [], True, False, False),
        ],
    )
    def test_operators(self, operator: str, values: list[str], missing: bool, present: bool, other: bool) -> None:
        requirement = Requirement.make("k", operator, values)
        assert [requirement.matches(labels) for labels in ({}, {"k": "a"}, {"k": "b"})] == [missing, present, other]

    @pytest.mark.parametrize(
        ("operator", "bound", "label", "result"),
        [
            ("Gt", "5", "6", True),
            ("Gt", "5", "5", False),
            ("Lt", "5", "4", True),
            ("Lt", "5", "-4", True),
            ("Gt", "5", "+6", True),
            ("Gt", "5", "abc", False),
            ("Lt", "5", "", False),
            ("Lt", "5", "9223372036854775808", False),
            ("Gt", "5", None, False),
        ],
    )
    def test_numbers_compare_and_anything_else_is_false(self, operator: str, bound: str, label: str | None, result: bool) -> None:
        assert Requirement.make("k", operator, [bound]).matches({} if label is None else {"k": label}) is result

    @pytest.mark.parametrize(
        ("key", "operator", "values"),
        [
            ("k", "In", []),
            ("k", "NotIn", None),
            ("k", "Exists", ["a"]),
            ("k", "Gt", []),
            ("k", "Gt", ["1", "2"]),
            ("k", "Lt", ["x"]),
            ("k", "Gt", ["-1"]),
            ("k", "Gt", ["+1"]),
            ("k", "Foo", ["a"]),
            ("bad key", "Exists", []),
            ("k", "In", ["-a"]),
            ("k", "In", ["a" * 64]),
            ("", "Exists", []),
            ("a/b/c", "Exists", []),
            ("X/y", "Exists", []),
        ],
    )
    def test_what_kubernetes_refuses(self, key: str, operator: str, values: list[str] | None) -> None:
        with pytest.raises(SelectorError):
            Requirement.make(key, operator, values)

    def test_every_problem_is_named_with_its_place(self) -> None:
        with pytest.raises(SelectorError) as caught:
            Requirement.make("-", "Gt", ["x", "-y"], path="[0].matchExpressions[1]")
        assert [problem.split(": ")[0] for problem in caught.value.problems] == [
            "[0].matchExpressions[1].key",
            "[0].matchExpressions[1].values",
            "[0].matchExpressions[1].values[0]",
            "[0].matchExpressions[1].values[1]",
            "[0].matchExpressions[1].values[1][-]",
        ]

    def test_texts(self) -> None:
        with pytest.raises(SelectorError, match=r"^values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty$"):
            compile_selector(_expression("In", []))
        with pytest.raises(SelectorError, match=r'^"Gt" is not a valid label selector operator$'):
            compile_selector(_expression("Gt", ["1"]))

    @pytest.mark.parametrize(
        ("key", "valid"), [("a", True), ("a.b/c_D-1", True), ("a/", False), ("/a", False), ("a" * 64, False), ("a_/b", False)]
    )
    def test_keys(self, key: str, valid: bool) -> None:
        assert is_label_key(key) is valid

    @pytest.mark.parametrize(("value", "valid"), [("", True), ("a", True), ("a-", False), ("a\n", False), ("é", False), ("a" * 63, True)])
    def test_values(self, value: str, valid: bool) -> None:
        assert (not label_value_problems(value)) is valid


class TestLabelSelector:
    def test_nil_matches_nothing_and_empty_everything(self) -> None:
        assert not match_labels(None, {"a": "b"})
        assert match_labels(LabelSelector(), {"a": "b"})
        assert match_labels(LabelSelector(), None)

    def test_labels_and_expressions_are_both_asked_for(self) -> None:
        selector = LabelSelector(matchLabels={"a": "1"}, matchExpressions=_expression("Exists").matchExpressions)
        assert match_labels(selector, {"a": "1", "app": ""})
        assert not match_labels(selector, {"a": "1"})
        assert not match_labels(selector, {"a": "2", "app": ""})

    def test_empty_selector_with_an_added_label_is_no_longer_empty(self) -> None:
        narrowed = compile_selector(LabelSelector()).narrowed(compile_selector(LabelSelector(matchLabels={"a": "1"})))
        assert not narrowed.is_empty
        assert narrowed.matches({"a": "1"})
        assert not narrowed.matches({})

    def test_nothing_stays_nothing(self) -> None:
        narrowed = compile_selector(None).narrowed(compile_selector(LabelSelector()))
        assert not narrowed.is_empty
        assert not narrowed.matches({})


class TestCommandLineSelectors:
    @pytest.mark.parametrize(
        ("text", "labels", "result"),
        [
            ("", {}, True),
            ("a=b", {"a": "b"}, True),
            ("a==b", {"a": "c"}, False),
            ("a!=b", {}, True),
            ("a!=b", {"a": "b"}, False),
            ("a", {"a": ""}, True),
            ("!a", {}, True),
            ("! a", {"a": ""}, False),
            ("a in (x,y)", {"a": "y"}, True),
            ("a in (x, y)", {"a": "z"}, False),
            ("a notin (x)", {}, True),
            ("a in ()", {"a": ""}, True),
            ("a>5", {"a": "6"}, True),
            ("a < 5", {"a": "6"}, False),
            ("a=", {"a": ""}, True),
            ("a==", {"a": ""}, True),
            ("in", {"in": "1"}, True),
            ("x.io/a=b,c!=d,e in (x,y),f,!g", {"x.io/a": "b", "e": "x", "f": "1"}, True),
            ("x.io/a=b,c!=d,e in (x,y),f,!g", {"x.io/a": "b", "e": "x", "f": "1", "g": ""}, False),
        ],
    )
    def test_kubectl_syntax(self, text: str, labels: dict[str, str], result: bool) -> None:
        assert parse_label_selector(text)(labels) is result

    @pytest.mark.parametrize("text", ["a=b,", ",a", "a in x", "a in (x", "a=b c", "a!b", "=b", "!", "a in (x))", "-a=b", "a=-b", "a>x"])
    def test_mistakes_are_named(self, text: str) -> None:
        with pytest.raises(InputError, match="label selector"):
            parse_label_selector(text)


class TestFieldSelectors:
    POD = {"metadata": {"name": "p", "generation": 2}, "spec": {"nodeName": "n1", "hostNetwork": True}, "status": {"phase": "Running"}}

    @pytest.mark.parametrize(
        ("text", "result"),
        [
            ("", True),
            ("metadata.name=p", True),
            ("metadata.name==q", False),
            ("metadata.name=p,spec.nodeName!=n1", False),
            ("status.phase!=Succeeded,status.phase!=Failed", True),
            ("spec.schedulerName=", True),
            ("spec.hostNetwork=true", True),
            ("metadata.generation=2", True),
            ("metadata=", True),
            ("spec.nodeName=n1\\,n2", False),
        ],
    )
    def test_any_path(self, text: str, result: bool) -> None:
        assert parse_field_selector(text)(self.POD) is result

    def test_escapes(self) -> None:
        assert parse_field_selector("reason=a\\,b\\=c\\\\d")({"reason": "a,b=c\\d"})

    @pytest.mark.parametrize("text", ["metadata.name", "=x", "a=b=c", "a=\\x", "a=b\\"])
    def test_mistakes_are_named(self, text: str) -> None:
        with pytest.raises(InputError, match="field selector"):
            parse_field_selector(text)
