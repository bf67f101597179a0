"""What holds for every test: Hypothesis judges answers, never how long a busy machine took to draw them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("volsched", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("volsched")
