"""Kits for those who write backends, sources and dialects of their own: each runs a contract against an implementation.

They raise `AssertionError` with what is wrong, and need no test runner.
"""

from otel_agent_trace.testing.backends import check_backend
from otel_agent_trace.testing.dialects import check_dialect
from otel_agent_trace.testing.sources import check_source

__all__ = ["check_backend", "check_dialect", "check_source"]
