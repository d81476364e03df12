"""Check what a replay is asked to do: misses, live calls, patches, where the recording ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.replay.divergences import ReplayDivergence, ReplayDivergenceError
from otel_agent_trace.replay.recordings import Call, Recording

OnMiss = Literal["fail", "nearest", "live", "error"]
"""Ways to go on with a call without a recorded answer: the replay fails, the nearest recorded one answers, the call is
made, or it raises an `Exception` in the agent."""


class Options(NamedTuple):
    """Hold the options of a replay, checked.

    Attributes:
        on_miss: what happens to a call without a recorded answer.
        live: names of tools, models and agents whose calls are made.
        patches: values, or `Raises`, by the number of the recorded call that they answer in place of its own outcome.
        live_from: by number of an outermost run, the order of the first call that is live.
        ignored: by name of a tool or model, the parameters that are not compared.
    """

    on_miss: OnMiss
    live: frozenset[str]
    patches: dict[int, Any]
    live_from: dict[int, tuple[int, ...]]
    ignored: dict[str, frozenset[str]]

    def exception_for(self, divergence: ReplayDivergence) -> ReplayDivergence:
        """Return what is raised for a divergence: with ``on_miss="error"``, one that the agent handles as an `Exception`."""
        return ReplayDivergenceError(**divergence.facts()) if self.on_miss == "error" else divergence

    def is_after_the_end(self, call: Call) -> bool:
        """Return whether a call comes after the last one that is answered."""
        first = self.live_from.get(call.order[0])
        return first is not None and call.order >= first


def check_on_miss(word: str) -> OnMiss:
    """Return what happens at a miss, if there is such a word.

    Raises:
        ConfigurationError: there is none.
    """
    if word not in get_args(OnMiss):
        raise ConfigurationError(f"on_miss={word!r} must be one of {', '.join(get_args(OnMiss))}")
    return word  # type: ignore[return-value]


def checked_options(
    recording: Recording,
    *,
    on_miss: str,
    live: Iterable[str] | str,
    patch: Mapping[Any, Any],
    until: object,
    ignore: Mapping[str, Iterable[str]],
    at: object = None,
) -> Options:
    """Return the options of a replay, of which `until` names the last step that is answered, or `at` the first live one.

    Raises:
        ConfigurationError: one of them is not valid, or names a step that was not recorded.
    """
    if not isinstance(patch, Mapping) or not isinstance(ignore, Mapping):
        name, given = ("ignore", ignore) if isinstance(patch, Mapping) else ("patch", patch)
        raise ConfigurationError(f"{name}={shown(given)} must be a mapping")
    return Options(
        check_on_miss(on_miss),
        frozenset((live,) if isinstance(live, str) else live),
        {_only(recording, path, "patch").number: value for path, value in patch.items()},
        _first_live(recording, until, at),
        {name: frozenset((names,) if isinstance(names, str) else names) for name, names in ignore.items()},
    )


def _only(recording: Recording, path: object, option: str) -> Call:
    found = _all(recording, path, option)
    if len(found) > 1:
        ids = ", ".join(f"{recording.runs[call.order[0]].run_id}#{call.path}" for call in found[:3])
        raise ConfigurationError(f"{option}={shown(path)}: several runs have such a step; name one of {ids}")
    return found[0]


def _known(recording: Recording) -> str:
    paths = [call.path for call in recording.calls if call.path]
    more = f", ... ({len(paths)} in all)" if len(paths) > 10 else ""
    return f"the recording has {', '.join(paths[:10])}{more}" if paths else "the recording has no steps"


def _first_live(recording: Recording, until: object, at: object) -> dict[int, tuple[int, ...]]:
    """Return where recorded answers end; `until=0` is before the first step."""
    if at is not None:
        return {call.order[0]: call.order for call in _all(recording, at, "at")}
    if until is None:
        return {}
    if until in (0, "0") and not recording.at(until):
        return {number: (number, 0) for number in range(len(recording.runs))}
    found = _all(recording, until, "until")
    return {call.order[0]: (*call.order[:-1], call.order[-1] + 1) for call in found}


def _all(recording: Recording, path: object, option: str) -> list[Call]:
    found = recording.at(path)
    if not found:
        raise ConfigurationError(f"{option}={shown(path)}: there is no such step; {_known(recording)}")
    return found
