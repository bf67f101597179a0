"""Workload files as text: a cluster and pending pods, JSON lines (one object a line) or manifests, plain or gzipped."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from volsched.api.defaults import with_defaults
from volsched.api.kinds import Json, to_manifest
from volsched.api.manifest import from_manifest, load_text
from volsched.errors import InputError


def _text_of(path: Path) -> str:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=str(path)) from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8: {error.reason} at byte {error.start}", source=str(path)) from error


def _is_json_lines(text: str) -> bool:
    first = text.lstrip().partition("\n")[0]
    if not first.startswith("{"):
        return False
    try:
        return "kind" in json.loads(first)
    except (ValueError, RecursionError):
        return False


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Json]]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not JSON: {error}", source=str(path), line=number) from error


def read_objects(path: Path, *, warn: Callable[[str], None]) -> Iterator[Any]:
    """Objects of a workload file, defaulted, in file order. Raises InputError with the line."""
    text = _text_of(path)
    if not _is_json_lines(text):
        for item in load_text(text, source=str(path), warn=warn):
            yield with_defaults(item.object)
        return
    for number, value in _json_lines(text, path):
        try:
            yield with_defaults(from_manifest(value, source=str(path), warn=warn))
        except InputError as error:
            raise InputError(error.message, source=str(path), line=number, path=error.path) from error


def read_values(path: Path, *, warn: Callable[[str], None]) -> Iterator[tuple[int, dict[str, Json]]]:
    """Manifests of a workload file, each with its line. Those of JSON lines are as they are written; raises InputError with the line."""
    text = _text_of(path)
    if not _is_json_lines(text):
        for item in load_text(text, source=str(path), warn=warn):
            yield item.line, to_manifest(item.object)
        return
    for number, value in _json_lines(text, path):
        if not isinstance(value, dict):
            raise InputError("a manifest is a mapping with apiVersion and kind", source=str(path), line=number)
        yield number, value
