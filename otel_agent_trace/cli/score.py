"""Define ``otel-agent-trace score``: what a person thinks of a run, in its local store."""

from __future__ import annotations

from collections.abc import Sequence

import click

from otel_agent_trace.cli.options import json_option
from otel_agent_trace.cli.sources import local_source, run_of, target_of
from otel_agent_trace.cli.streams import write_json
from otel_agent_trace.tracing.file_scores import score_in_file, scored_file
from otel_agent_trace.views.escape import escaped_line

_MOST_WORDS = 3
_WORDS = {"true": True, "false": False}


@click.command("score")
@click.argument("words", nargs=-1, required=True, metavar="[SOURCE] [RUN] NAME[=VALUE]")
@click.option("--label", metavar="LABEL", help="A word for the score, such as pass.")
@click.option("--explanation", metavar="TEXT", help="Why.")
@click.option("--step", "step_id", metavar="ID", help="Score this step of the run.")
@click.option(
    "--source", "given_by", metavar="WHO", help="Who thinks so: HUMAN, LLM, CODE, or the name of an evaluator."
)
@json_option
def command(
    words: Sequence[str],
    *,
    label: str | None,
    explanation: str | None,
    step_id: str | None,
    given_by: str | None,
    as_json: bool,
) -> None:
    """Add a score to a run of the local file SOURCE, as a further line of it.

    VALUE is a number, true or false; any other text is a label. RUN is a run id, the beginning of one, or "last" (the
    default); SOURCE#RUN names both in one word.
    """
    *names, word = words
    if len(words) > _MOST_WORDS:
        raise click.UsageError("give at most SOURCE, RUN and NAME=VALUE", click.get_current_context())
    name, sign, text = word.partition("=")
    value = _value_of(text) if sign else None
    if isinstance(value, str) and label is not None:
        msg = f"{word!r}: a value beside --label must be a number, true or false"
        raise click.UsageError(msg, click.get_current_context())
    label, value = (value, None) if isinstance(value, str) else (label, value)
    first, second, *_ = (*names, None, None)
    path = scored_file(local_source(target_of(first, second).source))
    run = run_of(first, second, None)
    about = {"label": label, "explanation": explanation, "step_id": step_id, "source": given_by}
    score_in_file(path, run.run_id, name, value, **about)
    if as_json:
        given = {"name": name, "value": value, "label": label, "explanation": explanation, "source": given_by}
        write_json({"run_id": run.run_id, "step_id": step_id, **given})
    else:
        what = f"run {run.run_id}" if step_id is None else f"step {step_id} of run {run.run_id}"
        print(escaped_line(f"{what} scored: {word}"))  # noqa: T201


def _value_of(text: str) -> float | str:
    """Return the number or bool that a text is, else the text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
