"""Help as kubectl gives it: examples at the end, commands by topic, and what a mistyped one may have been."""

from __future__ import annotations

import difflib

import click


def examples(*pairs: tuple[str, str]) -> str:
    """(what it does, command line) pairs as the epilog of a `Command`."""
    return "\n\n".join(f"  # {what}\n  {line}" for what, line in pairs)


class Command(click.Command):
    """A command whose epilog is examples, printed as they are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write(f"\nExamples:\n{self.epilog}\n")


class Group(click.Group):
    """A group that names what is near to a mistyped command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=2, cutoff=0.6)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f'unknown command "{name}" for "{ctx.command_path}"{hint}', ctx)
        return super().resolve_command(ctx, args)
