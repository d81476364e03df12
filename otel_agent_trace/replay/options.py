"""Check what a replay is asked to do: misses, live calls, patches, where the recording ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
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
        ends: by number of an outermost run, the order of the last call that is answered.
        ignored: by name of a tool or model, the parameters that are not compared.
    """

    on_miss: OnMiss
    live: frozenset[str]
    patches: dict[int, Any]
    ends: dict[int, tuple[int, ...]]
    ignored: dict[str, frozenset[str]]

    def is_after_the_end(self, call: Call) -> bool:
        """Return whether a call comes after the last one that is answered."""
        end = self.ends.get(call.order[0])
        return end is not None and call.order[: len(end)] > end


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
) -> Options:
    """Return the options of a replay.

    Raises:
        ConfigurationError: one of them is not valid, or names a step that was not recorded.
    """
    return Options(
        check_on_miss(on_miss),
        frozenset((live,) if isinstance(live, str) else live),
        {_only(recording, path, "patch").number: value for path, value in patch.items()},
        _ends(recording, until),
        {name: frozenset((names,) if isinstance(names, str) else names) for name, names in ignore.items()},
    )


def _only(recording: Recording, path: object, option: str) -> Call:
    found = recording.at(path)
    if not found:
        raise ConfigurationError(f"{option}={shown(path)}: there is no such step; {_known(recording)}")
    if len(found) > 1:
        ids = ", ".join(f"{recording.runs[call.order[0]].run_id}#{call.path}" for call in found[:3])
        raise ConfigurationError(f"{option}={shown(path)}: several runs have such a step; name one of {ids}")
    return found[0]


def _known(recording: Recording) -> str:
    paths = [call.path for call in recording.calls if call.path]
    more = f", ... ({len(paths)} in all)" if len(paths) > 10 else ""
    return f"the recording has {', '.join(paths[:10])}{more}" if paths else "the recording has no steps"


def _ends(recording: Recording, until: object) -> dict[int, tuple[int, ...]]:
    """Return where the recorded answers end; 0 is before the first step."""
    if until is None:
        return {}
    if until in (0, "0") and not recording.at(until):
        return {number: (number, -1) for number in range(len(recording.runs))}
    found = recording.at(until)
    if not found:
        raise ConfigurationError(f"until={shown(until)}: there is no such step; {_known(recording)}")
    return {call.order[0]: call.order for call in found}
