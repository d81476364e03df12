"""Run a program under a replay, and report what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.cli.programs import NOT_STARTED, Ended, run_program
from otel_agent_trace.cli.streams import write_lines, write_message
from otel_agent_trace.model import AgentRun
from otel_agent_trace.replay.divergences import ReplayDivergence
from otel_agent_trace.replay.folders import ReplayFolder
from otel_agent_trace.replay.options import checked_options
from otel_agent_trace.replay.recordings import Recording
from otel_agent_trace.views.figures import plural

DIVERGED = 1


class ReplayedProgram(NamedTuple):
    """Hold what came of a program under a replay: how it ended, and what `ReplaySession` has by the same names."""

    ended: Ended
    divergences: list[ReplayDivergence]
    answered: list[str]
    live: list[str]


def replayed(run: AgentRun, words: Sequence[str], options: Mapping[str, Any], **streams: Any) -> ReplayedProgram:
    """Run a program with its calls answered from a run.

    Args:
        run: the recorded run.
        words: the program and its arguments.
        options: `on_miss`, `live`, `until` and `ignored`, as `replay_run` has them.
        **streams: as for `run_program`.

    Raises:
        ConfigurationError: an option names a step that was not recorded.
    """
    same_names = {name: options[name] for name in ("on_miss", "live", "until")}
    checked = checked_options(Recording([run]), patch={}, ignore=options["ignored"], **same_names)
    folder = ReplayFolder.make([run], checked)
    try:
        ended = run_program(words, folder.environment(), **streams)
        missing = [] if ended.is_killed or ended.code == NOT_STARTED else folder.missing()
        return ReplayedProgram(ended, [*folder.divergences(), *missing], folder.answered(), folder.live())
    finally:
        folder.close()


def replay_program(run: AgentRun, words: Sequence[str], options: Mapping[str, Any]) -> int:
    """Run a program under a replay, write a summary to standard error, and return the exit code of the command."""
    done = replayed(run, words, options)
    code = done.ended.code
    if code == NOT_STARTED:
        return code
    write_message(f"replay of run {run.run_id}: {_counts_text(done)}")
    if done.divergences:
        write_lines(str(done.divergences[0]))
    return DIVERGED if code == 0 and is_failed(done, options) else code


def is_failed(done: ReplayedProgram, options: Mapping[str, Any]) -> bool:
    """Return whether a replay has diverged; with misses that are live, which is how a killed run is resumed, none has."""
    return bool(done.divergences) and options["on_miss"] != "live"


def _counts_text(done: ReplayedProgram) -> str:
    calls = (
        f"{len(done.answered)} answered{_names_text(done.answered)}",
        f"{len(done.live)} live{_names_text(done.live)}",
    )
    count = len(done.divergences)
    if count:
        return f"{', '.join(calls)}; {plural(count, 'difference')}{', the first:' if count > 1 else ':'}"
    return f"{', '.join(calls)}; {'a signal has ended the program' if done.ended.is_killed else 'as recorded'}"


def _names_text(names: Sequence[str]) -> str:
    counts = Counter(names)
    texts = (name if count == 1 else f"{name} x{count}" for name, count in counts.items())
    return f" ({', '.join(texts)})" if counts else ""
