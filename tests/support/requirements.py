"""What some tests need and not every machine has; without it they skip, or fail where all must run."""

from __future__ import annotations

import os
from importlib import metadata
from typing import NoReturn

import pytest

from otel_agent_trace.store import sharing

needs_locks = pytest.mark.skipif(not sharing.CAN_LOCK, reason="needs fcntl")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
START_METHODS = [
    pytest.param("fork", marks=needs_fork),
    "spawn",
    pytest.param("forkserver", marks=needs_fork),
]
"""Those of multiprocessing."""
STRICT = os.environ.get("OTEL_AGENT_TRACE_TEST_STRICT") == "1"  # read before any test clears the environment
OLDER = os.environ.get("OTEL_AGENT_TRACE_TEST_SERVERS") == "older"
"""Whether to talk to the Collector and the Jaeger of `tests/servers/older`."""


def cannot_run(reason: str) -> NoReturn:
    """Skip, or fail where all tests must run."""
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


def need_package(name: str, group: str) -> None:
    """Skip or fail without a package of a dependency group that not everybody installs."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        cannot_run(f"{name} is not installed: pip install --group {group}")
