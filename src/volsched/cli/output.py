"""Printing objects: tables, JSON, YAML, names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from volsched.api.kinds import KINDS, Json, Kind, kind_of, meta, to_json
from volsched.cli.columns import columns_of
from volsched.cli.layout import fits, table_lines


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
    room = None if wide or labels else width  # asked for everything: as wide as it gets

    def rows(prefix: str) -> list[list[str]]:
        found = []
        for obj in objects:
            cells = [column.cell(obj, now_ns) for column in columns]
            cells[0] = prefix + cells[0]
            found.append(([str(meta(obj).namespace)] if namespaces else []) + cells + ([_labels(obj)] if labels else []))
        return found

    table = rows(f"{resource_type(KINDS[kind])}/" if prefixed else "")
    if prefixed and not fits(titles, table, room):
        table = rows(f"{short_name(kind)}/")
    minor = frozenset(column.title for column in columns if column.minor)
    return "\n".join(table_lines(titles, table, headers=headers, width=room, minor=minor))


def _labels(obj: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((meta(obj).labels or {}).items())) or "<none>"


def resource_type(kind: Kind) -> str:
    """`persistentvolumeclaim`, `volumesnapshot.snapshot.storage.k8s.io`."""
    return f"{kind.name.lower()}.{kind.group}" if kind.group else kind.name.lower()


def resource_name(obj: Any) -> str:
    """`persistentvolumeclaim/data`: what mutations and `-o name` print."""
    return f"{resource_type(kind_of(obj))}/{meta(obj).name}"


def short_name(kind: str) -> str:
    """`pvc`: the shortest a kind may be called, for narrow terminals; kinds that are not known as they are."""
    row = KINDS.get(kind)
    return kind if row is None else row.short[0] if row.short else row.name.lower()


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
