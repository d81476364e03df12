"""What all tests share: how many examples property tests try, and an environment of their own."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.otlp_receivers import free_ports
from tests.support.processes import RunPython, environment, run_code
from tests.support.sample_runs import Problems

pytest_plugins = ["pytester", "tests.support.server_fixtures", "tests.support.skip_summary"]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell script; programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_MANY_TESTS = 1000
_SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
_ANYWHERE = settings(deadline=None, suppress_health_check=_SLOW_IS_FINE)
# Whoever checks a change gets the same examples each time; "explore" looks for what nobody has seen.
settings.register_profile("fast", _ANYWHERE, max_examples=20, derandomize=True)
settings.register_profile("quick", _ANYWHERE, max_examples=5, derandomize=True)
# Fewer than by default, as CI has little time.
settings.register_profile("ci", _ANYWHERE, max_examples=8, derandomize=True, database=None)
settings.register_profile("explore", _ANYWHERE, max_examples=2000, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was collected out of each garbage collection: among 20,000 tests, many took twice as long with it."""
    if len(session.items) > _MANY_TESTS:
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that run pytest in processes of its own as slow."""
    for item in items:
        if "pytester" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of OpenTelemetry but what a test makes, and a known key for user ids."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "test")


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens now."""
    [port] = free_ports(1)
    return port


@pytest.fixture
def problems() -> Problems:
    """Nothing reported so far."""
    return Problems()


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Run a program in a process of its own, in an empty folder, with changes to the environment.

    Python 3.12 and later warn of a fork beside other threads; one of the pool in which the SDK detects its resource may
    still be about to end then.
    """
    warnings = "default,ignore:This process (pid=:DeprecationWarning"

    def call(code: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        return run_code(code, tmp_path, env=environment(**{"PYTHONWARNINGS": warnings, **changes}))

    return call
