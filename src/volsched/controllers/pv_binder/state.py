"""What the binder has seen, kept ready for its passes, and how its writes come back into it.

Every successful own write is taken at once, so the next step of a pass, and the next pass, decide on it and not on an older watch event.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

from lightkube.models.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.models.storage_v1 import StorageClass

from volsched.api.kinds import key_of, meta
from volsched.api.watch import Change, WatchEvent
from volsched.cache.view import View
from volsched.controllers.agenda import Agenda
from volsched.controllers.claim_users import ClaimUsers
from volsched.controllers.pv_binder.changes import default_class
from volsched.controllers.pv_binder.match import VolumeIndex
from volsched.errors import ReconcileError
from volsched.ports import Clock, Emit, Steps, Update, WorkItem
from volsched.rules.volumes import WAIT_FOR_FIRST_CONSUMER, class_of

KINDS_WATCHED: Final = frozenset({"PersistentVolume", "PersistentVolumeClaim", "StorageClass", "Pod"})
CLAIMS: Final = "claims"
VOLUMES: Final = "volumes"
OPERATIONS: Final = "operations"

T = TypeVar("T")


class State:
    """The binder's view with its indexes, its agenda, and the writes that feed the view."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.view = View(KINDS_WATCHED)
        self.volumes = VolumeIndex()
        self.users = ClaimUsers()
        self.agenda = Agenda(clock)

    def observe(self, event: WatchEvent) -> bool:
        """Take a watch event; whether it was news."""
        _, taken = self.view.observe(event)
        if not taken:
            return False
        if event.kind == "PersistentVolume":
            if event.change is Change.DELETED:
                self.volumes.drop(meta(event.object).name or "")
            else:
                self.volumes.put(event.object)
        elif event.kind == "Pod":
            self.users.observe(event)
        return True

    def put(self, obj: Any) -> None:
        """Take an object that the API server has answered with."""
        if self.view.put(obj) and isinstance(obj, PersistentVolume):
            self.volumes.put(obj)

    def write(self, obj: T, subresource: Literal["", "status"] = "") -> Steps[T]:
        """Update an object and take the answer."""
        saved: T = yield Update(obj, subresource)
        self.put(saved)
        return saved

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        found: PersistentVolumeClaim | None = self.view.get("PersistentVolumeClaim", namespace, name)
        return found

    def volume(self, name: str) -> PersistentVolume | None:
        found: PersistentVolume | None = self.view.get("PersistentVolume", "", name)
        return found

    def storage_class(self, name: str) -> StorageClass | None:
        found: StorageClass | None = self.view.get("StorageClass", "", name)
        return found

    def default_class(self) -> StorageClass | None:
        return default_class(list(self.view.all("StorageClass")))

    def delays_binding(self, claim: PersistentVolumeClaim) -> bool:
        """Whether the claim's class waits for a pod. A class that does not exist does not wait."""
        name = class_of(claim)
        found = self.storage_class(name) if name else None
        if found is None:
            return False
        if found.volumeBindingMode is None:
            raise ReconcileError(f'VolumeBindingMode not set for StorageClass "{name}"')
        return found.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER


def claim_key(claim: PersistentVolumeClaim) -> str:
    """Queue key of a claim."""
    key = key_of(claim)
    return f"{key.namespace}/{key.name}"


def claim_item(namespace: str, name: str) -> WorkItem:
    return WorkItem(CLAIMS, f"{namespace}/{name}")


def normal(regarding: Any, reason: str, message: str) -> Emit:
    return Emit(regarding, "Normal", reason, message)


def warning(regarding: Any, reason: str, message: str) -> Emit:
    return Emit(regarding, "Warning", reason, message)
