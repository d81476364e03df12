"""Apply policies to the log records of a logger provider of the program, before its own processors receive them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.keywords import shown
from otel_agent_trace.pipeline import DROPPED_BY_A_POLICY, Gate, Policies, Policy
from otel_agent_trace.pipeline.readable import resource_of, scope_of
from otel_agent_trace.span import LogRecord


class _Records:
    """Rewrite the records of one provider; the policies of the latest call of `configure` apply."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self.policies: Policies | None = None
        self._diagnostics = diagnostics
        self._reader = SdkReader()

    def rewrite(self, data: Any) -> None:
        """Change a record of the SDK in place as the policies require; without content if one drops it, or fails."""
        policies, log = self.policies, data.log_record
        if policies is None:
            return
        record = guarded(self._diagnostics, "log record", self._record_of, data)
        admitted = None if record is None else policies.of_record(record)
        if record is None or admitted is None:
            self._diagnostics.count(DROPPED_BY_A_POLICY)
            log.body, log.attributes = None, {}
        elif admitted is record:
            return
        else:
            log.body, log.attributes = admitted.body, dict(admitted.attributes)
            log.event_name = admitted.name or None
            if admitted.resource is not record.resource:
                data.resource = resource_of(admitted)
            if admitted.scope is not record.scope:
                data.instrumentation_scope = scope_of(admitted)
        if getattr(log, "exception", None) is not None:
            log.exception = None  # its texts are in attributes

    def _record_of(self, data: Any) -> LogRecord:
        log = data.log_record
        return LogRecord(
            f"{log.trace_id or 0:032x}",
            f"{log.span_id or 0:016x}",
            log.event_name or "",
            log.timestamp or 0,
            dict(log.attributes or {}),
            log.body,
            resource=self._reader.resource(data),
            scope=self._reader.scope(data),
        )


def apply_policies(provider: Any, policies: Iterable[Policy | Gate]) -> None:
    """Apply policies to every record that passes a logger provider, in place of those of an earlier call.

    Processors that are added later receive changed records too: the provider passes records to all of them through one
    object, for which the SDK has no public name.

    Raises:
        ConfigurationError: it is no logger provider of the SDK.
    """
    entrance = getattr(provider, "_multi_log_record_processor", None)
    if entrance is None or not callable(getattr(entrance, "on_emit", None)):
        msg = f"logger_provider={shown(provider)} must be a LoggerProvider of the SDK"
        raise ConfigurationError(msg)
    records: _Records | None = getattr(entrance.on_emit, "_agent_trace_records", None)
    diagnostics = Diagnostics()
    if records is None:
        records = _Records(diagnostics)
        entrance.on_emit = _rewriting(entrance.on_emit, records)
    records.policies = Policies((policy for policy in policies if not isinstance(policy, Gate)), diagnostics)


def _rewriting(on_emit: Callable[..., None], records: _Records) -> Callable[..., None]:
    @functools.wraps(on_emit)
    def rewriting(log_record: Any, *args: Any, **keywords: Any) -> None:
        records.rewrite(log_record)
        on_emit(log_record, *args, **keywords)

    vars(rewriting)["_agent_trace_records"] = records
    return rewriting
