"""Provide the base class of sinks that are span exporters under the SDK's own processors as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.copies import Shared, class_here, missing_in, packed
from otel_agent_trace.guard import Diagnostics, warn
from otel_agent_trace.pipeline import DataOptions, Gate, Pipeline, Policy, SpanSink, checked_policies, data_policies

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ExportingSink(SpanSink, SpanExporter, Shared):
    """Provide a sink that is a `SpanExporter` too: spans of the SDK's own processors pass policies of its own.

    A copy in this process is the sink itself; in another process, one is made with the same arguments.

    Args:
        policies: policies for spans of the SDK's own processors.
        data: what is done to the data of these spans: `user_ids`, `content`, `mask` and `redact`, as for `configure`.

    Raises:
        ConfigurationError: one of these arguments is not valid.
    """

    calls_program = False
    is_suppressed = False  # it creates no spans itself
    releases_itself = True

    def __init__(self, policies: Iterable[Policy | Gate] = (), **data: Unpack[DataOptions]) -> None:
        self.policies = checked_policies(policies)
        """Policies for spans of the SDK's own processors."""
        self.data = data_policies(**data)
        """Policies about the data of these spans."""
        self._diagnostics = Diagnostics()
        self._pipeline: Pipeline | None = None
        self._share()

    def _copy_settings(self) -> dict[str, Any]:
        """Return the keyword arguments by which another process makes its copy."""
        return {**self.data.with_all(packed).options(), "policies": [packed(policy) for policy in self.policies]}

    def _copy_from(self, settings: dict[str, Any]) -> None:
        lost = missing_in(settings[name] for name in ("mask", "redact")) + missing_in(settings["policies"])
        if lost:  # they may be there to keep secrets in the process
            warn("a %s from another process is without its policies %s, and keeps nothing", type(self).__name__, lost)
            settings = {**settings, "mask": None, "redact": None, "policies": [_drop]}
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
            self._pipeline = Pipeline(self.data.in_order(self.policies), (self,), self._diagnostics)
        return self._pipeline


def _drop(record: object) -> None:
    """Drop every span and log record, in the place of policies that could not be pickled."""
