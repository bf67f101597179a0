"""api-resources: the types of objects there are, and how they may be called."""

from __future__ import annotations

import click

from volsched.api.kinds import KINDS
from volsched.cli import terminal
from volsched.cli.common import output_option
from volsched.cli.help import Command, examples
from volsched.cli.layout import table_lines


@click.command(
    cls=Command,
    epilog=examples(
        ("Every type, with its short names", "volsched api-resources"),
        ("The names of those that belong to no namespace", "volsched api-resources --namespaced=false -o name"),
    ),
)
@click.option("--namespaced", type=bool, metavar="true|false", help="Only types whose objects are, or are not, in a namespace.")
@click.option("--no-headers", is_flag=True, help="Leave the titles out.")
@output_option("name")
def api_resources(namespaced: bool | None, no_headers: bool, output: str | None) -> None:
    """List the types of objects that commands take as TYPE: plural, singular, kind or short name, with or without the group."""
    kinds = [kind for kind in sorted(KINDS.values(), key=lambda kind: (kind.group, kind.plural)) if namespaced in (None, kind.namespaced)]
    if output == "name":
        for kind in kinds:
            print(f"{kind.plural}.{kind.group}" if kind.group else kind.plural)
        return
    rows = [(kind.plural, ",".join(kind.short), kind.api_version, str(kind.namespaced).lower(), kind.name) for kind in kinds]
    titles = ("NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND")
    print("\n".join(table_lines(titles, rows, headers=not no_headers, width=terminal.width(), minor={"KIND", "NAMESPACED"})))
