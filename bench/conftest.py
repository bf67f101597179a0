"""`--scale`, the arguments `size` and `twin_size` of benchmarks out of their module's SIZES, and how busy the machine was before a run."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bench.sizes import SCALES

LOAD = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", choices=SCALES, default="full", help="sizes of the benchmarks (bench/sizes.py); default: full")


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LOAD] = _load()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Processes that wanted a processor, in the minute before the run and in its last one, in which it is one of them."""
    machine_info["load"] = [config.stash[LOAD], _load()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    scale = metafunc.config.getoption("--scale")
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", metafunc.module.SIZES.at(scale), ids=str)
    if "twin_size" in metafunc.fixturenames:
        metafunc.parametrize("twin_size", [metafunc.module.SIZES.twin_at(scale)], ids=str)
