"""The volume binder: kube-controller-manager's PersistentVolume controller.

    claim changed ──> claims queue ──> facts ──> row of tables.py ──> bind, wait, provision, Lost
    volume changed ─> volumes queue ─> facts ──> row of tables.py ──> phase, look at the claim, release and reclaim, unbind
                                                        │
                              operations queue <────────┘ provision-…, delete-…, recycle-…: beside the passes, each name once

Claims and volumes point at each other; either side's pass repairs the half it can see, so any order of events, and a stop between any two
writes, ends in the same state. `tables` holds the conditions, `claims` and `volumes` the actions, `changes` the objects written, `match`
the search, `state` what has been seen, `operations` the named operations, `controller` the queues.
Not kept from upstream: the queue's overall limit of 10 retries a second, which only matters to a real API server.
Source: pkg/controller/volume/persistentvolume; spec/volumes.md 1.
"""

from volsched.controllers.pv_binder.controller import PVBinder

__all__ = ["PVBinder"]
