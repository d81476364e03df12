"""Define `TailSampling`, the policy that keeps some traces by what happened in them, and some of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.policies.trace_facts import TraceFacts
from otel_agent_trace.sampling import NEVER, threshold_of
from otel_agent_trace.span import SpanRecord

SAMPLING_VARIABLE = "OTEL_AGENT_TRACE_SAMPLING"
_OFF = ("", "false", "0", "off")
_AGENTS_BETWEEN = "|"
_MOST_S = 1e9
_LEAST_BYTES, _MOST_BYTES = 32 << 10, 1 << 50
"""Bounds of `hold_bytes`: with less room than for a few runs, traces are decided before they can have failed."""
_MOST_CHARACTERS = 4000
"""Characters of the text of a policy, which stands in the first line of a journal."""
_EXAMPLE = "keep_errors=true,keep_agents=vip|gold,rest=0.1"


class TailSampling(Gate, msgspec.Struct, frozen=True, kw_only=True):
    """Keep the traces that a rule names, and a share of the rest: whole traces, decided when their root span has ended.

    The rest is decided by the random bits of the trace id, as W3C and OpenTelemetry define it, so that all processes agree.

    Args:
        keep_errors: whether traces are kept whose root span failed, or whose process died meanwhile.
        keep_tool_errors: whether traces are kept in which a tool failed.
        keep_slower_than_s: traces whose root span took more seconds are kept; None for no such rule.
        keep_agents: names of agents; traces in which one of them ran are kept.
        rest: the probability, from 0 to 1, with which other traces are kept.
        wait_s: seconds for which a trace waits for the decision of another process, or for spans that outlast its root.
        hold_bytes: the estimated memory that undecided traces may take, at least 32 KiB; beyond it, those held longest are decided at
            once.

    Raises:
        ConfigurationError: an argument is not valid.
    """

    keep_errors: bool = True
    keep_tool_errors: bool = False
    keep_slower_than_s: float | None = None
    keep_agents: Sequence[str] = ()
    rest: float = 0.1
    wait_s: float = 30
    hold_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            msgspec.structs.force_setattr(self, name, _CHECKS[name](name, getattr(self, name)))
        if len(str(self)) > _MOST_CHARACTERS:
            msg = f"keep_agents: the names have more than {_MOST_CHARACTERS:,} characters in all"
            raise ConfigurationError(msg)

    @classmethod
    def parse(cls, text: str) -> TailSampling:
        """Return the policy of a text such as ``keep_errors=true,keep_agents=vip|gold,rest=0.1``.

        A name of an agent with one of the characters ``,|=%`` has it as in a URL: ``%2C`` is a comma.

        Raises:
            ConfigurationError: the text is not valid.
        """
        given: dict[str, Any] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            name, sign, value = map(str.strip, part.partition("="))
            if name in given:
                msg = f"{name} is given twice"
                raise ConfigurationError(msg)
            if not sign or name not in cls.__struct_fields__:
                msg = f"{shown(part)} must be one of {', '.join(cls.__struct_fields__)} with a value, as in {_EXAMPLE}"
                raise ConfigurationError(msg)
            given[name] = _value_of(name, value)
        return cls(**given)

    def __str__(self) -> str:
        """Return the text from which `parse` makes an equal policy."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return ",".join(f"{name}={_text_of(value)}" for name, value in values if value is not None)

    @property
    def max_held_bytes(self) -> int:  # type: ignore[override]  # a setting here
        """Return `hold_bytes`."""
        return self.hold_bytes

    def keeps(self, facts: TraceFacts) -> bool:
        """Return whether a rule keeps a trace, by what is known of it."""
        return (
            (self.keep_errors and facts.is_error)
            or (self.keep_tool_errors and facts.has_tool_error)
            or (self.keep_slower_than_s is not None and facts.duration_s > self.keep_slower_than_s)
            or not facts.agents.isdisjoint(self.keep_agents)
        )

    def threshold(self, facts: TraceFacts, randomness: int, incoming: int | None = None) -> int:
        """Return the threshold with which a trace is kept, `sampling.NEVER` to drop it.

        Args:
            facts: what is known of the trace.
            randomness: its random bits.
            incoming: the threshold with which it was sampled before, which only rises; None for none.
        """
        return incoming or 0 if self.keeps(facts) else self.threshold_of_rest(randomness, incoming)

    def threshold_of_rest(self, randomness: int, incoming: int | None = None) -> int:
        """Return the threshold with which a trace is kept that no rule keeps, `sampling.NEVER` to drop it."""
        own = threshold_of(self.rest)
        if incoming is not None and incoming >= own:  # it has passed that one
            return incoming
        return own if randomness >= own else NEVER

    def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
        """Return None: the pipeline decides by `threshold`, which needs no records."""
        return None


def sampling_in(environ: Mapping[str, str]) -> TailSampling | None:
    """Return the policy that an environment names, None if it names none.

    Raises:
        ConfigurationError: it is not valid.
    """
    text = environ.get(SAMPLING_VARIABLE, "").strip()
    if text.lower() in _OFF:
        return None
    try:
        return TailSampling.parse(text)
    except ConfigurationError as error:
        msg = f"{SAMPLING_VARIABLE}: {error}"
        raise ConfigurationError(msg) from error


def _value_of(name: str, text: str) -> Any:
    """Return the value of a field; a text that cannot be one as it is, which the check of the field refuses."""
    if name == "keep_agents":
        return [unquote(agent, errors="surrogatepass") for agent in text.split(_AGENTS_BETWEEN) if agent]
    if name in ("keep_errors", "keep_tool_errors"):
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    try:
        return int(text) if name == "hold_bytes" else float(text)
    except ValueError:
        return text


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return _AGENTS_BETWEEN.join(quote(name, safe=" ", errors="surrogatepass") for name in value)
    return repr(value)


def _truth(name: str, given: Any) -> bool:
    if not isinstance(given, bool):
        msg = f"{name}={shown(given)} must be True or False"
        raise ConfigurationError(msg)
    return given


def _number(
    most: float, what: str, convert: Callable[[Any], Any] = float, *, least: float = 0
) -> Callable[[str, Any], Any]:
    """Return the check of a number from `least` to `most`."""
    kinds = (int,) if convert is int else (int, float)

    def check(name: str, given: Any) -> Any:
        if (
            isinstance(given, bool)
            or not isinstance(given, kinds)
            or not math.isfinite(given)
            or not least <= given <= most
        ):
            msg = f"{name}={shown(given)} must be {what}"
            raise ConfigurationError(msg)
        return convert(given)

    return check


_seconds = _number(_MOST_S, "a number of seconds, at least 0")


def _seconds_or_none(name: str, given: Any) -> float | None:
    return None if given is None else float(_seconds(name, given))


def _agents(name: str, given: Any) -> tuple[str, ...]:
    names = (None,) if isinstance(given, str | Mapping) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(each, str) and each.strip() for each in names):
        msg = f'{name}={shown(given)} must be a list of names of agents, such as ["vip"]'
        raise ConfigurationError(msg)
    return tuple(sorted(set(names)))


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "keep_errors": _truth,
    "keep_tool_errors": _truth,
    "keep_slower_than_s": _seconds_or_none,
    "keep_agents": _agents,
    "rest": _number(1, "a probability from 0 to 1"),
    "wait_s": _seconds,
    "hold_bytes": _number(_MOST_BYTES, f"a number of bytes, at least {_LEAST_BYTES}", int, least=_LEAST_BYTES),
}
"""Name of a field → function that returns its value after a check."""
