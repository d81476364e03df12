"""`ExportingSink`: what a sink needs to be a span exporter under the SDK's own processors as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import Gate, Pipeline, Policy, SpanSink, checked_policies
from otel_agent_trace.policies.user_ids import UserIdPolicy, UserIds


class ExportingSink(SpanSink, SpanExporter):
    """A sink that is a `SpanExporter`, too: what the SDK's own processors hand to it passes a pipeline of its own.

    Args:
        user_ids: what happens to plain user ids that come through the SDK's own processors.
        policies: what else is done to what comes through them.

    Raises:
        ConfigurationError: there is no such mode, or something is no policy.
    """

    is_suppressed = False  # it makes no spans

    def __init__(self, user_ids: UserIds = "pseudonym", policies: Iterable[Policy | Gate] = ()) -> None:
        self.policies = checked_policies(policies)
        """Those for what comes through the SDK's own processors."""
        self._user_ids = UserIdPolicy(user_ids)
        self._diagnostics = Diagnostics()
        self._pipeline: Pipeline | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans from the SDK's own processors, after the policies."""
        return SpanExportResult.SUCCESS if self._own_pipeline().on_batch(spans) else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush it, as the SDK calls that, within so many milliseconds."""
        return self._own_pipeline().flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Close it, as the SDK calls that."""
        self._own_pipeline().close()

    def _own_pipeline(self) -> Pipeline:
        """The pipeline for the SDK's own processors; not before one is there, since the two hold each other."""
        if self._pipeline is None:
            self._pipeline = Pipeline((self._user_ids, *self.policies), (self,), self._diagnostics)
        return self._pipeline
