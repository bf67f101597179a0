"""kube-scheduler's behaviour as a decider: queue, scheduling cycle, binding cycle, preemption, wake-ups.

`Scheduler(clock, engine)` is what `app` runs. `framework` says what plugins are; `profile.default_profile` says which ones there are.
Custom schedulers that want only the cluster state and the decisions use `volsched.cache` alone.
"""

from __future__ import annotations

from volsched.scheduler.decider import Scheduler
from volsched.scheduler.framework import Code, CycleState, Handle, Profile, Status, Wake
from volsched.scheduler.profile import default_profile
from volsched.scheduler.queue import SchedulingQueue
from volsched.scheduler.selection import Prefer

__all__ = [
    "Code",
    "CycleState",
    "Handle",
    "Prefer",
    "Profile",
    "Scheduler",
    "SchedulingQueue",
    "Status",
    "Wake",
    "default_profile",
]
