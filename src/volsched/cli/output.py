"""Printing objects: tables, JSON, YAML, names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from volsched.api.kinds import Json, kind_of, meta, to_json
from volsched.cli.columns import columns_of
from volsched.cli.layout import grid, squeezed


def objects_table(
    kind: str,
    objects: Sequence[Any],
    *,
    now_ns: int,
    wide: bool = False,
    namespaces: bool = False,
    headers: bool = True,
    labels: bool = False,
    prefixed: bool = False,
    width: int | None = None,
) -> str:
    """The table `get` prints for one kind. `prefixed`: names with their kind, as kubectl shows several kinds at once."""
    columns = columns_of(kind, wide=wide)
    titles = (["NAMESPACE"] if namespaces else []) + [column.title for column in columns] + (["LABELS"] if labels else [])
    rows = []
    for obj in objects:
        cells = [column.cell(obj, now_ns) for column in columns]
        if prefixed:
            cells[0] = resource_name(obj).rpartition("/")[0] + "/" + cells[0]
        rows.append(([str(meta(obj).namespace)] if namespaces else []) + cells + ([_labels(obj)] if labels else []))
    # asked for everything: as wide as it gets
    titles, rows = squeezed(titles, rows, None if wide or labels else width)
    return "\n".join(grid(titles, rows, headers=headers))


def _labels(obj: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((meta(obj).labels or {}).items())) or "<none>"


def resource_type(obj: Any) -> str:
    """`persistentvolumeclaim`, `volumesnapshot.snapshot.storage.k8s.io`."""
    kind = kind_of(obj)
    return f"{kind.name.lower()}.{kind.group}" if kind.group else kind.name.lower()


def resource_name(obj: Any) -> str:
    """`persistentvolumeclaim/data`: what mutations and `-o name` print."""
    return f"{resource_type(obj)}/{meta(obj).name}"


def as_list(objects: Sequence[Any]) -> dict[str, Json]:
    """A `List` of objects, as kubectl prints several."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [to_json(obj) for obj in objects]}


def structured(value: Json, output: str) -> str:
    """A value as `-o json` or `-o yaml` shows it."""
    return json_text(value) if output == "json" else yaml_text(value)


def json_text(value: Json) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False)


def _is_number(text: str) -> bool:
    """Whether readers newer than PyYAML take it for a number: 1e3."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Dumper(yaml.SafeDumper):
    """Block style, no aliases; text of several lines as a block, text that needs quotes in double ones, as kubectl writes it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        tag = self.resolve(yaml.ScalarNode, data, (True, False))  # type: ignore[no-untyped-call]
        plain = tag == "tag:yaml.org,2002:str" and not _is_number(data)
        style = "|" if "\n" in data else None if plain else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def yaml_text(value: Json) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=10_000).rstrip("\n")
