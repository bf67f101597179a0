"""Plugins by name: the built-in ones, those handed over, and those that installed packages offer.

A package offers a plugin with an entry point of its name in the group `volsched.plugins`:

    [project.entry-points."volsched.plugins"]
    DataGravity = "my_package.gravity:DataGravity"

What it names is called with (args, handle): the plugin's `args` from the configuration as a mapping, and the framework's side of the
plugin (`volsched.scheduler.framework.Handle`). It answers the plugin object. A class whose constructor takes these two is the usual case.
Only entry points that a configuration asks for are loaded.

Source for the idea: pkg/scheduler/framework/runtime/registry.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final

from volsched.errors import EngineError, InputError
from volsched.scheduler.configuration.points import GATED, IMPLEMENTS
from volsched.scheduler.framework import Handle

GROUP: Final = "volsched.plugins"


class Registry:
    """`given`: plugin objects, or classes that are called with (args, handle) when they are needed. All have a `name`.

    Raises EngineError when a name is missing, taken twice or that of a built-in plugin.
    """

    def __init__(self, given: Sequence[Any] = ()) -> None:
        self._given: dict[str, Any] = {}
        for item in given:
            name = getattr(item, "name", None)
            if not isinstance(name, str) or not name:
                raise EngineError(f"{item!r} is no plugin: it has no name")
            if name in IMPLEMENTS or name in GATED:
                raise EngineError(f"an own plugin cannot be named {name}: a built-in plugin has that name")
            if name in self._given:
                raise EngineError(f"two own plugins are named {name}")
            self._given[name] = item

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the plugins handed over."""
        return tuple(self._given)

    @staticmethod
    def _offered() -> dict[str, metadata.EntryPoint]:
        return {point.name: point for point in metadata.entry_points(group=GROUP)}

    def build(self, name: str, args: Mapping[str, Any], handle: Handle) -> Any:
        """A plugin that is not built in. Raises InputError when nobody has it or it cannot be made."""
        maker: Any
        if name in self._given:
            maker = self._given[name]
            if not isinstance(maker, type):
                if args:
                    raise InputError(f"plugin {name} was handed over ready made and takes no args; hand over its class instead")
                return maker
        else:
            offered = self._offered()
            point = offered.get(name)
            if point is None:
                raise InputError(self._unknown(name, sorted(offered)))
            try:
                maker = point.load()
            except (ImportError, AttributeError) as problem:
                raise InputError(f"plugin {name}: entry point {point.value} of the group {GROUP} cannot be loaded: {problem}") from problem
        try:
            plugin = maker(args, handle)
        except (TypeError, ValueError, KeyError) as problem:
            raise InputError(f"initializing plugin {name}: {type(problem).__name__}: {problem}") from problem
        if getattr(plugin, "name", None) != name:
            raise InputError(f"initializing plugin {name}: it calls itself {getattr(plugin, 'name', None)!r}")
        return plugin

    def _unknown(self, name: str, offered: Sequence[str]) -> str:
        if name in GATED:
            return f"plugin {name} is behind the feature gate {GATED[name]}, which is off by default and not supported"
        known = ", ".join([*self._given, *offered]) or "none"
        return (
            f'no plugin "{name}": it is neither built in, nor handed over, nor an entry point of the group {GROUP} '
            f"of an installed package (own plugins known: {known})"
        )
