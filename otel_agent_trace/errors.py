"""Define the errors of the library.

::

    AgentTraceError
    ├── UnknownRunError      (LookupError)  the tracer was given a run id that it never returned
    ├── RunNotFoundError     (LookupError)  no run of a source has that id
    ├── AmbiguousRunError    (LookupError)  a short id fits several runs, or no id was given and there are several
    ├── ConfigurationError   (ValueError)   an argument, a filter or a setting with an invalid value
    ├── EndpointError                       a receiver of spans cannot be reached, or is none: names it and the reason
    └── SourceError                         a source cannot be read: names it, what it looks like, what to do
        └── BadRecordError                  one record of it cannot be read (strict reading)
"""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN_IDS = 10


class AgentTraceError(Exception):
    """Provide the base class of all errors that this library raises on purpose."""


class UnknownRunError(AgentTraceError, LookupError):
    """Indicate a run id that the tracer never returned; `open_ids` are those of the runs that are open."""

    def __init__(self, run_id: str, open_ids: Sequence[str]) -> None:
        self.run_id = run_id
        self.open_ids = tuple(open_ids)
        super().__init__(f"no run {run_id!r} was started by this tracer; open: {_first_few(self.open_ids)}")

    def __reduce__(self) -> tuple[type[UnknownRunError], tuple[str, tuple[str, ...]]]:
        return type(self), (self.run_id, self.open_ids)


class RunNotFoundError(AgentTraceError, LookupError):
    """Indicate that no run of the source has that id."""


class AmbiguousRunError(AgentTraceError, LookupError):
    """Indicate that more than one run fits."""


class ConfigurationError(AgentTraceError, ValueError):
    """Indicate an argument, a filter or a setting with an invalid value."""


class EndpointError(AgentTraceError):
    """Indicate a receiver of spans that cannot be reached, refuses everything, or is none."""


class SourceError(AgentTraceError):
    """Indicate a source that cannot be read."""


class BadRecordError(SourceError):
    """Indicate a record of a source that cannot be read.

    `path` is the file as it was given, `line` counts from 1 (0 where a record has no line), `reason` names the fault.
    """

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path, self.line, self.reason = path, line, reason
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")

    def __reduce__(self) -> tuple[type[BadRecordError], tuple[str, int, str]]:
        return type(self), (self.path, self.line, self.reason)


def _first_few(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:_SHOWN_IDS]) or "none"
    return shown if len(ids) <= _SHOWN_IDS else f"{shown} and {len(ids) - _SHOWN_IDS} more"
