"""The embedded API server: objects, versions, watches, admission, and the state file they can be kept in."""

from volsched.store.events import is_object_change
from volsched.store.runlog import RunLog
from volsched.store.store import Store

__all__ = ["RunLog", "Store", "is_object_change"]
