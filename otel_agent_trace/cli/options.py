"""The arguments and options that several commands share; a filter is a row of `FILTERS`, called as its field of `RunQuery`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from otel_agent_trace.query import STATUSES
from otel_agent_trace.values import same

F = TypeVar("F", bound=Callable[..., Any])

_TIME_HELP = "a time (2026-05-01, 2026-05-01T12:00) or an age (90s, 15m, 24h, 7d)"


def _several(_: click.Context, __: click.Parameter, words: Sequence[str]) -> Sequence[str] | None:
    return words or None


def _facts(_: click.Context, parameter: click.Parameter, words: Sequence[str]) -> dict[str, Any] | None:
    facts: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not (name and sign):
            msg = f"{word!r} is not like metadata.tenant=acme"
            raise click.BadParameter(msg, param=parameter)
        value = _json_or_text(text)
        if name in facts and not same(facts[name], value):
            msg = f"{name} is given twice, and cannot have both values"
            raise click.BadParameter(msg, param=parameter)
        facts[name] = value
    return facts or None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


FILTERS: dict[str, dict[str, Any]] = {
    "--status": {"type": click.Choice(STATUSES), "help": "Only runs that ended so, or have not."},
    "--agent": {"metavar": "NAME", "help": "Only runs of this agent."},
    "--tool": {"metavar": "NAME", "help": "Only runs that called this tool."},
    "--tool-error": {
        "metavar": "NAME",
        "help": "Only runs in which this tool failed, successful ones too; '*': any tool.",
    },
    "--model": {"metavar": "NAME", "help": "Only runs that called this model."},
    "--user": {"dest": "user_id", "metavar": "ID", "help": "Only runs of this user."},
    "--session": {"dest": "session_id", "metavar": "ID", "help": "Only runs of this session."},
    "--service": {"metavar": "NAME", "help": "Only runs in whose trace this service takes part."},
    "--tag": {
        "multiple": True,
        "callback": _several,
        "metavar": "TAG",
        "help": "Only runs with this tag; with all, if repeated.",
    },
    "--where": {
        "multiple": True,
        "callback": _facts,
        "metavar": "K=V",
        "help": "Only runs where metadata.KEY, resource.KEY, step.KEY (of any step) or an attribute of the run is V: JSON, else text.",
    },
    "--text": {
        "metavar": "WORDS",
        "help": "Only runs with these words in question, answer, errors, inputs, outputs or messages.",
    },
    "--since": {"metavar": "TIME", "help": f"Only runs that started then or later: {_TIME_HELP}."},
    "--until": {"metavar": "TIME", "help": "Only runs that started before."},
    "--min-duration": {
        "metavar": "TIME",
        "help": "Only runs that took so long or longer: seconds, or 200ms, 1.5s, 2m.",
    },
    "--sort": {
        "type": click.Choice(["time", "duration", "steps", "tokens"]),
        "help": "The newest first, or those with the most of it.",
    },
}
"""Each filter: how it is written, and what click is to know of it; `dest` is its field, where that is not called so."""

source_argument = click.argument("source", required=False)
run_argument = click.argument("run", required=False)
service_option = click.option("--service", metavar="NAME", help="Look only at traces in which this service takes part.")
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
full_option = click.option("--full", is_flag=True, help="Show every step and every value whole.")


def filter_options(function: F) -> F:
    """Which runs of the source are meant."""
    for name, row in reversed(FILTERS.items()):
        names = [name, row["dest"]] if "dest" in row else [name]
        function = click.option(*names, **{key: value for key, value in row.items() if key != "dest"})(function)
    return function
