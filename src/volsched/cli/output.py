"""Printing: plain columns as kubectl aligns them, JSON, YAML, names. Colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from volsched.api.kinds import Json, kind_of, meta, to_json
from volsched.cli.columns import columns_of


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]], *, headers: bool = True) -> str:
    """Left-aligned columns, three blanks apart, as wide as their widest cell; no trailing blanks."""
    table = [list(titles)] if headers else []
    table += [list(row) for row in rows]
    if not table:
        return ""
    widths = [max(len(row[i]) for row in table) for i in range(len(titles))]
    return "\n".join("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)


def objects_table(kind: str, objects: Sequence[Any], *, now_ns: int, wide: bool, namespaces: bool, headers: bool = True) -> str:
    """The table `get` prints for one kind."""
    columns = columns_of(kind, wide=wide)
    titles = (["NAMESPACE"] if namespaces else []) + [column.title for column in columns]
    rows = [
        ([str(meta(obj).namespace)] if namespaces else []) + [column.cell(obj, now_ns) for column in columns] for obj in objects
    ]
    return grid(titles, rows, headers=headers)


def resource_name(obj: Any) -> str:
    """`persistentvolumeclaim/www`, `volumesnapshot.snapshot.storage.k8s.io/snap`: what mutations and `-o name` print."""
    kind = kind_of(obj)
    group = f".{kind.group}" if kind.group else ""
    return f"{kind.name.lower()}{group}/{meta(obj).name}"


def as_list(objects: Sequence[Any]) -> dict[str, Json]:
    """A `List` of objects, as kubectl prints several."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [to_json(obj) for obj in objects]}


def json_text(value: Json) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False)


class _Dumper(yaml.SafeDumper):
    """Block style with indented lists, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(value: Json) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=10_000).rstrip("\n")


def colourful(stream: Any = None) -> bool:
    """Whether the stream is a terminal that wants colour (NO_COLOR and TERM=dumb are honoured)."""
    out = stream or sys.stdout
    return bool(out.isatty()) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


_SHADES = {"good": "32", "bad": "31", "wait": "33", "dim": "2", "bold": "1"}


def shade(text: str, how: str) -> str:
    """Text in a colour of meaning, where standard output is a terminal."""
    return f"\x1b[{_SHADES[how]}m{text}\x1b[0m" if colourful() else text
