"""Hold what the runs and steps of one tracer share: destination, limits, rules, counts, and open runs by id."""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED

from otel_agent_trace import semconv
from otel_agent_trace.copies import Shared, missing_in, packed, present
from otel_agent_trace.errors import UnknownRunError
from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded, warn
from otel_agent_trace.pipeline import DataPolicies, Gate, Policy
from otel_agent_trace.policies.user_ids import UserIdPolicy
from otel_agent_trace.tracing.coercion import text_of
from otel_agent_trace.tracing.control_flow import ControlFlow, Signals
from otel_agent_trace.tracing.decorated import Decorated
from otel_agent_trace.tracing.exporters import is_chosen
from otel_agent_trace.tracing.failures import ErrorRule
from otel_agent_trace.tracing.interception import INSTALLED, Interceptor, diverting
from otel_agent_trace.tracing.meters import Meters, meters_of
from otel_agent_trace.tracing.provider_registry import (
    SETTINGS,
    HistoryMode,
    records_nothing,
    settings_of,
    user_policy_of,
)
from otel_agent_trace.tracing.record_all import samples_all
from otel_agent_trace.tracing.sdk_spans import TracerSpans, spans_of
from otel_agent_trace.tracing.write_policies import WritePolicies
from otel_agent_trace.values import Limits
from otel_agent_trace.version import __version__

_OUR_ATTRIBUTES = 40
"""Upper bound of the attributes that a run or a step has besides the caller's own."""
_KEPT_ENDS = 65_536
"""Number of the latest ended runs whose ids are kept, to distinguish a second end from an unknown id."""
_KEPT_WITH_STEPS, _MOST_KEPT_STEPS = 128, 1_000
"""Number of the latest ended runs whose steps are known by their ids, and of the latest steps of each."""
_DIVERTED = -1
_SPAN_ID_BITS = 64
_SPAN_ID_MASK = (1 << _SPAN_ID_BITS) - 1
_MANY_OPEN = 10_000
_SCOPE_ATTRIBUTES = {semconv.FORMAT: semconv.FORMAT_NUMBER}


NOT_RECORDED = (0, 0)
"""Ids of a span that is not recorded."""


def ids_of(span: trace.Span) -> tuple[int, int]:
    """Return the ids of the trace and the span, `NOT_RECORDED` for a span that is not sampled."""
    context = span.get_span_context()
    return (context.trace_id, context.span_id) if context.trace_flags.sampled else NOT_RECORDED


class Destination(NamedTuple):
    """Describe where a span goes, which does not change while it is open."""

    provider: trace.TracerProvider | None = None
    changes: int = 0
    """Value of `SETTINGS.changes` when it was looked up."""
    spans: TracerSpans = TracerSpans(trace.NoOpTracer())
    """Object that starts and writes the spans."""
    write_policies: WritePolicies | None = None
    """Policies to apply before writing to a span, if its spans do not all pass our pipeline."""
    meters: Meters | None = None
    """Instruments for runs and steps, if there is a meter provider."""
    sampler_may_drop: bool = True
    """True if the provider has a sampler that may drop attributes of the start."""
    sdk_cuts_texts: bool = False
    """True if the provider's limits cut texts."""
    most_extras: int = sys.maxsize
    """Number of attributes of the caller's own within the provider's limit; the SDK logs each one more."""
    diverted_by: Interceptor | None = None
    """Interceptor that diverts spans there."""

    def is_shared_with(self, other: Destination) -> bool:
        """Return whether spans of both are kept together."""
        is_one = self.diverted_by is not None and self.diverted_by is other.diverted_by
        return is_one or self.provider is other.provider


_PROCESS = Diagnostics()
"""Warnings that a process logs once, whatever the number of its tracers."""

_STATES: weakref.WeakValueDictionary[int, TracerState] = weakref.WeakValueDictionary()

NOWHERE = Destination()
"""Destination of a span that has not started."""


class Origin(NamedTuple):
    """Hold what a tracer was made from, from which its copies in other processes are made."""

    backends: tuple[Any, ...] | None = None
    """Backends of a provider of its own; None without one."""
    has_provider: bool = False
    """True if the program gave a provider."""
    data: DataPolicies = DataPolicies()
    policies: tuple[Policy | Gate, ...] = ()
    error_rules: tuple[ErrorRule, ...] = ()
    control_flow: tuple[Any, ...] = ()

    def with_all(self, change: Callable[[Iterable[Any]], Iterable[Any]]) -> Origin:
        """Return this with all objects of the program changed by a function, a tuple at a time."""
        return self._replace(
            backends=None if self.backends is None else tuple(change(self.backends)),
            data=self.data.with_all(lambda thing: next(iter(change([thing])), None)),
            policies=tuple(change(self.policies)),
            error_rules=tuple(change(self.error_rules)),
            control_flow=tuple(change(self.control_flow)),
        )

    def missing(self) -> list[str]:
        """Return the names of the classes of what could not be pickled, or not be unpickled."""
        return missing_in((*(self.backends or ()), *self.data, *self.policies, *self.error_rules, *self.control_flow))


class TracerState(Shared):
    """Hold the state of one tracer.

    Without a provider, OpenTelemetry's global one is used, and looked up whenever a run starts.
    """

    def __init__(
        self,
        provider: trace.TracerProvider | None,
        *,
        data: DataPolicies = DataPolicies(),  # noqa: B008 - immutable
        limits: Limits = Limits(),  # noqa: B008 - immutable
        error_rules: Iterable[ErrorRule] = (),
        control_flow: ControlFlow | Iterable[ControlFlow] = (),
        meter_provider: MeterProvider | None = None,
        policies: Iterable[Policy | Gate] = (),
        history: HistoryMode | None = None,
        origin: Origin = Origin(),  # noqa: B008 - immutable
    ) -> None:
        self.origin = origin
        self.provider = provider
        self._history = history
        self.limits = limits
        self.diagnostics = Diagnostics()
        self.error_rules = tuple(functools.partial(_guarded_rule, self.diagnostics, rule) for rule in error_rules)
        self.signals = Signals(self.diagnostics, control_flow)
        self._data = data
        self.content_mode = data.content
        """Content that the tracer was asked to record, None for what its provider records."""
        self._policies = tuple(policies)
        self._meter_provider = meter_provider
        self.decorated = Decorated()
        self.closed = False
        """True after the tracer has closed its own provider."""
        self._destination: Destination | None = None
        self._open: dict[str, Any] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._steps_of_ended: OrderedDict[str, Mapping[int | str, trace.SpanContext]] = OrderedDict()
        self._lock = ForkSafeLock()
        self.generation = 0
        """Number of forks between the process that made the tracer and this one."""
        renewed_in_children(self)
        _STATES[id(self)] = self
        self._share()
        if provider is not None:  # at once: get_tracer takes a lock, on which a signal handler would deadlock later
            guarded(self.diagnostics, "provider", self._destination_at, provider)
            if _is_lost_in(provider):
                self._destination = None  # to look again at the first run, as processors may be added until then

    # ── copies ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _copy_settings(self) -> dict[str, Any]:
        origin, provider = self._origin_elsewhere(), self.provider
        return {
            "origin": origin.with_all(functools.partial(map, packed)),
            "limits": self.limits,
            "history": self.history if origin.has_provider else self._history,
            "meters": self._meter_provider is not None,
            "is_off": isinstance(provider, trace.NoOpTracerProvider),
        }

    def _origin_elsewhere(self) -> Origin:
        """Return what copies are made from: what a provider of the program brings stays behind, but for its policies."""
        origin, provider = self.origin, self.provider
        if not origin.has_provider or provider is None:
            return origin
        policies = [policy for policy in settings_of(provider).policies if not isinstance(policy, Gate)]
        return origin._replace(
            has_provider=provider is not trace.get_tracer_provider(),
            data=self._data.over(settings_of(provider).data)._replace(user_ids=self.user_policy()),
            policies=(*policies, *origin.policies),
        )

    def _copy_from(self, settings: dict[str, Any]) -> None:
        """Make the state anew, in another process.

        What could not be pickled is missing, and there is no provider of the program but the global one. Without its
        policies, which may be there to keep secrets in the process, nothing is recorded.
        """
        from otel_agent_trace.tracing.providers import private_provider  # noqa: PLC0415 - a circle: it imports this

        given: Origin = settings["origin"]
        origin = given.with_all(present)
        if missing_in((*given.data, *given.policies)):
            origin = origin._replace(backends=(), policies=())
        provider: trace.TracerProvider | None = None
        if origin.backends is not None:
            provider = private_provider(origin.backends, origin.data, origin.policies)
        elif settings["is_off"]:
            provider = trace.NoOpTracerProvider()
        _warn_of_missing(given, settings)
        TracerState.__init__(
            self,
            provider,
            data=origin.data if origin.backends is None else DataPolicies(),
            limits=settings["limits"],
            error_rules=origin.error_rules,
            control_flow=origin.control_flow,
            policies=origin.policies if origin.backends is None else (),
            history=settings["history"],
            origin=origin,
        )

    # ── where spans go ───────────────────────────────────────────────────────────────────────────────────────────────

    def renew(self) -> None:
        """Count the fork, in a forked child: spans that the parent process has started are its own to end."""
        self.generation += 1

    def current_provider(self) -> trace.TracerProvider:
        """Return the provider that receives spans now."""
        interceptor = diverting() if INSTALLED.interceptor is not None else None
        own = self.own_provider()
        return own if interceptor is None else interceptor.provider_for(own) or own

    def own_provider(self) -> trace.TracerProvider:
        """Return the provider that receives spans unless they are diverted."""
        return self.provider if self.provider is not None else trace.get_tracer_provider()

    def destination(self) -> Destination:
        """Return the destination of a span that starts now."""
        provider = (
            self.provider if INSTALLED.interceptor is None and self.provider is not None else self.current_provider()
        )
        known = self._destination
        if known is not None and known[0] is provider and known[1] == SETTINGS.changes:  # by place, which is faster
            return known
        if _is_lost_in(provider):
            self._warn_of_loss(provider)
        return self._destination_at(provider)

    def _warn_of_loss(self, provider: trace.TracerProvider) -> None:
        """Warn that what starts now is not recorded, unless the environment asks for that."""
        if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
            return
        if isinstance(provider, trace.ProxyTracerProvider):
            _PROCESS.warn_once(
                "no provider",
                "no TracerProvider is configured, so runs are not recorded; call configure(..., set_global=True)",
            )
        elif self._meter_provider is None and not is_chosen(os.environ):
            _PROCESS.warn_once(
                "nowhere to send",
                "configure() was given nowhere to send spans, so runs are not recorded; pass file=, otlp= or backends=, "
                "or set OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER",
            )

    def _destination_at(self, provider: trace.TracerProvider) -> Destination:
        changes = SETTINGS.changes
        limits = getattr(provider, "_span_limits", None)
        most = getattr(limits, "max_span_attributes", None)
        diverted_by = None if provider is self.own_provider() else diverting()
        self._destination = destination = Destination(
            provider,
            changes,
            spans_of(_tracer_of(provider)),
            self._write_policies_for(provider, diverted_by),
            None
            if diverted_by is not None
            else guarded(self.diagnostics, "meter provider", self._meters_for, provider),
            not samples_all(getattr(provider, "sampler", None)),
            getattr(limits, "max_span_attribute_length", None) is not None,
            sys.maxsize if most is None else max(most - _OUR_ATTRIBUTES, 0),
            diverted_by,
        )
        return destination

    def _meters_for(self, provider: trace.TracerProvider) -> Meters | None:
        given = self._meter_provider if self._meter_provider is not None else settings_of(provider).meter_provider
        if given is None:
            return None
        meters = meters_of(given)
        meters.losses.watch(self)
        return meters

    def _write_policies_for(
        self, provider: trace.TracerProvider, diverted_by: Interceptor | None
    ) -> WritePolicies | None:
        """Return the policies to apply before writing to spans; None if all of them come later, in the pipeline.

        If spans are diverted, the policies of the tracer's own provider apply.
        """
        own = self.own_provider()
        settings = settings_of(own)
        behind_them = settings.is_ours and (provider is own or diverted_by is not None)
        if not behind_them:
            data = self._data.over(settings.data)._replace(user_ids=self.user_policy())
            return WritePolicies(data.in_order((*settings.policies, *self._policies)), self.diagnostics)
        redactor = self._data.redactor if self._data.redact else None
        if redactor is not None and redactor is settings.data.redactor:
            redactor = None
        if not self._policies and self._data.mask is None and redactor is None:
            return None
        data = DataPolicies(self.user_policy(), "all", self._data.mask, redactor or False)
        return WritePolicies(data.in_order(self._policies), self.diagnostics)

    def recorded_user(self, user_id: object) -> str | None:
        """Return a user id as it is recorded, None if it is not."""
        if user_id is None:
            return None
        return guarded(self.diagnostics, "user id", self._recorded_user, user_id)

    def _recorded_user(self, user_id: object) -> str | None:
        return self.user_policy().recorded(user_id)

    def user_policy(self) -> UserIdPolicy:
        """Return the policy for user ids: that of the tracer, else that of the provider."""
        return self._data.user_ids or user_policy_of(self.own_provider())

    @property
    def history(self) -> HistoryMode:
        """Return the mode of recording messages: that of the tracer, else that of the provider."""
        return self._history or settings_of(self.own_provider()).history

    # ── runs by id ───────────────────────────────────────────────────────────────────────────────────────────────────

    def remember(self, run: Any) -> None:
        """Add a run that has started to the open runs."""
        with self._lock:
            other = self._open.get(run.run_id, run)
            self._open[run.run_id] = run
            self._ended.pop(run.run_id, None)
            many = len(self._open) > _MANY_OPEN
        if many:
            self.diagnostics.warn_once(
                "many open", "more than %d runs are open at once; each is held until it ends", _MANY_OPEN
            )
        if self.closed:
            self.diagnostics.count("after close")
            self.diagnostics.warn_once("closed", "a run was started after the tracer was closed; it may be lost")
        if other is not run:
            self.diagnostics.count("run id twice")
            self.diagnostics.warn_once(
                "run id twice", "a run was started under the id of one that is open: %s", run.run_id
            )

    def open_run(self, parent: Any) -> Any:
        """Return the open run with an id; anything that is not such an id is returned as it is."""
        return self._open.get(parent, parent) if type(parent) is str else parent

    def open_runs(self) -> int:
        """Return the number of open runs."""
        return len(self._open)

    def own_open_runs(self) -> list[Any]:
        """Return the open runs that this process has started."""
        return [run for run in list(self._open.values()) if run.counts]

    def forget(self, run: Any) -> None:
        """Move a run from the open to the ended runs."""
        with self._lock:
            if self._open.get(run.run_id, self) is run:
                trace_id, span_id = ids_of(run.span)
                self._ended[run.run_id] = (
                    trace_id << _SPAN_ID_BITS | span_id
                )  # first: `find` takes no lock, and must find it in one of the two
                del self._open[run.run_id]
                if len(self._ended) > _KEPT_ENDS:
                    self._ended.popitem(last=False)

    def _remember_ended(self, run: Any) -> None:
        trace_id, span_id = ids_of(run.span)
        is_diverted = run.destination.diverted_by is not None
        self._ended[run.run_id] = _DIVERTED if is_diverted else trace_id << _SPAN_ID_BITS | span_id
        self._steps_of_ended[run.run_id] = run.step_contexts(_MOST_KEPT_STEPS)
        if len(self._steps_of_ended) > _KEPT_WITH_STEPS:
            self._steps_of_ended.popitem(last=False)

    def ids_of_ended(self, run_id: str) -> tuple[int, int] | None:
        """Return the ids of the span of a run that has ended, `NOT_RECORDED` if it is not kept; None if they are not known.

        Those of a run whose spans were diverted are not: what diverted them can be read, as long as it does.
        """
        ids = self._ended.get(run_id, _DIVERTED)
        return None if ids == _DIVERTED else (ids >> _SPAN_ID_BITS, ids & _SPAN_ID_MASK)

    def step_context(self, run_id: str, step_id: int | str) -> trace.SpanContext | None:
        """Return the span context of a step of a run that is open, or one of the latest that ended; None if it is not kept."""
        run = self._open.get(run_id)
        known: trace.SpanContext | None
        known = self._steps_of_ended.get(run_id, {}).get(step_id) if run is None else run.context_of(step_id)
        return known

    def has_started(self, run_id: str) -> bool:
        """Return whether a run was started by this tracer, among the open ones and the latest that ended, and not diverted."""
        return run_id in self._open or self._ended.get(run_id, _DIVERTED) != _DIVERTED

    def open_ids(self) -> list[str]:
        """Return the ids of the open runs."""
        return list(self._open)

    def find(self, given: object) -> Any:
        """Return the open run with an id, which is converted to a text; None if the run has ended.

        Raises:
            UnknownRunError: there has been no such run.
        """
        run_id = text_of(given)
        run = self._open.get(run_id)
        if run is None and run_id not in self._ended:
            raise UnknownRunError(run_id, list(self._open))
        return run


def open_runs() -> list[Any]:
    """Return the open runs of all tracers of this process."""
    states = (reference() for reference in _STATES.valuerefs())
    return [run for state in states if state is not None for run in state.own_open_runs()]


def _warn_of_missing(origin: Origin, settings: dict[str, Any]) -> None:
    """Log one warning about what the copy of a tracer lacks."""
    lost = origin.missing()
    is_elsewhere = origin.has_provider and not settings["is_off"]
    lost += ["its provider"] * is_elsewhere + ["its meter provider"] * settings["meters"]
    place = "the global provider" if is_elsewhere else "the rest"
    if lost:
        place = "nothing" if missing_in((*origin.data, *origin.policies)) else place
        warn("a tracer from another process is without %s; it records to %s", ", ".join(lost), place)


def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    """Return our tracer of a provider; without attributes of its scope if it is one from before OpenTelemetry 1.27."""
    try:
        return provider.get_tracer(semconv.SCOPE_NAME, __version__, attributes=_SCOPE_ATTRIBUTES)
    except TypeError:
        return provider.get_tracer(semconv.SCOPE_NAME, __version__)


def _is_lost_in(provider: trace.TracerProvider) -> bool:
    """Return whether spans are not recorded: there is no provider yet, or one of `configure` that records nothing."""
    return isinstance(provider, trace.ProxyTracerProvider) or records_nothing(provider)


def _guarded_rule(diagnostics: Diagnostics, rule: ErrorRule, error: BaseException | str) -> str | None:
    return guarded(diagnostics, "error rule", rule, error)
