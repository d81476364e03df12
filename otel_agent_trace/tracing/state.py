"""What the handles of one tracer share: where spans go, limits, rules, counts, and the runs by their ids."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_agent_trace import semconv
from otel_agent_trace.errors import UnknownRunError
from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline import Gate, Policy
from otel_agent_trace.policies.user_ids import UserIdPolicy, UserIds
from otel_agent_trace.tracing.coercion import text_of
from otel_agent_trace.tracing.failures import ErrorRule
from otel_agent_trace.tracing.interception import INSTALLED, diverted_provider
from otel_agent_trace.tracing.meters import Meters, meters_of
from otel_agent_trace.tracing.provider_registry import SETTINGS, HistoryMode, settings_of
from otel_agent_trace.tracing.sdk_spans import TracerSpans, spans_of
from otel_agent_trace.tracing.write_policies import WritePolicies
from otel_agent_trace.values import Limits
from otel_agent_trace.version import __version__

_OUR_ATTRIBUTES = 40
"""More than a run or a step says of itself."""
_REMEMBERED_ENDS = 65_536
"""Runs that ended are remembered by id, the last so many, to tell a second end from an unknown id."""
_MANY_OPEN = 10_000


class Destination(NamedTuple):
    """Where a span goes, which does not change while it is open."""

    provider: trace.TracerProvider | None = None
    changes: int = 0
    """How often settings of providers had been changed when it was looked up."""
    spans: TracerSpans = TracerSpans(trace.NoOpTracer())
    """What starts and writes them."""
    write_policies: WritePolicies | None = None
    """What is done to what spans say before they have it, where that is not only for backends of ours."""
    meters: Meters | None = None
    """What measures runs and steps, if a meter provider was given."""
    sampler_may_drop: bool = True
    """Whether the provider's sampler may forget to hand attributes on."""
    sdk_cuts_texts: bool = False
    """Whether the provider's limits cut texts."""
    most_extras: int = sys.maxsize
    """How many attributes of the caller's own a span takes beside ours, without the SDK's logging of each one more."""
    is_diverted: bool = False
    """Whether that is where somebody has sent it for the time being."""


NOWHERE = Destination()
"""Of a span that has not been started."""


class TracerState:
    """The shared part of one tracer.

    Without a provider it is OpenTelemetry's global one, looked up whenever a run starts.
    """

    def __init__(
        self,
        provider: trace.TracerProvider | None,
        *,
        user_ids: UserIds | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        error_rules: Iterable[ErrorRule] = (),
        meter_provider: MeterProvider | None = None,
        policies: Iterable[Policy | Gate] = (),
        history: HistoryMode | None = None,
    ) -> None:
        self.provider = provider
        self._history = history
        self.limits = limits
        self.diagnostics = Diagnostics()
        self.error_rules = tuple(functools.partial(_guarded_rule, self.diagnostics, rule) for rule in error_rules)
        self._user_ids = None if user_ids is None else UserIdPolicy(user_ids)
        self._policies = tuple(policies)
        self._meter_provider = meter_provider
        self.closed = False
        """Whether the tracer has closed its own provider."""
        self._destination: Destination | None = None
        self._open: dict[str, Any] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lock = ForkSafeLock()
        self.generation = 0
        """How many forks lie between this process and the one that made the tracer."""
        renewed_in_children(self)
        if provider is not None:  # now: the first look holds a lock, which a signal handler would wait for in vain
            guarded(self.diagnostics, "provider", self._destination_at, provider)

    def renew(self) -> None:
        """Know that this is a forked child, which leaves to its parent what the parent has started."""
        self.generation += 1

    def current_provider(self) -> trace.TracerProvider:
        """Return the provider that takes spans now."""
        diverted = diverted_provider() if INSTALLED.interceptor is not None else None
        return diverted if diverted is not None else self.own_provider()

    def own_provider(self) -> trace.TracerProvider:
        """Return the provider that takes spans as long as nobody diverts them."""
        return self.provider if self.provider is not None else trace.get_tracer_provider()

    def destination(self) -> Destination:
        """Return where a span that starts now goes."""
        provider = (
            self.provider if INSTALLED.interceptor is None and self.provider is not None else self.current_provider()
        )
        known = self._destination
        if known is not None and known[0] is provider and known[1] == SETTINGS.changes:  # by place, which is faster
            return known
        return self._destination_at(provider)

    def _destination_at(self, provider: trace.TracerProvider) -> Destination:
        if isinstance(provider, trace.ProxyTracerProvider):
            self.diagnostics.warn_once(
                "no provider",
                "no TracerProvider is configured, so runs are not recorded; call configure(..., set_global=True)",
            )
        changes = SETTINGS.changes
        limits = getattr(provider, "_span_limits", None)
        most = getattr(limits, "max_span_attributes", None)
        is_diverted = provider is diverted_provider()
        self._destination = destination = Destination(
            provider,
            changes,
            spans_of(provider.get_tracer(semconv.SCOPE_NAME, __version__)),
            self._write_policies_for(provider),
            None if is_diverted else guarded(self.diagnostics, "meter provider", self._meters_for, provider),
            getattr(provider, "sampler", None) is not ALWAYS_ON,
            getattr(limits, "max_span_attribute_length", None) is not None,
            sys.maxsize if most is None else max(most - _OUR_ATTRIBUTES, 0),
            is_diverted,
        )
        return destination

    def _meters_for(self, provider: trace.TracerProvider) -> Meters | None:
        given = self._meter_provider if self._meter_provider is not None else settings_of(provider).meter_provider
        return None if given is None else meters_of(given)

    def _write_policies_for(self, provider: trace.TracerProvider) -> WritePolicies | None:
        """Return the policies for spans that others than backends behind them get; None where that is only user ids.

        Where spans are diverted, the policies of the tracer's own provider hold.
        """
        own = self.own_provider()
        settings = settings_of(own)
        behind_them = settings.is_ours and provider is own
        policies = self._policies if behind_them else (*settings.policies, *self._policies)
        return WritePolicies((self.user_policy(), *policies), self.diagnostics) if policies else None

    def recorded_user(self, user_id: object) -> str | None:
        """A user id in the form that is recorded."""
        if user_id is None:
            return None
        return guarded(self.diagnostics, "user id", self._recorded_user, user_id)

    def _recorded_user(self, user_id: object) -> str | None:
        return self.user_policy().recorded(user_id)

    def user_policy(self) -> UserIdPolicy:
        """Return what happens to user ids: what was said here, else what the configuration of the provider says."""
        return self._user_ids or settings_of(self.own_provider()).user_ids

    @property
    def history(self) -> HistoryMode:
        """Return what model calls hold of their messages: as was said here, else as the provider's configuration says."""
        return self._history or settings_of(self.own_provider()).history

    # ── runs by id ───────────────────────────────────────────────────────────────────────────────────────────────────

    def remember(self, run: Any) -> None:
        """A run is open from now on."""
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
        """The open run that an id names; whatever names none, as it is."""
        return self._open.get(parent, parent) if type(parent) is str else parent

    def open_runs(self) -> int:
        """How many runs have started and not ended."""
        return len(self._open)

    def forget(self, run: Any) -> None:
        """A run has ended."""
        with self._lock:
            if self._open.get(run.run_id, self) is run:
                self._ended[run.run_id] = None  # first: others look without the lock, and must find it in one of both
                del self._open[run.run_id]
                if len(self._ended) > _REMEMBERED_ENDS:
                    self._ended.popitem(last=False)

    def find(self, given: object) -> Any:
        """The open run of that id, also where it was not given as a text; None for one that has ended.

        Raises:
            UnknownRunError: the id was never handed out.
        """
        run_id = text_of(given)
        run = self._open.get(run_id)
        if run is None and run_id not in self._ended:
            raise UnknownRunError(run_id, list(self._open))
        return run


def _guarded_rule(diagnostics: Diagnostics, rule: ErrorRule, error: BaseException | str) -> str | None:
    return guarded(diagnostics, "error rule", rule, error)
