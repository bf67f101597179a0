"""Help: every command is in the overview, every example is a command line that would be taken, a slip is answered with what is near."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from tests.unit.cli.shell import Shell
from volsched.api.kinds import KINDS, kind_named
from volsched.cli import COMMANDS, TOPICS, cli


def commands(group: click.Group = cli, path: str = "volsched") -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, by its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(commands())


def test_overview(volsched: Shell) -> None:
    overview = volsched("--help").out
    for topic, names in TOPICS.items():
        below = overview.partition(f"\n{topic}:\n")[2].partition("\n\n")[0]
        assert re.findall(r"^  (\S+)", below, re.MULTILINE) == list(names)
    assert "..." not in overview.partition("ARGS]...")[2]
    assert max(map(len, overview.splitlines())) <= 80
    assert "..." not in volsched("csi", "--help").out.partition("Commands:")[2]
    for name in COMMANDS:
        assert volsched(name, "-h").out.startswith(f"Usage: volsched {name}")


@pytest.mark.parametrize("path", ALL)
def test_examples_are_taken(path: str) -> None:
    """Options, types of objects and numbers of arguments: all that is known before a file is opened."""
    if path == "volsched completion":  # its help is nothing but examples
        return
    text = ALL[path].epilog or ""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  volsched")]
    assert lines, "every command has an example"
    assert all(len(line) <= 90 for line in text.splitlines())
    for line in lines:
        words = shlex.split(line)
        assert " ".join(words).startswith(path)
        context = ALL[path].make_context(path, words[len(path.split()) :])
        for word in context.params.get("what") or ():
            kinds = word.partition("/")[0]
            assert all(kind_named(kind) for kind in kinds.split(",")) or word in ("web", "data"), line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gte", "pods"), 'Error: unknown command "gte" for "volsched"; did you mean get?'),
        (("descibe",), 'Error: unknown command "descibe" for "volsched"; did you mean describe?'),
        (("xyzzy",), 'Error: unknown command "xyzzy" for "volsched"\n'),
        (("csi", "srve"), 'Error: unknown command "srve" for "volsched csi"; did you mean serve?'),
        (("run", "-f", "x", "--until", "soon"), 'Error: Invalid value for --until: "soon" is no duration'),
    ],
)
def test_slips(volsched: Shell, words: tuple[str, ...], said: str) -> None:
    answer = volsched(*words, code=2)
    assert answer.out == ""
    assert said in answer.err


def test_api_resources(volsched: Shell) -> None:
    table = [line.split() for line in volsched("api-resources").lines]
    assert table[0] == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    assert ["persistentvolumeclaims", "pvc", "v1", "true", "PersistentVolumeClaim"] in table
    assert len(table) == len(KINDS) + 1
    names = volsched("api-resources", "-o", "name").lines
    assert all(kind_named(name) for name in names)
    within, without = (volsched("api-resources", f"--namespaced={word}", "-o", "name").lines for word in ("true", "false"))
    assert sorted([*within, *without]) == sorted(names)
    assert "pods" in within
    assert len(volsched("api-resources", "--no-headers").lines) == len(KINDS)
