"""Pages of ListVolumes and ListSnapshots.

A token names the last record of a page by its place in the order of creation, so it stays good when records come and go between pages:
what was deleted is missing, what was added is at the end. Source: spec/volumes.md 6.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from volsched.csi.state import Record
from volsched.errors import CsiCode, CsiError

R = TypeVar("R", bound=Record)


def page_of(records: Sequence[R], max_entries: int, token: str) -> tuple[list[R], str]:
    """The page after `token` with at most `max_entries` (0 = all), and the next token, empty on the last page."""
    after = _ordinal(token)
    rest = [record for record in records if record.ordinal > after]
    if not max_entries or len(rest) <= max_entries:
        return rest, ""
    page = rest[:max_entries]
    return page, f"after-{page[-1].ordinal}"


def _ordinal(token: str) -> int:
    if not token:
        return 0
    head, _, number = token.partition("-")
    if head != "after" or not (number.isascii() and number.isdecimal()):
        raise CsiError(CsiCode.ABORTED, f"starting_token {token!r} is none of this driver; list from the start")
    return int(number)
