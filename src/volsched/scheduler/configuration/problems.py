"""What is wrong with a configuration: field errors in Kubernetes' words, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from volsched.api.documents import Document, Path, locate, path_text
from volsched.api.fields import shown
from volsched.errors import InputError


class Problems(list[tuple[Path, str]]):
    """Field errors found so far, in order."""

    def add(self, path: Path, message: str) -> None:
        self.append((path, message))

    def invalid(self, path: Path, value: Any, detail: str) -> None:
        self.append((path, f"Invalid value: {shown(value)}: {detail}"))

    def required(self, path: Path, detail: str = "") -> None:
        self.append((path, f"Required value: {detail}" if detail else "Required value"))

    def forbidden(self, path: Path, detail: str) -> None:
        self.append((path, f"Forbidden: {detail}"))

    def duplicate(self, path: Path, value: Any) -> None:
        self.append((path, f"Duplicate value: {shown(value)}"))

    def unsupported(self, path: Path, value: Any, supported: Iterable[str]) -> None:
        self.append((path, f"Unsupported value: {shown(value)}: supported values: {', '.join(shown(name) for name in sorted(supported))}"))


class Origin:
    """The text a configuration was read from; turns places into lines. Without a text, for a configuration that was never a file, places
    are named alone."""

    def __init__(self, source: str = "", text: str = "", document: Document | None = None) -> None:
        self.source = source
        self.text = text
        self._document = document

    def _line(self, path: Path) -> int | None:
        return locate(self.text, self._document, path) if self._document is not None else None

    def error(self, problems: Iterable[tuple[Path, str]]) -> InputError:
        """One error, on one line, for all of them."""
        found = list(problems)
        if len(found) == 1:
            ((path, message),) = found
            return InputError(message, source=self.source or None, path=path_text(path) or None, line=self._line(path))
        parts = []
        for path, message in found:
            line = self._line(path)
            where = ", ".join(part for part in (f"line {line}" if line is not None else "", path_text(path)) if part)
            parts.append(f"{where}: {message}" if where else message)
        return InputError("; ".join(parts), source=self.source or None)
