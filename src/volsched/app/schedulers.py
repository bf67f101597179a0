"""The scheduler as it is configured: from a file, from the state file that remembers one, or upstream's default."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from volsched.app.extenders import make_extenders
from volsched.engine.decision import SchedulingEngine
from volsched.ports import Clock
from volsched.scheduler import Prefer, Scheduler, default_profile
from volsched.scheduler.configuration import Configuration, load_configuration, read_configuration
from volsched.scheduler.configuration.profiles import profiles_of
from volsched.scheduler.configuration.registry import Registry
from volsched.store import Store

_ROOM: Final = "scheduler-configuration"
_CAPACITY: Final = "capacity-mode"
_EXACT: Final = "exact"


def configured(config: Configuration | Path | None, store: Store) -> Configuration | None:
    """The configuration given, else the one the store remembers, else None. Raises InputError."""
    if isinstance(config, Configuration):
        return config
    if config is not None:
        return load_configuration(config, warn=warnings.warn)
    for source, text in store.values(_ROOM).items():
        return read_configuration(text.decode(), source=source, warn=warnings.warn)
    return None


def remember_configuration(store: Store, configuration: Configuration) -> None:
    """Keep the text of a configuration with the cluster; one that was never a text is not kept."""
    origin = configuration.origin
    if not origin.text:
        return
    for source in store.values(_ROOM):
        store.put_value(_ROOM, source, None)
    store.put_value(_ROOM, origin.source or "configuration", origin.text.encode())


def counts_exactly(exact_capacity: bool | None, store: Store) -> bool:
    """Whether capacity is counted exactly: as given, else as the store remembers."""
    return store.value(_CAPACITY, _EXACT) is not None if exact_capacity is None else exact_capacity


def remember_exact_capacity(store: Store, *, exact_capacity: bool) -> None:
    """Keep with the cluster how its capacity is counted."""
    store.put_value(_CAPACITY, _EXACT, b"true" if exact_capacity else None)


def make_scheduler(
    clock: Clock,
    engine: SchedulingEngine,
    configuration: Configuration | None,
    *,
    plugins: Sequence[Any] = (),
    prefer: Prefer | None = None,
    exact_capacity: bool = False,
) -> Scheduler:
    """Raises InputError when the configuration asks for what is not there."""
    registry = Registry(plugins)
    if configuration is None:
        profiles = [partial(_with_plugins, registry=registry)]
        return Scheduler(clock, engine, prefer=prefer, profiles=profiles, exact_capacity=exact_capacity)
    return Scheduler(
        clock,
        engine,
        prefer=prefer,
        profiles=profiles_of(configuration, registry),
        extenders=make_extenders(configuration.extenders),
        initial_backoff_s=configuration.initial_backoff_s,
        max_backoff_s=configuration.max_backoff_s,
        exact_capacity=exact_capacity,
    )


def _with_plugins(handle: Any, *, registry: Registry) -> Any:
    """The default profile, and the plugins given at every point they have a method for."""
    return default_profile(handle, plugins=[registry.build(name, {}, handle) for name in registry.given])
