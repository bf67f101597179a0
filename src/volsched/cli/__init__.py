"""The `volsched` command: parses, calls `app`, prints. Data goes to standard output, everything else to standard error.

Exit codes: 0 done, 1 the input was wrong (one line on standard error, nothing written), 2 usage, 3 an internal error.
Subcommands are imported when they are called, so that `volsched get` does not pay for what `volsched bench` needs.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Final

import click

from volsched.errors import EngineError, VolschedError

# command -> module of volsched.cli that defines a click command of that name (csi: a group)
COMMANDS: Final = {
    "apply": "objects",
    "bench": "bench",
    "csi": "csi",
    "delete": "objects",
    "demo": "demo",
    "describe": "objects",
    "events": "objects",
    "explain": "explain",
    "get": "objects",
    "rehearse": "rehearse",
    "run": "run",
    "verdict": "verdict",
}
INTERNAL_ERROR: Final = 3


class _Lazy(click.Group):
    """A group that imports a subcommand's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        loaded = importlib.import_module(f"volsched.cli.{module}_command")
        command: click.Command = getattr(loaded, cmd_name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="volsched", prog_name="volsched", message="%(prog)s %(version)s")
def cli() -> None:
    """Kubernetes storage scheduling, embedded: decide, explain, provision, snapshot and restore, without a cluster."""


def main() -> None:
    """Entry point: turns exceptions into exit codes and one clear line."""
    try:
        cli.main(prog_name="volsched", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        # the reader has gone (`volsched events | head`); keep the interpreter from complaining while it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except EngineError as error:
        _internal(error)
    except VolschedError as error:
        reason = getattr(error, "reason", None)
        prefix = f"Error from server ({reason})" if reason and getattr(error, "kind", None) is not None else "error"
        print(f"{prefix}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:  # the last resort: anything unforeseen is ours to hear of
        _internal(error)


def _internal(error: BaseException) -> None:
    traceback.print_exception(error, file=sys.stderr)
    print(
        f"volsched: internal error: {type(error).__name__}: {error}\n"
        "This is a bug. Please report it with the command, its input and the lines above (CONTRIBUTING.md says where).",
        file=sys.stderr,
    )
    sys.exit(INTERNAL_ERROR)
