"""What tests need that depend on programs of others: to skip or to fail, and to wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib import metadata
from typing import NoReturn, TypeVar

import pytest

STRICT = os.environ.get("OTEL_AGENT_TRACE_TEST_STRICT") == "1"  # read before any test clears the environment
PATIENCE_S = 60.0
_POLL_S = 0.005

Answer = TypeVar("Answer")


def cannot_run(reason: str) -> NoReturn:
    """Skip, or fail where all tests must run."""
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


def need_package(name: str, group: str) -> None:
    """A package that not everybody who runs the tests has, of a dependency group."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        cannot_run(f"{name} is not installed: pip install --group {group}")


def wait_until(
    ready: Callable[[], Answer], what: str, patience_s: float = PATIENCE_S, details: Callable[[], str] = str
) -> Answer:
    """Ask again and again until it is so, and give the answer; else fail, with the details of that moment."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {patience_s} s\n{details()}".rstrip())
        time.sleep(_POLL_S)
