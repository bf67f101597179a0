"""What the workloads share."""

from __future__ import annotations

from typing import Any, Final

from volsched.api.defaults import with_defaults
from volsched.api.kinds import from_json

ZONES: Final = tuple(f"zone-{number}" for number in range(10))
DRIVER: Final = "disk.csi.example.com"
ZONE_KEY: Final = "topology.kubernetes.io/zone"
HOST_KEY: Final = "kubernetes.io/hostname"


def made(body: dict[str, Any]) -> Any:
    """An object of a workload, defaulted."""
    return with_defaults(from_json(body["kind"], body))
