"""Options and helpers that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from volsched.api.kinds import KINDS, Kind, kind_named
from volsched.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_STATE = "volsched.db"


def warn(text: str) -> None:
    """A warning as kubectl prints one."""
    print(f"Warning: {text}", file=sys.stderr)


def state_option(function: F) -> F:
    """--state: the SQLite file that keeps the embedded cluster."""
    return click.option(
        "--state",
        type=click.Path(dir_okay=False, path_type=Path),
        default=DEFAULT_STATE,
        envvar="VOLSCHED_STATE",
        show_default=True,
        show_envvar=True,
        help="SQLite file that keeps the cluster, its clock and seed between calls.",
    )(function)


def namespace_options(function: F) -> F:
    """-n and -A."""
    function = click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces.")(function)
    return click.option("-n", "--namespace", default="default", show_default=True, help="Namespace.")(function)


def files_option(*, required: bool) -> Callable[[F], F]:
    """-f FILE_OR_DIR, repeatable; `-` is standard input."""
    return click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        required=required,
        type=click.Path(path_type=Path, allow_dash=True),
        help="YAML or JSON file, directory of such files, or - for standard input; repeatable.",
    )


def output_option(*choices: str) -> Callable[[F], F]:
    """-o."""
    return click.option("-o", "--output", type=click.Choice(choices), help="Output format.")


def engine_option(function: F) -> F:
    """--engine: native, or its plain Python twin."""
    return click.option(
        "--engine",
        type=click.Choice(["native", "reference"]),
        default="native",
        show_default=True,
        help="native: the C++ engine. reference: its slow, readable Python twin, which answers the same.",
    )(function)


def kind_or_fail(word: str) -> Kind:
    """The kind a user typed. Raises InputError naming what is known."""
    kind = kind_named(word)
    if kind is None:
        known = ", ".join(sorted(row.plural for row in KINDS.values()))
        raise InputError(f'the server doesn\'t have a resource type "{word}"; known: {known}')
    return kind


def resources(words: tuple[str, ...]) -> list[tuple[Kind, str | None]]:
    """What kubectl's TYPE[,TYPE] [NAME…] | TYPE/NAME … means: (kind, name) pairs, name None for all of a kind."""
    if not words:
        raise click.UsageError("say what: TYPE [NAME...], TYPE/NAME or -f FILE")
    if all("/" in word for word in words):
        pairs: list[tuple[Kind, str | None]] = []
        for word in words:
            kind, _, name = word.partition("/")
            if not name:
                raise click.UsageError(f'"{word}": TYPE/NAME needs a name')
            pairs.append((kind_or_fail(kind), name))
        return pairs
    if any("/" in word for word in words):
        raise click.UsageError("either TYPE NAME... or TYPE/NAME..., not both")
    kinds = [kind_or_fail(word) for word in words[0].split(",")]
    if len(words) == 1:
        return [(kind, None) for kind in kinds]
    return [(kind, name) for kind in kinds for name in words[1:]]
