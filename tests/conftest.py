"""What all tests share: how many examples property tests try, and an environment of their own."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.server_fixtures"]
for _name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE"):  # the trace of whoever runs the tests; read at the first import
    os.environ.pop(_name, None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell script; programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
_ANYWHERE = settings(deadline=None, suppress_health_check=_SLOW_IS_FINE)
# Whoever checks a change gets the same examples each time; "explore" looks for what nobody has seen.
settings.register_profile("fast", _ANYWHERE, max_examples=20, derandomize=True)
settings.register_profile("quick", _ANYWHERE, max_examples=15, derandomize=True)
# 210 of each test: more than 2,000 runs of agents in all.
settings.register_profile("ci", _ANYWHERE, max_examples=210, derandomize=True, database=None)
settings.register_profile("explore", _ANYWHERE, max_examples=2000, derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of OpenTelemetry but what a test makes, and a known key for user ids."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "test")
