"""Fault plans as tests give them: dicts with the keys of docs/faults.md, files of such plans, keywords.

    @pytest.mark.csi_faults("faults.yaml")                                    a file, beside the test's
    @pytest.mark.csi_faults({"rpc": "CreateVolume", "error": "UNAVAILABLE"})  faults, one after the other
    @pytest.mark.csi_faults({"seed": 7, "faults": [...]})                     a whole plan
    @pytest.mark.csi_faults(rpc="CreateVolume", calls=1, crash="after")       one fault

`from` is a word of Python, so the keyword is `from_`. Faults without a name get one that is free. A mistake is an InputError that says
where it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from volsched.api.documents import decoded_text, documents
from volsched.csi.fault_file import load_plan, parse_plan
from volsched.errors import InputError

Fault = dict[str, Any]


def plan_text(faults: Iterable[Fault], *, seed: int = 0) -> str:
    """A plan as `parse_plan` reads it. Raises InputError."""
    text = json.dumps({"seed": seed, "faults": list(faults)}, default=_refuse)
    try:
        parse_plan(text)
    except InputError as error:
        raise InputError(error.message, path=error.path) from None  # the line would be one of a file that nobody has written
    return text


def _refuse(value: object) -> Any:
    raise InputError(f"a fault holds {value!r}, has to hold texts, numbers and lists")


def faults_of(
    given: Iterable[object], keywords: Mapping[str, object], *, folder: Path, known: Iterable[str] = ()
) -> tuple[list[Fault], int | None]:
    """Faults and seed (None: not given) of the arguments of one marker or call. `known`: names that are taken. Raises InputError."""
    found: list[Fault] = []
    seed: int | None = None
    for item in [*given, *([dict(keywords)] if keywords else ())]:
        if isinstance(item, str | Path):
            path = folder / item
            load_plan(path)  # for its messages, which know the lines
            item = next(iter(documents(decoded_text(path.read_bytes())))).value
        if isinstance(item, Mapping) and "faults" in item:
            found += _list(item["faults"])
            seed = item.get("seed", seed)
        elif isinstance(item, Mapping):
            found.append(_fault(item))
        else:
            found += _list(item)
    return _named(found, set(known)), seed


def _list(items: object) -> list[Fault]:
    if not isinstance(items, list | tuple):
        raise InputError(f"faults are dicts, lists of dicts or the path of a plan, not {items!r}")
    return [_fault(item) for item in items]


def _fault(item: object) -> Fault:
    if not isinstance(item, Mapping):
        raise InputError(f"a fault is a dict with the keys of docs/faults.md, not {item!r}")
    return {("from" if key == "from_" else key): value for key, value in item.items()}


def _named(faults: list[Fault], taken: set[str]) -> list[Fault]:
    taken |= {str(fault["name"]) for fault in faults if "name" in fault}
    named = []
    number = 0
    for fault in faults:
        if "name" not in fault:
            number += 1
            while f"fault-{number}" in taken:
                number += 1
            fault = {"name": f"fault-{number}", **fault}
        named.append(fault)
    return named
