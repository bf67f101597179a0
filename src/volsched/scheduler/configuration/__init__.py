"""KubeSchedulerConfiguration files: what kube-scheduler is configured with, read as strictly and meaning the same.

    load_configuration(path) ──> Configuration ──profiles_of──> what Scheduler(profiles=…) takes

`types`: the file's form.  `reader`: text to settings.  `checks`: validation.  `points`: which plugin runs where.  `registry`: plugins by
name, the built-in ones and one's own.  `profiles`: settings and plugins to profiles.
"""

from __future__ import annotations

from volsched.scheduler.configuration.reader import (
    Configuration,
    ExtenderSettings,
    ProfileSettings,
    TlsSettings,
    load_configuration,
    read_configuration,
)

__all__ = [
    "Configuration",
    "ExtenderSettings",
    "ProfileSettings",
    "TlsSettings",
    "load_configuration",
    "read_configuration",
]
