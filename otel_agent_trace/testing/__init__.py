"""Provide `capture_runs` for tests, and kits that check a backend, a source or a dialect against its contract.

The kits raise `AssertionError` with what is wrong, and need no test runner.
"""

from otel_agent_trace.testing.backends import check_backend
from otel_agent_trace.testing.capture import capture_runs
from otel_agent_trace.testing.dialects import check_dialect
from otel_agent_trace.testing.sources import check_source

__all__ = ["capture_runs", "check_backend", "check_dialect", "check_source"]
