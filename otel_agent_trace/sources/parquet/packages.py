"""Import the packages of the extra ``parquet`` when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from otel_agent_trace.extras import needed_by


def pyarrow() -> Any:
    """Return the module `pyarrow`, with `pyarrow.parquet` and `pyarrow.compute` imported.

    Raises:
        ConfigurationError: it is not installed.
    """
    for name in ("parquet", "compute"):
        _module(f"pyarrow.{name}")
    return _module("pyarrow")


def duckdb() -> Any:
    """Return the module `duckdb`.

    Raises:
        ConfigurationError: it is not installed.
    """
    return _module("duckdb")


def _module(name: str) -> Any:
    with needed_by("this", "parquet"):
        return importlib.import_module(name)
