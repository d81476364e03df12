"""Define ``otel-agent-trace replay``: walk through one run step by step, plan its replay, or replay it with a program."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from otel_agent_trace.cli.options import full_option, json_option, run_argument, service_option, source_argument
from otel_agent_trace.cli.replay_options import (
    AGAINST,
    FILTER_NAMES,
    PLAN,
    PROGRAM,
    WithProgram,
    mode_of,
    replay_options,
)
from otel_agent_trace.cli.sources import run_of, target_of
from otel_agent_trace.cli.streams import stdout_console, write_json
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.query import RunQuery
from otel_agent_trace.replay.walk import walk_run
from otel_agent_trace.runs.step_names import StepNames
from otel_agent_trace.views.escape import escaped_line

Placed = tuple[int, AgentStep]
"""Depth and step, as `walk_run` yields them."""

_NS_PER_S = 1_000_000_000
_LONGEST_S = 3600.0
_NEXT_HINT = "-- any key: next step, q: quit --"


def _refuse_nan(_: click.Context, parameter: click.Parameter, speed: float | None) -> float | None:
    if speed is not None and math.isnan(speed):
        raise click.BadParameter("must be a number greater than 0, got nan", param=parameter)
    return speed


@click.command("replay", cls=WithProgram)
@source_argument
@run_argument
@service_option
@click.option("--step", "stepwise", is_flag=True, help="Wait for a key before each step after the first; q quits.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    callback=_refuse_nan,
    metavar="X",
    help="Pause between steps as the run did, X times as fast. By default there is no pause.",
)
@click.option("--dry-run", is_flag=True, help="Name the steps without their inputs and outputs.")
@full_option
@replay_options
@json_option
def command(source: str | None, run: str | None, program: list[str], **options: Any) -> int:
    """Walk through one run of SOURCE, or run it again: PROGRAM is executed, its calls are answered from the run.

    RUN is a run id, the beginning of one, or "last" (the default); SOURCE#RUN names both in one word.

    Without PROGRAM, each step is shown in its order, with its inputs and outputs, and nothing is executed. With it, runs
    and sub-agents execute, and calls of decorated tools and models are answered. The exit code is that of PROGRAM, or 1 if
    that is 0 and the calls are not those of the run. With --against: 1 if any run diverged, 2 if there is none.
    """
    mode = mode_of({**options, "program": program})
    if mode is AGAINST:
        return _replay_many(program, options)
    recorded = run_of(source, run, options["service"])
    if mode is PLAN:
        _write_plan(recorded, options)
        return 0
    if mode is PROGRAM:
        from otel_agent_trace.cli.replay_program import replay_program  # noqa: PLC0415 - a walk does without tracing

        return replay_program(recorded, program, options)
    _walk(recorded, options)
    _write_hint(recorded, target_of(source, run).source, as_json=options["as_json"])
    return 0


def _replay_many(program: list[str], options: dict[str, Any]) -> int:
    from otel_agent_trace.cli.replay_many import replay_many  # noqa: PLC0415 - likewise

    query = RunQuery.of(**{name: options[name] for name in FILTER_NAMES})
    return replay_many(options["against"], query, program, options, as_json=options["as_json"])


def _write_plan(run: AgentRun, options: dict[str, Any]) -> None:
    from otel_agent_trace.replay.plan import plan_replay  # noqa: PLC0415 - likewise

    rows = plan_replay(run, live=options["live"], until=options["until"])
    if options["as_json"]:
        for row in rows:
            write_json(row.to_dict(), indent=None)
        return
    from otel_agent_trace.cli.printing import print_plan  # noqa: PLC0415 - --json does without rich

    print_plan(rows, stdout_console())


def _walk(run: AgentRun, options: dict[str, Any]) -> None:
    steps: Iterator[Placed] = walk_run(run)
    if options["speed"] is not None:
        steps = paced(steps, options["speed"], _sleep)
    if options["stepwise"]:
        steps = stepped(steps, _wants_more)
    if options["as_json"]:
        _write_json_lines(steps, run, names_only=options["dry_run"])
    else:
        _write(steps, run, names_only=options["dry_run"], full=options["full"])


def _write_hint(run: AgentRun, source: str, *, as_json: bool) -> None:
    """Write how to execute the run, on standard error where data is on standard output."""
    command_line = escaped_line(shlex.join(["otel-agent-trace", "replay", source, run.run_id]))
    click.echo(f"to run it again, its calls answered as recorded: {command_line} -- PROGRAM", err=as_json)


def paced(steps: Iterator[Placed], speed: float, sleep: Callable[[float], object]) -> Iterator[Placed]:
    """Yield the steps with the pauses of the run between them, `speed` times as fast and an hour at most each."""
    before_ns: int | None = None
    for placed in steps:
        started_ns = placed[1].started_at_ns
        if before_ns is not None and started_ns > before_ns:
            sleep(min((started_ns - before_ns) / _NS_PER_S / speed, _LONGEST_S))
        before_ns = max(started_ns, before_ns or started_ns)
        yield placed


def stepped(steps: Iterator[Placed], wants_more: Callable[[], bool]) -> Iterator[Placed]:
    """Yield the first step, and each further one for which `wants_more` returns True, until it returns False."""
    for index, placed in enumerate(steps):
        if index and not wants_more():
            return
        yield placed


def _write_json_lines(steps: Iterator[Placed], run: AgentRun, *, names_only: bool) -> None:
    names = StepNames(run)
    for depth, step in steps:
        offset_s = (step.started_at_ns - run.started_at_ns) / _NS_PER_S
        place = {"run_id": run.run_id, "path": names.of(step), "depth": depth, "offset_s": offset_s}
        write_json(place | (_step_names(step) if names_only else _step_data(step)), indent=None)
        sys.stdout.flush()


def _step_names(step: AgentStep) -> dict[str, Any]:
    return {"index": step.index, "step_id": step.step_id, "kind": step.kind.value, "name": step.name}


def _step_data(step: AgentStep) -> dict[str, Any]:
    """Return a step as data, with only the id of its sub-agent's run, whose steps have lines of their own."""
    data = step.to_dict()
    if step.run is not None:
        data["run"] = {"run_id": step.run.run_id}
    return data


def _write(steps: Iterator[Placed], run: AgentRun, *, names_only: bool, full: bool) -> None:
    from otel_agent_trace.cli.printing import print_beginning, print_ending, print_step  # noqa: PLC0415 - slow

    console = stdout_console()
    print_beginning(run, console, full=full)
    names, left = StepNames(run), sum(1 for _ in walk_run(run))
    for depth, step in steps:
        print_step(step, depth, names, console, names_only=names_only, full=full)
        left -= 1
    if left == 0:  # nobody quit
        print_ending(run, console, names_only=names_only, full=full)


def _wants_more() -> bool:
    """Read a key, or a line where there is no terminal; return False for q, Esc, Ctrl-D and the end of the input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return bool(line) and line.strip().lower() != "q"
    click.echo(_NEXT_HINT, err=True, nl=False)
    try:
        return click.getchar() not in ("q", "Q", "\x1b")
    except EOFError:
        return False
    finally:
        click.echo(f"\r{' ' * len(_NEXT_HINT)}\r", err=True, nl=False)


def _sleep(seconds: float) -> None:
    """Flush standard output, so that a reader has all steps before the pause, and sleep."""
    sys.stdout.flush()
    time.sleep(seconds)
