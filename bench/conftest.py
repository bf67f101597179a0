"""`--scale`, the arguments `size` and `twin_size` of benchmarks out of their module's SIZES, and how busy the machine was before a run."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bench.sizes import SCALES

LOAD = pytest.StashKey[list[float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", choices=SCALES, default="full", help="sizes of the benchmarks (bench/sizes.py); default: full")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LOAD] = [round(value, 2) for value in os.getloadavg()]


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Processes that wanted a processor before the run: means over 1, 5 and 15 minutes."""
    machine_info["load"] = config.stash[LOAD]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    scale = metafunc.config.getoption("--scale")
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", metafunc.module.SIZES.at(scale), ids=str)
    if "twin_size" in metafunc.fixturenames:
        metafunc.parametrize("twin_size", [metafunc.module.SIZES.twin_at(scale)], ids=str)
