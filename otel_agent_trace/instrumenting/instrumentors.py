"""Activate the instrumentations that are installed, as `opentelemetry-instrument` does."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.instrumenting.packages import names_of
from otel_agent_trace.signals import is_of_signal_handler

_GROUP = "opentelemetry_instrumentor"
_DISABLED_VARIABLE = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


class Instrumentors:
    """Activate instrumentations.

    Args:
        tracer_provider: provides their tracers.
        adopt: called with the provider that the program gives to one.
    """

    def __init__(self, tracer_provider: Any, adopt: Callable[[Any], None]) -> None:
        self._tracer_provider, self._adopt = tracer_provider, adopt
        self._diagnostics = Diagnostics()
        self._activated: set[type] = set()
        self.active: list[str] = []
        """Names of those that are active."""
        self.names: set[str] = set()
        """Plain names of these, in all spellings."""
        self.failed: dict[str, str] = {}
        """Reason for each that failed."""

    def activate(self) -> None:
        """Activate all that are installed, but for those that ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` names.

        One that fails, or whose module is not installed, costs nobody anything.
        """
        for entry in _installed():
            try:
                self._activate(entry)
            except BaseException as error:  # code of others, before the program
                if is_of_signal_handler(error):
                    raise
                found = getattr(getattr(error, "conflict", None), "found", "")
                if found is not None:  # else there is nothing to instrument
                    self.failed[entry.name] = f"{type(error).__name__}: {error}"
            else:
                self.active.append(entry.name)
                self.names |= names_of(entry)
        self._give_way()

    def _activate(self, entry: metadata.EntryPoint) -> None:
        instrumentor = entry.load()()
        keywords = {"tracer_provider": self._tracer_provider, "raise_exception_on_conflict": True}
        instrumentor.instrument(**_accepted(instrumentor.instrument, keywords))
        self._activated.add(type(instrumentor))

    def _give_way(self) -> None:
        """Let the program activate an instrumentation itself, with its own options, instead of being refused."""
        try:
            module: Any = importlib.import_module("opentelemetry.instrumentation.instrumentor")
        except ImportError:  # there are no instrumentations
            return
        instrument = module.BaseInstrumentor.instrument

        @functools.wraps(instrument)
        def of_program(instrumentor: Any, **keywords: Any) -> Any:
            if type(instrumentor) in self._activated:
                self._activated.discard(type(instrumentor))
                guarded(self._diagnostics, "uninstrument", instrumentor.uninstrument)
            if keywords.get("tracer_provider") is not None:
                self._adopt(keywords["tracer_provider"])
            return instrument(instrumentor, **keywords)

        module.BaseInstrumentor.instrument = of_program


def _installed() -> Iterator[metadata.EntryPoint]:
    disabled = {name.strip() for name in os.environ.get(_DISABLED_VARIABLE, "").split(",")}
    if "*" in disabled:
        return
    entries = {entry.value: entry for entry in metadata.entry_points(group=_GROUP)}
    yield from sorted((entry for entry in entries.values() if entry.name not in disabled), key=lambda each: each.name)


def _accepted(call: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return those of the keywords that a function takes."""
    parameters = inspect.signature(call).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return {name: value for name, value in keywords.items() if takes_all or name in parameters}
