"""A driver in a process of its own: one JSON line in for a question, one out for an answer, and one for every call it is asked.

    python -m volsched.testing.child SETTINGS        as `driver.ChildHost` starts it

It ends with its standard input, so it never outlives the test that started it. A crash of the plan is a SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from volsched.errors import CsiError, VolschedError
from volsched.testing.served import Served, Settings


def main(arguments: list[str]) -> int:
    """Serve until standard input ends."""
    # the test's own interrupt ends the test, and that ends this; a group of processes gets the signal all at once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = threading.Lock()

    def say(line: Mapping[str, Any]) -> None:
        with lock:
            sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
            sys.stdout.buffer.flush()

    def crash() -> None:
        say({"counted": served.faults.counted})
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        served = Served(msgspec.json.decode(arguments[0], type=Settings), say, crash=crash)
    except VolschedError as error:
        say({"refused": str(error)})
        return 1
    say({"ready": True})
    for line in sys.stdin:
        question = msgspec.json.decode(line)
        try:
            say({"answer": served.ask(question["ask"], question["with"])})
        except CsiError as error:
            say({"error": {"code": int(error.code), "detail": error.detail}})
    served.stop(grace_s=1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
