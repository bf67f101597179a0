"""What volsched's deciders need from the outside, as Protocols and values. Nothing here does anything.

`clients`: Clock, ApiClient, CsiClient, ExtenderClient - implemented by `env`, `store` or `cluster`, `csi`, and `app`.
`intents`: what a decider asks for; `app` carries them out.
`decider`: the shape of a controller or scheduler that `app` can run.
"""

from volsched.ports.clients import ApiClient, Clock, CsiClient, ExtenderClient, ListResult
from volsched.ports.decider import DONE, Decider, Done, QueueSpec, Requeue, WorkItem
from volsched.ports.intents import (
    Bind,
    Call,
    Create,
    Delete,
    Emit,
    Intent,
    ListAll,
    Patch,
    Pause,
    Read,
    Steps,
    Update,
)

__all__ = [
    "DONE",
    "ApiClient",
    "Bind",
    "Call",
    "Clock",
    "Create",
    "CsiClient",
    "Decider",
    "Delete",
    "Done",
    "Emit",
    "ExtenderClient",
    "Intent",
    "ListAll",
    "ListResult",
    "Patch",
    "Pause",
    "QueueSpec",
    "Read",
    "Requeue",
    "Steps",
    "Update",
    "WorkItem",
]
