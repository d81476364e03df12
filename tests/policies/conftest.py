"""Loggers as they were before each test."""

from __future__ import annotations

import logging

import pytest

from otel_agent_trace.tracing import logs


@pytest.fixture(autouse=True)
def loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop to watch the loggers of this process after each test."""
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    monkeypatch.setattr(logs._WATCHED, "lowest", None)
