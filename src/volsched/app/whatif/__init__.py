"""What if the cluster were another: nodes, zones, disks, classes or capacity added, changed or lost, with no API server.

    World ──changes──> World        `changes`: delete, create, patch, a zone lost; `world`: the objects
      └─settle─> Outcome            `settle`: where every pod is, those that lose their node placed anew
    Outcome, Outcome ─> Comparison  `compare`: who moves, who waits and why, which storage is out of reach

`ask` holds the questions: what a change does, what the loss of each zone would do, how many more pods fit, how many nodes are needed.
The scheduler's own decisions are taken one pod after the other; nobody is preempted, nothing is run, the cluster itself is left alone.
"""

from volsched.app.whatif.ask import how_many, until_fits, what_if, zone_losses
from volsched.app.whatif.changes import Change, Create, Delete, LoseZone, Patch, read_changes
from volsched.app.whatif.world import World

__all__ = [
    "Change",
    "Create",
    "Delete",
    "LoseZone",
    "Patch",
    "World",
    "how_many",
    "read_changes",
    "until_fits",
    "what_if",
    "zone_losses",
]
