"""csi: the fake CSI driver as a process of its own."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def csi() -> None:
    """The fake CSI driver: real gRPC on a unix socket, real bytes in its volumes."""
