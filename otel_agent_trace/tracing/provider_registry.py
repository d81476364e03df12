"""What is known of providers of other makers, which need not be hashable."""

from __future__ import annotations

import weakref
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast, get_args

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.pipeline import Gate, Policy
from otel_agent_trace.policies.user_ids import UserIdPolicy

T = TypeVar("T")
HistoryMode = Literal["full", "new"]
"""What the span of a model call holds of its messages: all of them, or what was added since an earlier call of the run."""


class ProviderRegistry(Generic[T]):
    """A fact for each provider, by its identity, as long as the provider lives."""

    def __init__(self) -> None:
        self._facts: dict[int, tuple[weakref.ref[Any], T]] = {}
        self.changes = 0
        """How often something was noted; who remembers what stood here sees by it whether to look again."""

    def put(self, provider: Any, fact: T) -> None:
        """Note a fact.

        Raises:
            TypeError: the provider takes no weak references.
        """
        key = id(provider)
        self._facts[key] = weakref.ref(provider, lambda _: self._facts.pop(key, None)), fact
        self.changes += 1

    def get(self, provider: Any) -> T | None:
        """Return what was noted, if something was."""
        known = self._facts.get(id(provider))
        return known[1] if known is not None and known[0]() is provider else None


class ProviderSettings(NamedTuple):
    """What the configuration of a provider says, for the tracers that use it."""

    user_ids: UserIdPolicy
    policies: tuple[Policy | Gate, ...] = ()
    meter_provider: MeterProvider | None = None
    """Where its runs are measured."""
    history: HistoryMode = "full"
    """What model calls hold of their messages."""
    is_ours: bool = False
    """Whether we made it: then all that it emits passes our pipeline, unless somebody adds to it."""


SETTINGS: ProviderRegistry[ProviderSettings] = ProviderRegistry()
_UNCONFIGURED = ProviderSettings(UserIdPolicy("pseudonym"))


def settings_of(provider: TracerProvider) -> ProviderSettings:
    """Return the settings of a provider; those that hold where nobody configured it here."""
    return SETTINGS.get(provider) or _UNCONFIGURED


def check_history(history: str) -> HistoryMode:
    """Return the mode.

    Raises:
        ConfigurationError: there is no such mode.
    """
    if history not in get_args(HistoryMode):
        msg = f"history={history!r} is none of 'full' and 'new'"
        raise ConfigurationError(msg)
    return cast("HistoryMode", history)
