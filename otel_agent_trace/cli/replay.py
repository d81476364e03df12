"""``otel-agent-trace replay``: walk through one run step by step, as it happened."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from otel_agent_trace.cli.options import full_option, json_option, run_argument, service_option, source_argument
from otel_agent_trace.cli.sources import run_of
from otel_agent_trace.cli.streams import stdout_console, write_json
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.replay.walk import walk_run

Placed = tuple[int, AgentStep]

_NS_PER_S = 1_000_000_000
_LONGEST_S = 3600.0
_NEXT_HINT = "-- any key: next step, q: quit --"


def _refuse_nan(_: click.Context, parameter: click.Parameter, speed: float | None) -> float | None:
    if speed is not None and math.isnan(speed):
        raise click.BadParameter("nan is no speed", param=parameter)
    return speed


@click.command("replay")
@source_argument
@run_argument
@service_option
@click.option("--step", "stepwise", is_flag=True, help="Wait for a key before each further step; q quits.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    callback=_refuse_nan,
    metavar="X",
    help="Wait between steps as the run did, X times as fast. By default there is no waiting.",
)
@click.option("--dry-run", is_flag=True, help="Name the steps, without what went in and came out.")
@full_option
@json_option
def command(source: str | None, run: str | None, **options: Any) -> None:
    """Walk through one run of SOURCE: each step in its order, with what went in and what came out. Nothing is run.

    RUN is a run id, the beginning of one, or "last" (the default); SOURCE#RUN names both in one word.
    """
    walked = run_of(source, run, options["service"])
    steps: Iterator[Placed] = walk_run(walked)
    if options["speed"] is not None:
        steps = paced(steps, options["speed"], _sleep)
    if options["stepwise"]:
        steps = stepped(steps, _wants_more)
    if options["as_json"]:
        _write_json_lines(steps, walked, names_only=options["dry_run"])
    else:
        _write(steps, walked, names_only=options["dry_run"], full=options["full"])


def paced(steps: Iterator[Placed], speed: float, sleep: Callable[[float], object]) -> Iterator[Placed]:
    """Yield the steps, each as long after the one before as it was then, so many times as fast; an hour at most."""
    before_ns: int | None = None
    for placed in steps:
        started_ns = placed[1].started_at_ns
        if before_ns is not None and started_ns > before_ns:
            sleep(min((started_ns - before_ns) / _NS_PER_S / speed, _LONGEST_S))
        before_ns = max(started_ns, before_ns or started_ns)
        yield placed


def stepped(steps: Iterator[Placed], wants_more: Callable[[], bool]) -> Iterator[Placed]:
    """Yield the steps, until nobody wants more; the first comes unasked."""
    for index, placed in enumerate(steps):
        if index and not wants_more():
            return
        yield placed


def _write_json_lines(steps: Iterator[Placed], run: AgentRun, *, names_only: bool) -> None:
    for depth, step in steps:
        place = {"run_id": run.run_id, "depth": depth, "offset_s": (step.started_at_ns - run.started_at_ns) / _NS_PER_S}
        write_json(place | (_names(step) if names_only else _own_data(step)), indent=None)
        sys.stdout.flush()


def _names(step: AgentStep) -> dict[str, Any]:
    return {"index": step.index, "step_id": step.step_id, "kind": step.kind.value, "name": step.name}


def _own_data(step: AgentStep) -> dict[str, Any]:
    """Return the step without its sub-agent's run, whose steps have lines of their own."""
    data = step.to_dict()
    if step.run is not None:
        data["run"] = {"run_id": step.run.run_id}
    return data


def _write(steps: Iterator[Placed], run: AgentRun, *, names_only: bool, full: bool) -> None:
    from otel_agent_trace.cli.printing import print_beginning, print_ending, print_step  # noqa: PLC0415 - slow

    console = stdout_console()
    print_beginning(run, console, full=full)
    left = sum(1 for _ in walk_run(run))
    for depth, step in steps:
        print_step(step, depth, run, console, names_only=names_only, full=full)
        left -= 1
    if left == 0:  # nobody quit
        print_ending(run, console, names_only=names_only, full=full)


def _wants_more() -> bool:
    """Ask for a key, or where there is no terminal read a line; q, Ctrl-D and the end of the input mean no."""
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
    sys.stdout.flush()
    time.sleep(seconds)
