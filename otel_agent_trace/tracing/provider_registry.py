"""Keep the settings of providers, which may be of any class, and not hashable."""

from __future__ import annotations

import weakref
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast, get_args

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.pipeline import DataPolicies, Gate, Policy
from otel_agent_trace.policies.user_ids import UserIdPolicy

T = TypeVar("T")
HistoryMode = Literal["full", "new"]
"""Modes of recording the messages of a model call: all of them, or those added since an earlier call of the run."""


class ProviderRegistry(Generic[T]):
    """Map providers to values by identity, as long as the provider lives."""

    def __init__(self) -> None:
        self._facts: dict[int, tuple[weakref.ref[Any], T]] = {}
        self.changes = 0
        """Number of changes, by which code that caches a value sees that it has to look it up again."""

    def put(self, provider: Any, fact: T) -> None:
        """Set the value of a provider.

        Raises:
            TypeError: the provider does not support weak references.
        """
        key = id(provider)
        self._facts[key] = weakref.ref(provider, lambda _: self._facts.pop(key, None)), fact
        self.changes += 1

    def get(self, provider: Any) -> T | None:
        """Return the value of a provider, None if it has none."""
        known = self._facts.get(id(provider))
        return known[1] if known is not None and known[0]() is provider else None


class ProviderSettings(NamedTuple):
    """Hold the settings of a provider for the tracers that use it."""

    data: DataPolicies = DataPolicies()
    """Policies about the data of spans."""
    policies: tuple[Policy | Gate, ...] = ()
    meter_provider: MeterProvider | None = None
    """Meter provider for its runs."""
    history: HistoryMode = "full"
    """Mode of recording the messages of model calls."""
    is_ours: bool = False
    """True if we made it, so that all its spans pass our pipeline, unless processors were added."""
    log_level: int | None = None
    """Level from which on log records of the program are recorded in its runs; None for no log records."""


SETTINGS: ProviderRegistry[ProviderSettings] = ProviderRegistry()
_UNCONFIGURED = ProviderSettings()
_PSEUDONYMS = UserIdPolicy()


def settings_of(provider: TracerProvider) -> ProviderSettings:
    """Return the settings of a provider; the default ones if it was not configured here."""
    return SETTINGS.get(provider) or _UNCONFIGURED


def span_processors_of(provider: Any) -> tuple[Any, ...] | None:
    """Return the span processors of a provider, None if it is not the SDK's, which has no public attribute for them."""
    return getattr(getattr(provider, "_active_span_processor", None), "_span_processors", None)


def user_policy_of(provider: TracerProvider) -> UserIdPolicy:
    """Return the policy for user ids: that of `configure`, else one on which all processors agree, else pseudonyms."""
    settings = SETTINGS.get(provider)
    if settings is not None:
        return settings.data.user_ids or _PSEUDONYMS
    agreed: dict[str | None, UserIdPolicy | None] = {}
    for processor in span_processors_of(provider) or ():
        data = getattr(getattr(processor, "span_exporter", processor), "data", None)  # of the SDK, or ours
        policy = data.user_ids or _PSEUDONYMS if isinstance(data, DataPolicies) else None
        agreed[None if policy is None else policy.mode] = policy
    return (next(iter(agreed.values())) if len(agreed) == 1 else None) or _PSEUDONYMS


def records_nothing(provider: TracerProvider) -> bool:
    """Return whether a provider was configured here, and has neither a span processor nor a meter provider so far."""
    settings = SETTINGS.get(provider)
    return settings is not None and settings.meter_provider is None and span_processors_of(provider) == ()


def check_history(history: str) -> HistoryMode:
    """Return a mode that is valid.

    Raises:
        ConfigurationError: there is no such mode.
    """
    if history not in get_args(HistoryMode):
        msg = f"history={history!r} must be 'full' or 'new'"
        raise ConfigurationError(msg)
    return cast("HistoryMode", history)
