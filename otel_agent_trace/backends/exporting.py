"""Provide the base class of sinks that are span exporters under the SDK's own processors as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.copies import Shared, class_here, missing_in, packed
from otel_agent_trace.guard import Diagnostics, warn
from otel_agent_trace.pipeline import Gate, Pipeline, Policy, SpanSink, checked_policies
from otel_agent_trace.policies.user_ids import UserIdPolicy, UserIds


class ExportingSink(SpanSink, SpanExporter, Shared):
    """Provide a sink that is a `SpanExporter` too: spans of the SDK's own processors pass policies of its own.

    A copy in this process is the sink itself; in another process, one is made with the same arguments.

    Args:
        user_ids: how user ids in spans of the SDK's own processors are recorded.
        policies: further policies for these spans.

    Raises:
        ConfigurationError: there is no such mode, or a policy is not valid.
    """

    is_suppressed = False  # it creates no spans itself
    releases_itself = True

    def __init__(self, user_ids: UserIds = "pseudonym", policies: Iterable[Policy | Gate] = ()) -> None:
        self.policies = checked_policies(policies)
        """Policies for spans of the SDK's own processors."""
        self.user_ids = UserIdPolicy(user_ids)
        """Policy for user ids in these spans."""
        self._diagnostics = Diagnostics()
        self._pipeline: Pipeline | None = None
        self._share()

    def _copy_settings(self) -> dict[str, Any]:
        """Return the keyword arguments by which another process makes its copy."""
        return {"user_ids": self.user_ids.mode, "policies": [packed(policy) for policy in self.policies]}

    def _copy_from(self, settings: dict[str, Any]) -> None:
        lost = missing_in(settings["policies"])
        if lost:  # they may be there to keep secrets in the process
            warn("a %s from another process is without its policies %s, and keeps nothing", type(self).__name__, lost)
            settings = {**settings, "policies": [_drop]}
        class_here(type(self)).__init__(self, **settings)  # type: ignore[misc]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Receive spans of the SDK's own processors; the SDK's method."""
        return SpanExportResult.SUCCESS if self._own_pipeline().on_batch(spans) else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush within so many milliseconds, and return whether that succeeded; the SDK's method."""
        return self._own_pipeline().flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Close; the SDK's method."""
        self._own_pipeline().close()

    def _own_pipeline(self) -> Pipeline:
        """Return the pipeline for the SDK's own processors; made on first use, as it and the sink refer to each other."""
        if self._pipeline is None:
            self._pipeline = Pipeline((self.user_ids, *self.policies), (self,), self._diagnostics)
        return self._pipeline


def _drop(record: object) -> None:
    """Drop every span and log record, in the place of policies that could not be pickled."""
