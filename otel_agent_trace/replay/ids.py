"""Give runs of a replay ids of their own where the program chose them: the recorded runs have these already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.span import LogRecord, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)
_RUN_IDS = (semconv.RUN_ID, semconv.RUN_PARENT_ID)


class OwnIds:
    """Rename runs in spans and log records; a policy.

    Args:
        renamed: the new ids by those that the program chose; runs are added while it is in use.
    """

    traces = False

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self._renamed = renamed

    def violates(self, span: Any) -> bool:
        """Return whether a span may have the id of a run that is renamed."""
        return bool(self._renamed)

    def __call__(self, record: R) -> R:
        """Return a span or log record with the new ids; the same one if nothing changes."""
        ids = {key: str(record.attributes.get(key)) for key in _RUN_IDS}
        renamed = {key: self._renamed[value] for key, value in ids.items() if value in self._renamed}
        return msgspec.structs.replace(record, attributes={**record.attributes, **renamed}) if renamed else record
