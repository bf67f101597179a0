"""The `volsched` command: parses, calls `app`, prints. Data goes to standard output, everything else to standard error.

Exit codes: 0 done, 1 the input was wrong (one line on standard error, nothing written), 2 usage, 3 an internal error.
Subcommands are imported when they are called, so that `volsched get` does not pay for what `volsched bench` needs.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from volsched.cli.help import Group
from volsched.errors import ApiError, EngineError, VolschedError

# topic -> command -> (module of volsched.cli that defines a click command of that name, what the overview says of it)
TOPICS: Final = {
    "The embedded cluster, kept in a file between calls": {
        "apply": ("apply", "Create or change objects, then let the cluster settle."),
        "delete": ("apply", "Delete objects, then let the cluster settle."),
        "get": ("get", "Show objects as tables, names, JSON or YAML."),
        "describe": ("get", "Show objects in full, with their events."),
        "events": ("get", "List events."),
        "explain": ("explain", "Say why a pod can or cannot run where."),
        "overcommit": ("overcommit", "Say which capacity pools Kubernetes would give out twice."),
        "restore-check": ("restore_check", "Say where a snapshot can be restored, and why not elsewhere."),
        "whatif": ("whatif", "Say what other nodes, zones, disks or classes would change."),
        "api-resources": ("resources", "List the types of objects there are."),
    },
    "Whole runs": {
        "run": ("run", "Load manifests, run until idle, print what happened."),
        "demo": ("demo", "Play the main story, driver on a real socket."),
        "rehearse": ("rehearse", "Play a recorded story and print its outcome."),
        "replay": ("replay", "Replay the trace of a large cluster, with volumes."),
        "report": ("report", "Show replays as one page, side by side."),
        "sweep": ("sweep", "Replay every combination of policies, seeds and sizes."),
    },
    "Decisions alone": {
        "verdict": ("verdict", "Decide recorded cases."),
        "bench": ("bench", "Time decide and assume for every pending pod of a file."),
        "pack": ("pack", "Write the objects of a file as columns, which load in seconds."),
    },
    "Others": {
        "csi": ("csi", "The fake CSI driver as a process of its own."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
COMMANDS: Final = {name: row for commands in TOPICS.values() for name, row in commands.items()}
_SHORT_WITH_EQUALS: Final = re.compile(r"^(-[A-Za-z])=", re.ASCII)  # -o=json, which kubectl takes and click does not
INPUT_WRONG: Final = 1
INTERNAL_ERROR: Final = 3
INTERRUPTED: Final = 130


class _Commands(Group):
    """A group that imports a subcommand's module when it is needed, and turns exceptions into exit codes and one clear line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"volsched.cli.{row[0]}_command"), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        size = max(map(len, COMMANDS))
        for topic, commands in TOPICS.items():
            with formatter.section(topic):
                formatter.write_dl([(name.ljust(size), text) for name, (_, text) in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # the reader has gone (`volsched events | head`), which is its right; the interpreter shall not complain while it flushes
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return result

    def main(  # type: ignore[override]  # ends the process in every case
        self, args: Sequence[str] | None = None, prog_name: str | None = None, standalone_mode: bool = True, **extra: Any
    ) -> NoReturn:
        try:
            words = [_SHORT_WITH_EQUALS.sub(r"\1", word) for word in (sys.argv[1:] if args is None else args)]
            code = super().main(words, prog_name or "volsched", standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            print("interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except EngineError as error:
            _internal(error)
        except VolschedError as error:
            print(said(error), file=sys.stderr)
            sys.exit(INPUT_WRONG)
        except Exception as error:  # the last resort: anything unforeseen is ours to hear of
            _internal(error)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="volsched", prog_name="volsched", message="%(prog)s %(version)s")
def cli() -> None:
    """Kubernetes storage scheduling, embedded: decide, explain, provision, snapshot and restore, without a cluster."""


def said(error: VolschedError) -> str:
    """An exception as the one line a user reads; a refusal of the API server begins as kubectl prints it."""
    return f"Error from server ({error.reason}): {error}" if isinstance(error, ApiError) else f"error: {error}"


def main() -> NoReturn:
    """Entry point."""
    cli.main()


def _internal(error: BaseException) -> NoReturn:
    traceback.print_exception(error, file=sys.stderr)
    print(
        f"volsched: internal error: {type(error).__name__}: {error}\n"
        "This is a bug. Please report it with the command, its input and the lines above (CONTRIBUTING.md says where).",
        file=sys.stderr,
    )
    sys.exit(INTERNAL_ERROR)
