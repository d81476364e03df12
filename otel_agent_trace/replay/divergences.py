"""Define `ReplayDivergence`: where a replay differs from the recording."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from typing import Any

from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.keywords import shown


class ReplayDivergence(BaseException):
    """Indicate where the program differs from a recording that it is replayed with.

    It is no `Exception`, so that the agent does not handle it as a failure of its tool.

    Attributes:
        reason: what happened, in one line.
        kind: the kind of the call: ``tool``, ``model``, ``agent``, ...; empty where there was none.
        name: its name.
        step: the path of the recorded step that it concerns, as ``"3/1"``: step 1 of the sub-agent in step 3; empty if
            there is none.
        closest: the closest recorded call, in one line; empty if there is none.
        diff: the differences of the arguments to those of the closest call, as a unified diff; empty if there are none.
        expected: what was recorded next, in one line; empty if nothing was.
    """

    def __init__(
        self,
        reason: str,
        *,
        kind: str = "",
        name: str = "",
        step: str = "",
        closest: str = "",
        diff: str = "",
        expected: str = "",
    ) -> None:
        self.reason, self.kind, self.name, self.step = reason, kind, name, step
        self.closest, self.diff, self.expected = closest, diff, expected
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [self.reason]
        if self.closest:
            lines.append(f"closest recorded call: {self.closest}")
        if self.expected and self.expected != self.closest:
            lines.append(f"expected next: {self.expected}")
        return "\n".join([*lines, self.diff] if self.diff else lines)

    def facts(self) -> dict[str, str]:
        """Return what it is made of, for another process or a report."""
        names = ("reason", "kind", "name", "step", "closest", "diff", "expected")
        return {name: getattr(self, name) for name in names}

    def __reduce__(self) -> Any:
        return _divergence, (type(self), self.facts())


class ReplayDivergenceError(ReplayDivergence, AgentTraceError):
    """Indicate a divergence in a thread or process whose pool catches an `Exception` only, or with ``on_miss="error"``.

    `multiprocessing.pool.Pool` and `ThreadPool` wait for ever for a worker that another exception has ended.
    """


def _divergence(cls: type[ReplayDivergence], facts: dict[str, str]) -> ReplayDivergence:
    return cls(**facts)


def class_here() -> type[ReplayDivergence]:
    """Return the class to raise here: in the main thread of the program, one that no handler of errors catches."""
    processes = sys.modules.get("multiprocessing.process")
    is_child = processes is not None and multiprocessing.parent_process() is not None
    is_main = threading.current_thread() is threading.main_thread()
    return ReplayDivergence if is_main and not is_child else ReplayDivergenceError


class Raises:
    """Stand for an exception in a patch: the patched call raises it.

    Args:
        exception: the exception, or its class.

    Raises:
        TypeError: it is neither.
    """

    def __init__(self, exception: BaseException | type[BaseException]) -> None:
        if not isinstance(exception, BaseException) and not issubclass(type(exception), type):
            raise TypeError(f"Raises takes an exception or its class, got {shown(exception)}")
        self.exception = exception

    def __repr__(self) -> str:
        return f"Raises({self.exception!r})"
