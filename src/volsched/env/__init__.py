"""Time, order, identity and chance: everything that could differ between two runs comes from here.

`clock` holds the only reader of real time, `chance` the only user of `random`, `draws` of numpy's chance.
One `Loop` decides what happens in which order.
"""

from volsched.env.chance import Chance, Stream
from volsched.env.clock import RealClock, VirtualClock
from volsched.env.identity import Uids
from volsched.env.loop import EndlessWorkError, Handle, Loop

__all__ = ["Chance", "EndlessWorkError", "Handle", "Loop", "RealClock", "Stream", "Uids", "VirtualClock"]
