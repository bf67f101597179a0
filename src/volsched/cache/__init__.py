"""The cluster as a scheduler sees it: informer views, assume caches, the scheduler cache and its snapshots.

For users of the Python API this is the entrance: see `SchedulerCache`. Names are imported on first use, because controllers only need
the small `View`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from volsched.cache.assume_cache import AssumeCache
    from volsched.cache.scheduler_cache import SCHEDULING_KINDS, Reservation, SchedulerCache, Seen
    from volsched.cache.snapshot import Filtered, Snapshot
    from volsched.cache.view import View
    from volsched.cache.volume_binder import PodVolumes, VolumeBinder

_HOME: Final = {
    "AssumeCache": "assume_cache",
    **dict.fromkeys(("SCHEDULING_KINDS", "Reservation", "SchedulerCache", "Seen"), "scheduler_cache"),
    **dict.fromkeys(("Filtered", "Snapshot"), "snapshot"),
    "View": "view",
    **dict.fromkeys(("PodVolumes", "VolumeBinder"), "volume_binder"),
}

__all__ = [
    "SCHEDULING_KINDS",
    "AssumeCache",
    "Filtered",
    "PodVolumes",
    "Reservation",
    "SchedulerCache",
    "Seen",
    "Snapshot",
    "View",
    "VolumeBinder",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
