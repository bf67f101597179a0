"""Options and helpers that several commands share."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from volsched.api.documents import TEXT_BYTES_MAX, TextError, decoded_text, text_error
from volsched.api.edit import with_metadata
from volsched.api.kinds import KINDS, Kind, kind_named, kind_of, meta
from volsched.api.manifest import Loaded, load_files, load_text
from volsched.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_STATE: Final = "volsched.db"
STANDARD_INPUT: Final = "standard input"
_DASH: Final = Path("-")


def warn(text: str) -> None:
    """A warning as kubectl prints one."""
    print(f"Warning: {text}", file=sys.stderr)


# options


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


def looked_state_option(function: F) -> F:
    """--state of a command that looks at a cluster, or at manifests given with -f instead (`opening.looked_at_or_read`)."""
    return click.option(
        "--state",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="VOLSCHED_STATE",
        show_envvar=True,
        help=f"SQLite file that keeps the cluster to look at, where no -f is given.  [default: {DEFAULT_STATE}]",
    )(function)


def namespace_option(text: str) -> Callable[[F], F]:
    """-n alone."""
    return click.option("-n", "--namespace", default="default", show_default=True, help=text)


def namespace_options(function: F) -> F:
    """-n and -A."""
    function = click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces.")(function)
    return namespace_option("Namespace.")(function)


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


def selector_option(function: F) -> F:
    """-l."""
    return click.option("-l", "--selector", help="Label selector: a=b, c!=d, e in (x,y), f, !g.")(function)


def output_option(*choices: str) -> Callable[[F], F]:
    """-o."""
    return click.option("-o", "--output", type=click.Choice(choices), help="Output format.")


def engine_option(function: F) -> F:
    """--engine: native, or its plain Python twin."""
    return click.option(
        "--engine",
        type=click.Choice(["native", "reference"]),
        default="native",
        envvar="VOLSCHED_ENGINE",
        show_default=True,
        show_envvar=True,
        help="native: the C++ engine. reference: its slow, readable Python twin, which answers the same.",
    )(function)


def exact_capacity_option(remembered: str) -> Callable[[F], F]:
    """--exact-capacity, --no-exact-capacity; neither is None. `remembered`: what holds then."""
    return click.option(
        "--exact-capacity/--no-exact-capacity",
        default=None,
        help=f"Count what claims under way hold in capacity objects, and a pod's claims together. Without: {remembered}.",
    )


def endpoint_option(function: F) -> F:
    """--csi-endpoint."""
    return click.option(
        "--csi-endpoint",
        "endpoints",
        multiple=True,
        metavar="unix:///PATH",
        help="CSI driver that runs by itself, in place of a fake one of its name; repeatable, remembered with the cluster.",
    )(function)


def tie_break_option(function: F) -> F:
    """--tie-break."""
    return click.option(
        "--tie-break",
        type=click.Choice(["first", "name", "random", "kube"]),
        default="first",
        show_default=True,
        help="Which of several nodes with the highest total is taken.",
    )(function)


# manifests


def loaded(files: Sequence[Path], *, passed_to: str, namespace: str = "default") -> list[Loaded]:
    """Objects of manifests, `-` read from standard input; those that name no namespace get this one. Raises InputError, also for none."""
    found: list[Loaded] = []
    for path in files:
        found += _of_standard_input() if path == _DASH else load_files([path], warn=warn)
    if not found:
        raise InputError(f"no objects passed to {passed_to}", source=", ".join(STANDARD_INPUT if f == _DASH else str(f) for f in files))
    if namespace == "default":
        return found
    return [item._replace(object=_in(item.object, namespace)) for item in found]


def _in(obj: Any, namespace: str) -> Any:
    if not kind_of(obj).namespaced or meta(obj).namespace:
        return obj
    return with_metadata(obj, namespace=namespace)


def _of_standard_input() -> list[Loaded]:
    raw = sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
    if len(raw) > TEXT_BYTES_MAX:
        raise InputError(f"more than the {TEXT_BYTES_MAX} bytes read at once; split it", source=STANDARD_INPUT)
    try:
        text = decoded_text(raw)
    except TextError as error:
        raise text_error(error, STANDARD_INPUT) from None
    return load_text(text, source=STANDARD_INPUT, warn=warn)


# TYPE NAME


def kind_or_fail(word: str) -> Kind:
    """The kind a user typed. Raises InputError naming what is known."""
    kind = kind_named(word)
    if kind is not None:
        return kind
    plurals = sorted(row.plural for row in KINDS.values())
    near = difflib.get_close_matches(word.lower(), [*plurals, *(short for row in KINDS.values() for short in row.short)], n=2, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(plurals)}"
    raise InputError(f'the server doesn\'t have a resource type "{word}"; {hint}')


def complete_kinds(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shell completion of TYPE."""
    head, comma, word = incomplete.rpartition(",")
    names = sorted(row.plural for row in KINDS.values())
    return [CompletionItem(head + comma + name) for name in names if name.startswith(word.lower())]


def resources(words: tuple[str, ...], *, also: str = "") -> list[tuple[Kind, str | None]]:
    """What kubectl's TYPE[,TYPE] [NAME…] | TYPE/NAME … means: (kind, name) pairs, name None for all of a kind."""
    if not words:
        raise click.UsageError(f"say what: TYPE [NAME...] or TYPE/NAME...{also}")
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
