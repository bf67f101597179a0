"""`--scale`, and the arguments `size` and `twin_size` of benchmarks, which come from their module's SIZES."""

from __future__ import annotations

import pytest

from bench.sizes import SCALES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", choices=SCALES, default="full", help="sizes of the benchmarks (bench/sizes.py); default: full")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    scale = metafunc.config.getoption("--scale")
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", metafunc.module.SIZES.at(scale), ids=str)
    if "twin_size" in metafunc.fixturenames:
        metafunc.parametrize("twin_size", [metafunc.module.SIZES.twin_at(scale)], ids=str)
