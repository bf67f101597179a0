"""csi: the fake CSI driver as a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from volsched.api.quantity import parse
from volsched.cli.help import Command, Group, examples
from volsched.csi.profile import MUTABLE_PARAMETERS, PROFILES
from volsched.errors import InputError

ATTACH_LIMIT: Final = 64  # by default; a limit is what most real drivers have


@click.group(cls=Group)
def csi() -> None:
    """The fake CSI driver: real gRPC on a unix socket, real bytes in its volumes."""


@csi.command(
    short_help="Serve the driver on a unix socket until SIGTERM.",
    cls=Command,
    epilog=examples(
        ("Two zones, records and bytes kept", "volsched csi serve --endpoint unix:///run/csi.sock --zones a,b --state driver.db"),
        ("Under a plan of faults", "volsched csi serve --endpoint unix:///run/csi.sock --faults faults.yaml"),
    ),
)
@click.option("--endpoint", required=True, envvar="CSI_ENDPOINT", show_envvar=True, help="unix:///PATH of the socket.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file that survives a restart; data goes to STATE.data beside it.",
)
@click.option("--faults", type=click.Path(dir_okay=False, path_type=Path), help="YAML file of what goes wrong when; see docs/faults.md.")
@click.option("--zones", default="", metavar="a,b,c", help="Zones volumes are made in; without them they are reachable from everywhere.")
@click.option("--profile", type=click.Choice(PROFILES), default="full", show_default=True, help="full: every capability.")
@click.option("--name", default="", help="Driver name [default: the profile's].")
@click.option("--node-id", default="", help="The node this process is on [default: host name].")
@click.option(
    "--max-volumes-per-node",
    type=click.IntRange(min=0),
    default=ATTACH_LIMIT,
    show_default=True,
    help="Attach limit of a node, 0 = none.",
)
@click.option(
    "--capacity",
    multiple=True,
    metavar="ZONE=SIZE",
    help="Room in a zone, like a=10Gi, or in a pool there, fast@a=10Gi, which class parameter `pool` names; =10Gi without zones. "
    "Zones not named are unlimited. May be repeated.",
)
@click.option(
    "--mutable-parameters",
    default=",".join(MUTABLE_PARAMETERS),
    show_default=True,
    metavar="a,b,c",
    help="Keys a volume attributes class may have; others are refused.",
)
def serve(
    endpoint: str,
    state: Path | None,
    faults: Path | None,
    zones: str,
    profile: str,
    name: str,
    node_id: str,
    max_volumes_per_node: int,
    capacity: tuple[str, ...],
    mutable_parameters: str,
) -> None:
    """Serve Identity, Controller, GroupController and Node in real time until SIGTERM."""
    try:
        from volsched.csi.server import serve_standalone
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("grpc", "google"):
            raise InputError("serving needs gRPC: pip install 'volsched[csi]'") from error
        raise
    serve_standalone(
        endpoint,
        faults=faults,
        say=lambda line: click.echo(line, err=True),
        profile=profile,
        name=name,
        zone_names=[zone for zone in zones.split(",") if zone],
        state=state,
        node_id=node_id,
        max_volumes_per_node=max_volumes_per_node,
        capacity=_sizes(capacity),
        mutable_parameters=[key for key in mutable_parameters.split(",") if key],
    )


def _sizes(options: tuple[str, ...]) -> dict[str, int]:
    """`--capacity ZONE=SIZE …` as bytes by zone."""
    found: dict[str, int] = {}
    for option in options:
        zone, separator, size = option.partition("=")
        try:
            found[zone] = parse(size).value()
        except InputError:
            separator = ""
        if not separator:
            raise InputError(f"--capacity {option} has to be ZONE=SIZE, like a=10Gi")
    return found
