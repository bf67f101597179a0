"""Bad input: one clear line on standard error, the right exit code, the state file as it was."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_node, make_pod, make_pvc
from tests.unit.cli.shell import Shell, manifest
from volsched.store import Store


def _laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join([*lines, "apiVersion: v1", "kind: Pod", ""])


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
CLAIM = (
    "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\nspec:\n  accessModes: [ReadWriteOnce]\n  resources:\n    requests:\n"
)

# fmt: off
MANIFESTS: dict[str, tuple[str | bytes, str]] = {
    # name                 content                                                     what the line says
    "broken":             ("a: [1\nb: 2\n",                                            "line 2: invalid YAML: did not find expected"),
    "tab":                ("a:\n\t- 1\n",                                              "line 2: invalid YAML"),
    "unknown kind":       ("apiVersion: v1\nkind: Foo\nmetadata: {name: x}\n",  'line 2, kind: no matches for kind "Foo"'),
    "old version":        ("apiVersion: v1beta1\nkind: Pod\nmetadata: {name: x}\n",    'apiVersion: no matches for kind "Pod"'),
    "no kind":            ("apiVersion: v1\nmetadata: {name: x}\n",                    "kind: Required value"),
    "no name":            ("apiVersion: v1\nkind: Node\n",                             "metadata.name: Required value"),
    "bad quantity":       (POD + "---\n" + CLAIM + "      storage: 10Gigs\n",           "document 2, line 12, spec.resources.requests"),
    "negative quantity":  (CLAIM + "      storage: -1Gi\n",                             "Invalid value"),
    "wrong type":         (POD + "spec:\n  containers: yes\n",                         "line 5, spec.containers: expected a list, got"),
    "a list":             ("- 1\n- 2\n",                                               "a manifest is a mapping with apiVersion and kind"),
    "cyclic":             ("apiVersion: v1\nkind: Pod\nmetadata: &m\n  labels: *m\n",  "anchor 'm' value contains itself"),
    "nested yaml":        (POD + "spec: " + "[" * 5000 + "]" * 5000 + "\n",            "nested deeper than 100 levels"),
    "nested json":        ('{"kind":' + "[" * 50000 + "]" * 50000 + "}",               "nested deeper than 100 levels"),
    "billion laughs":     (_laughs(),                                                  "aliases stand for more than 100000 values"),
    "not utf-8":          (b'apiVersion: v1\nkind: Node\nmetadata: {name: "\xe9"}\n',  "line 3: not UTF-8 text"),
    "binary":             (b"\x7fELF\x00\x01",                                         "error: "),
    "a pod of nothing":   (POD,                                                        "spec.containers: Required value"),
    "a claim of nothing": (CLAIM.partition("spec:")[0],                                "spec.accessModes: Required value"),
    "empty":              ("",                                                         "no objects passed to"),
    "comments":           ("# nothing\n---\n",                                         "no objects passed to"),
}
# fmt: on


def _one_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A cluster that nothing here may change."""
    shell = Shell(tmp_path_factory.mktemp("kept"))
    shell.apply(make_node("n1"))
    return shell


OTHER_COMMANDS = ("broken", "cyclic", "empty")


@pytest.mark.parametrize(
    ("command", "name"), [("apply", name) for name in MANIFESTS] + [(other, name) for other in ("run", "delete") for name in OTHER_COMMANDS]
)
def test_manifests(kept: Shell, name: str, command: str) -> None:
    content, said = MANIFESTS[name]
    before = kept.content
    path = kept.text("bad.yaml", content)
    answer = kept(command, "-f", path, code=1)
    assert answer.out == ""
    assert said in _one_line(answer.err)
    assert answer.err.startswith(f"error: {path}")
    assert kept.content == before


@pytest.mark.parametrize("name", ["broken", "cyclic", "not utf-8", "empty"])
def test_standard_input(kept: Shell, name: str) -> None:
    content, said = MANIFESTS[name]
    before = kept.content
    answer = kept("apply", "-f", "-", stdin=content, code=1)
    assert _one_line(answer.err).startswith("error: standard input")
    assert said in answer.err
    assert kept.content == before


def test_files_that_are_not_there(kept: Shell) -> None:
    folder = kept.folder / "empty"
    folder.mkdir(exist_ok=True)
    assert _one_line(kept("apply", "-f", folder, code=1).err) == (
        f"error: {folder}: the directory holds no manifest; *.yaml, *.yml and *.json are read\n"
    )
    missing = kept.folder / "missing.yaml"
    for command in (("apply", "-f"), ("run", "-f"), ("bench",), ("verdict",), ("rehearse",)):
        assert _one_line(kept(*command, missing, code=1).err) == f"error: {missing}: cannot be read: No such file or directory\n"
    assert _one_line(kept("demo", "--story", missing, code=1).err).startswith(f"error: {missing}: has no file 10-")


def test_a_missing_class_is_no_error(volsched: Shell) -> None:
    volsched.apply(make_node("n1"), make_pvc("data", storage_class="nope"), make_pod("p", claims=["data"]))
    assert volsched.get("pod", "p")["status"]["phase"] == "Pending"
    reasons = [event["message"] for event in volsched.get("events")["items"]]
    assert 'storageclass.storage.k8s.io "nope" not found' in reasons


# state files


def test_no_cluster_yet(volsched: Shell) -> None:
    for words in (("get", "po"), ("describe", "po"), ("events",), ("explain", "po/x"), ("delete", "po", "x")):
        assert _one_line(volsched(*words, code=1).err) == (
            f"error: {volsched.state}: there is no cluster here yet; `volsched apply -f FILE` starts one\n"
        )
    assert not volsched.state.exists()


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE things (name)")
    connection.close()


def _newer(path: Path) -> None:
    Shell(path.parent).apply(make_node("n1"))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


# fmt: off
STATE_FILES_THAT_ARE_NOT_OURS = [
    (lambda path: path.write_bytes(b"no database at all, whatever its name says\n" * 99),  "not a volsched state file"),
    (_foreign,                                                                             "not a volsched state file"),
    (_newer,                                                                               "of format version 99"),
]
# fmt: on


@pytest.mark.parametrize(("make", "said"), STATE_FILES_THAT_ARE_NOT_OURS)
@pytest.mark.parametrize("command", [("get", "po"), ("apply",), ("delete", "po", "x")])
def test_state_files_that_are_not_ours(volsched: Shell, make: Any, said: str, command: tuple[str, ...]) -> None:
    make(volsched.state)
    before = volsched.content
    words = [*command, "-f", str(volsched.file(make_node("n2")))] if command == ("apply",) else command
    answer = volsched(*words, code=1)
    assert said in _one_line(answer.err)
    assert answer.err.startswith(f"error: state file {volsched.state}: ")
    assert volsched.content == before


def test_a_state_file_in_a_folder_that_is_not_there(volsched: Shell) -> None:
    path = volsched.folder / "nowhere" / "state.db"
    assert "cannot be created" in _one_line(volsched("apply", "--state", path, "-f", volsched.file(make_node("n")), code=1).err)


def test_a_second_writer_is_refused_and_readers_are_not(volsched: Shell) -> None:
    volsched.apply(make_node("n1"))
    with Store.open(volsched.state) as store:
        store.create(make_node("n2"), user="admin")
        holder = f"in use by process {os.getpid()}; wait for it to end or give another file with --state"
        for words in (("apply", "-f", volsched.file(make_node("n3"))), ("delete", "node", "n1"), ("apply", "-f", "-", "--no-run")):
            answer = volsched.process(*words, stdin=b"{apiVersion: v1, kind: Node, metadata: {name: n4}}", code=1)
            assert _one_line(answer.err) == f"error: state file {volsched.state}: {holder}\n"
            assert answer.out == ""
        assert volsched.process("get", "no", "-o", "name").lines == ["node/n1", "node/n2"]
        assert volsched.process("describe", "no/n2").lines[0].split() == ["Name:", "n2"]
        assert "No events found" in volsched.process("events").err
        assert "not found" in volsched.process("explain", "pod/p", code=1).err
    assert len(volsched.get("no")["items"]) == 2


def test_looking_writes_nothing(volsched: Shell) -> None:
    volsched.story("10", "20", "30", "40")
    before = volsched.content
    for words in (("get", "all"), ("describe", "pod/web"), ("events",), ("explain", "pod/web"), ("get", "po", "-o", "yaml")):
        volsched.process(*words)
    assert volsched.content == before
    assert [path.name for path in volsched.folder.iterdir()] == ["state.db"]


# verdict, bench, rehearse


def _case(number: int) -> dict[str, Any]:
    return {"id": f"case-{number}", "objects": [manifest(make_node("n1"))], "pod": manifest(make_pod("p"))}


# fmt: off
A_LINE_THAT_IS_NO_CASE = [
    ("not json",                                                        "line 4: not JSON"),
    ('{"a": 1}',                                                        "line 4, id: a case needs id"),
    ("[]",                                                              "line 4: a case has to be an object"),
    (json.dumps(_case(1) | {"objects": [{"kind": "Foo", "apiVersion": "v1"}]}), "line 4, objects[0].kind: no matches for kind"),
    (json.dumps(_case(1) | {"pod": manifest(make_node("n"))}),          "line 4, pod.kind: not a Pod"),
]
# fmt: on


@pytest.mark.parametrize(("line", "said"), A_LINE_THAT_IS_NO_CASE)
def test_a_line_that_is_no_case(volsched: Shell, line: str, said: str) -> None:
    text = "\n".join([json.dumps(_case(1)), "", json.dumps(_case(2)), line, json.dumps(_case(3))])
    path = volsched.text("cases.jsonl", text)
    answer = volsched("verdict", path, code=1)
    assert [json.loads(written)["id"] for written in answer.lines] == ["case-1", "case-2"]
    assert _one_line(answer.err).startswith(f"error: {path}, {said}")


def test_verdicts_from_standard_input_and_gzip(volsched: Shell) -> None:
    text = json.dumps(_case(1)) + "\n"
    expected = volsched("verdict", volsched.text("case.jsonl", text)).out
    assert json.loads(expected)["feasible"] == ["n1"]
    assert volsched("verdict", stdin=text).out == expected
    assert volsched.process("verdict", "-", stdin=gzip.compress(text.encode())).out == expected
    assert volsched("verdict", volsched.text("case.jsonl.gz", gzip.compress(text.encode())), "--engine", "reference").out == expected
    truncated = gzip.compress(text.encode())[:-9]
    assert _one_line(volsched("verdict", volsched.text("cut.gz", truncated), code=1).err).startswith("error: ")


def _lines(*objects: Any) -> str:
    return "".join(json.dumps(manifest(obj)) + "\n" for obj in objects)


# fmt: off
BENCH = [
    (_lines(make_pod("p")),                         "there is no Node, so there is nothing to measure"),
    (_lines(make_node("n")),                        "there is no pending Pod, one without spec.nodeName"),
    ("",                                            "there is no Node"),
    (_lines(make_node("n")) + "oops\n",             "line 2: is not JSON"),
    (_lines(make_node("n")) + '{"kind": "Foo"}\n',  "line 2, "),
    ("a: [1\n",                                     "invalid YAML"),
    (b"\xff\xfe\xff",                               "UTF-8"),
    (_lines({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}), "there is no Node"),
    ("{" + '"kind": ' + "[" * 50_000 + "\n",        "nested deeper than"),
]
# fmt: on


@pytest.mark.parametrize(("content", "said"), BENCH)
def test_bench(volsched: Shell, content: str | bytes, said: str) -> None:
    answer = volsched("bench", volsched.text("bench.jsonl", content), code=1)
    assert answer.out == ""
    assert said in _one_line(answer.err)


def test_bench_prints_one_line_of_figures(volsched: Shell) -> None:
    path = volsched.text("bench.jsonl", _lines(make_node("n", cpu="1"), make_pod("a", cpu="600m"), make_pod("b", cpu="600m")))
    value = volsched("bench", path).value
    assert list(value) == ["nodes", "attempted", "scheduled", "failed", "seconds", "pods_per_s", "p50_us", "p99_us", "placements_sha256"]
    assert (value["nodes"], value["attempted"], value["scheduled"], value["failed"]) == (1, 2, 1, 1)
    assert value["placements_sha256"] == hashlib.sha256(b"default/a n\ndefault/b \n").hexdigest()
    assert volsched("bench", path, "--limit", "0").value["attempted"] == 1


# fmt: off
REHEARSE = [
    ("",                                                        "is not JSON"),
    ("[]",                                                      "is no story"),
    ('{"timeline": 1}',                                         "is no story"),
    ('{"timeline": [{"stage": "x"}]}',                          "timeline[0]: an entry needs `at`"),
    ('{"timeline": [{"at": 0, "do": {"verb": "create", "kind": "Foo"}}]}', "timeline[0].do.kind: unknown kind 'Foo'"),
    ('{"timeline": [{"at": 1e400, "stage": "x"}]}',             "timeline[0].at: must be 0 to"),
    ('{"timeline": [{"at": 0, "do": {"verb": "create", "kind": "Pod", "body": "x"}}]}', "timeline[0].do.body: must be an object"),
    ('{"timeline": [{"at": 0, "do": {"verb": "delete", "kind": "Pod", "name": "x"}}]}', 'timeline[0].do: refused: pods "x" not found'),
    ('{"prefer": [], "timeline": [{"at": 0, "do": []}]}',       "timeline[0].do: must be an object"),
    ('{"driver": {"profile": "zonal", "capacity": 1}, "timeline": []}', "driver.capacity: must be an object"),
    ('{"driver": {"profile": "?"}, "timeline": []}',            "driver.profile: unknown profile"),
    (b"\xff{}",                                                 "is not "),
]
# fmt: on


@pytest.mark.parametrize(("content", "said"), REHEARSE)
def test_rehearse(volsched: Shell, content: str | bytes, said: str) -> None:
    answer = volsched("rehearse", volsched.text("story.json", content), code=1)
    assert answer.out == ""
    assert said in _one_line(answer.err)


# usage and bugs


@pytest.mark.parametrize(
    "words",
    [("apply",), ("apply", "-f"), ("get",), ("nonsense",), ("get", "po", "--nonsense"), ("run", "--engine", "steam", "-f", "x"), ()],
)
def test_usage(volsched: Shell, words: tuple[str, ...]) -> None:
    answer = volsched(*words, code=2)
    assert answer.out == ""
    assert "Usage: volsched" in answer.err or answer.err.startswith("Error: Option '-f' requires")


def test_a_bug_is_ours_and_says_how_to_report_it(volsched: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr("volsched.app.cluster.Cluster.run_until_idle", broken)
    answer = volsched("apply", "-f", volsched.file(make_node("n1")), code=3)
    assert answer.out == "node/n1 created\n"  # written, and said so, before it happened
    assert "volsched: internal error: RuntimeError: the sky fell" in answer.err
    assert "Please report it" in answer.err
    monkeypatch.undo()
    assert volsched("get", "node", "n1", "-o", "name").out == "node/n1\n"


def test_completion(volsched: Shell) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_VOLSCHED_COMPLETE" in volsched("completion", shell).out
    volsched("completion", "csh", code=2)
