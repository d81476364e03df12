"""Define what ``otel-agent-trace replay`` takes: a program after ``--``, and options, not all of which go with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource

from otel_agent_trace.cli.options import FILTERS, some_filters
from otel_agent_trace.replay.options import OnMiss

F = TypeVar("F", bound=Callable[..., Any])

WALK, PLAN = "a walk through a run, as it is without '-- PROGRAM'", "--plan, which executes nothing"
PROGRAM, AGAINST = "'-- PROGRAM'", "--against"
"""Modes of the command."""

_FILTERS = tuple(name for name in FILTERS if name not in ("--service", "--until", "--sort"))
"""Filters for ``--against``; ``--service`` goes with everything, and ``--until`` names a step."""
FILTER_NAMES = ("service", *(FILTERS[name].get("dest", name[2:].replace("-", "_")) for name in _FILTERS))
"""Names of the filters in `RunQuery`."""

_ONE_RUN = {"source", "run", "service"}
_REPLAY = {"on_miss", "live", "until", "ignored"}
_PARAMETERS: dict[str, set[str]] = {
    WALK: {*_ONE_RUN, "stepwise", "speed", "dry_run", "full", "as_json"},
    PLAN: {*_ONE_RUN, "plan", "live", "until", "as_json"},
    PROGRAM: {*_ONE_RUN, *_REPLAY, "program"},
    AGAINST: {"against", *_REPLAY, "program", *FILTER_NAMES, "as_json"},
}
"""Parameters that go with each mode."""


class WithProgram(click.Command):
    """Take the words after ``--`` as a program and its arguments, the parameter ``program`` of the function."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words before ``--``.

        Raises:
            click.UsageError: nothing follows ``--``, or parameters do not go with each other.
        """
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        ctx.params["program"] = args[end + 1 :]
        if end == len(args) - 1:
            raise click.UsageError("a program must follow '--'", ctx)
        _check_together(ctx)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the words of the line of usage."""
        return [*super().collect_usage_pieces(ctx), "[-- PROGRAM...]"]


def mode_of(given: Mapping[str, Any]) -> str:
    """Return the mode for the parameters that are given."""
    if given["plan"]:
        return PLAN
    if given["against"] is not None:
        return AGAINST
    return PROGRAM if given["program"] else WALK


def _check_together(ctx: click.Context) -> None:
    mode, program = mode_of(ctx.params), ctx.params["program"]
    allowed = _PARAMETERS[mode]
    names = {one.name or "": one.opts[0] for one in ctx.command.params}
    given = [
        names[name]
        for name in names
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and name not in allowed
    ]
    if program and "program" not in allowed:
        given.append(PROGRAM)
    if given:
        raise click.UsageError(f"{given[0]} does not go with {mode}", ctx)
    if mode is AGAINST and not program:
        raise click.UsageError("--against needs a program: end the command with '-- PROGRAM'", ctx)


def _ignored(_: click.Context, parameter: click.Parameter, words: Sequence[str]) -> dict[str, list[str]]:
    """Return the parameters of ``--ignore`` by name of the tool."""
    names: dict[str, list[str]] = {}
    for word in words:
        tool, sign, name = word.rpartition("=")
        if not (tool and sign and name):
            raise click.BadParameter(f"{word!r} must be like search=limit", param=parameter)
        names.setdefault(tool, []).append(name)
    return names


_OPTIONS = (
    click.option("--plan", is_flag=True, help="List what a replay does with each call. Nothing is executed."),
    click.option(
        "--against",
        metavar="SOURCE",
        help="Replay each run of SOURCE with PROGRAM, in which {input} stands for the question of the run.",
    ),
    click.option(
        "--on-miss",
        type=click.Choice(get_args(OnMiss)),
        default="fail",
        help="What happens to a call that was not recorded: the replay fails (the default), the nearest recorded call answers, the call is made, or it raises an error.",
    ),
    click.option(
        "--live",
        multiple=True,
        metavar="NAME",
        help="Execute this tool or model, or an agent that start_run starts; may be repeated.",
    ),
    click.option(
        "--ignore",
        "ignored",
        multiple=True,
        callback=_ignored,
        metavar="TOOL=PARAM",
        help="Do not compare this parameter of a tool or model; may be repeated.",
    ),
    click.option("--until", metavar="STEP", help="Answer calls up to this step, as 3 or 3/1, and execute later ones."),
    some_filters(*_FILTERS),
)


def replay_options(function: F) -> F:
    """Add the options of replays to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
