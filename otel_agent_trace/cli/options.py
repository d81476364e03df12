"""Define the arguments and options that several commands share; each filter is a row of `FILTERS`, named after its field of `RunQuery`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.query import SORTS, STATUSES, facts_of

F = TypeVar("F", bound=Callable[..., Any])

_TIME_HELP = "a time (2026-05-01, 2026-05-01T12:00) or an age (90s, 15m, 24h, 7d)"


def _texts(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> Sequence[str] | None:
    """Return the tags or conditions, or None where the option was not given, as `RunQuery` expects it."""
    return texts or None


def _conditions(_: click.Context, parameter: click.Parameter, words: Sequence[str]) -> dict[str, Any] | None:
    """Return the conditions of ``--where`` by name, or None where the option was not given."""
    try:
        return facts_of(words) or None
    except ConfigurationError as error:
        raise click.BadParameter(str(error), param=parameter) from None


FILTERS: dict[str, dict[str, Any]] = {
    "--status": {"type": click.Choice(STATUSES), "help": "Only runs with this status."},
    "--agent": {"metavar": "NAME", "help": "Only runs of this agent."},
    "--tool": {"metavar": "NAME", "help": "Only runs that called this tool."},
    "--tool-error": {
        "metavar": "NAME",
        "help": "Only runs in which this tool failed, even if the run succeeded; '*': any tool.",
    },
    "--model": {"metavar": "NAME", "help": "Only runs that called this model."},
    "--user": {"dest": "user_id", "metavar": "ID", "help": "Only runs of this user."},
    "--session": {"dest": "session_id", "metavar": "ID", "help": "Only runs of this session."},
    "--service": {"metavar": "NAME", "help": "Only runs in whose trace this service takes part."},
    "--tag": {
        "multiple": True,
        "callback": _texts,
        "metavar": "TAG",
        "help": "Only runs with this tag; if repeated, with all of them.",
    },
    "--where": {
        "multiple": True,
        "callback": _conditions,
        "metavar": "K=V",
        "help": "Only runs where K is V. K is metadata.KEY, resource.KEY, step.KEY (of any step) or an attribute of the run; V is JSON, else text.",
    },
    "--score": {
        "multiple": True,
        "callback": _texts,
        "metavar": "NAME<X",
        "help": "Only runs whose score fits: 'helpful<0.5', correct=true, verdict=pass (a label), or a name alone; if repeated, all of them.",
    },
    "--text": {
        "metavar": "WORDS",
        "help": "Only runs with this text in question, answer, errors, inputs, outputs or messages.",
    },
    "--since": {"metavar": "TIME", "help": f"Only runs that started at this time or later: {_TIME_HELP}."},
    "--until": {"metavar": "TIME", "help": "Only runs that started before this time."},
    "--min-duration": {
        "metavar": "TIME",
        "help": "Only runs that took this long or longer: seconds, or 200ms, 1.5s, 2m.",
    },
    "--sort": {
        "metavar": f"[{'|'.join(SORTS)}]",
        "help": "Order of the runs: the newest, longest or largest first.",
    },
}
"""Option of a filter → its settings for click; `dest` is the field of `RunQuery`, where its name is another."""

source_argument = click.argument("source", required=False)
run_argument = click.argument("run", required=False)
service_option = click.option("--service", metavar="NAME", help="Look only at traces in which this service takes part.")
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
prices_option = click.option(
    "--prices",
    type=click.Path(exists=False),
    metavar="FILE",
    help='Prices of your own, as JSON: {"[PROVIDER/]MODEL": {"input": 3, "output": 15}}, dollars a million tokens.',
)
full_option = click.option("--full", is_flag=True, help="Show every step and every value whole.")


def limit_option(things: str, default: int) -> Callable[[F], F]:
    """Return a decorator that adds ``--limit``, the most things to list; 0 lists all."""
    text = f"At most N {things}, by default {default}; 0: all."
    return click.option("--limit", type=click.IntRange(min=0), default=default, metavar="N", help=text)


def filter_options(function: F) -> F:
    """Add an option for each row of `FILTERS` to a command, which receives them as keywords of `RunQuery`."""
    return some_filters(*FILTERS)(function)


def some_filters(*names: str) -> Callable[[F], F]:
    """Return a decorator that adds the options with these names, as `filter_options` adds all."""

    def decorate(function: F) -> F:
        for name in reversed(names):
            row = FILTERS[name]
            options = [name, row["dest"]] if "dest" in row else [name]
            function = click.option(*options, **{key: value for key, value in row.items() if key != "dest"})(function)
        return function

    return decorate
