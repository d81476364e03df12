"""Read the scores that stand on spans, in every scheme in which evaluators and frameworks write them.

The conventions have one event for a score, ``gen_ai.evaluation.result``; log records of that name are events here. Others
write attributes of the span that was evaluated (OpenInference, Arize, Braintrust, MLflow, Langfuse), or of a span of
their own around it or within it (pydantic-evals, Logfire's annotations, TruLens, the evaluators of Phoenix and MLflow).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.formats.console_json import time_ns
from otel_agent_trace.model import Score
from otel_agent_trace.span import BODY_KEY, Event, SpanRecord
from otel_agent_trace.span_facts import text_of

_NAMES = (semconv.EVALUATION_NAME, "name", "assessment_name", "metric", "metric_name")
_VALUES = (semconv.EVALUATION_SCORE, "gen_ai.evaluation.score", "score", "value")
_LABELS = (semconv.EVALUATION_LABEL, "label", "string_value", "stringValue")
_EXPLANATIONS = (
    semconv.EVALUATION_EXPLANATION,
    "explanation",
    "reason",
    "rationale",
    "comment",
    "details",
    semconv.ERROR_TYPE,
)
_SOURCES = (
    *(semconv.SCORE_SOURCE, "gen_ai.evaluation.evaluator.source", "gen_ai.evaluation.source", "annotator_kind"),
    *("source", "kind", "source_id", "source_type"),
)
"""Attributes for who gave a score; what Phoenix calls `source` is how an annotation came, beside its `annotator_kind`."""
_TIMES = ("create_time", "timestamp")
_LANGWATCH_EVENT = "langwatch.evaluation.custom"
_VERDICTS = {True: "pass", False: "fail"}
"""Labels of assertions, as pydantic-evals writes them in its events, and of `passed`, which LangWatch has."""
_TYPES: dict[str, Callable[[Any], bool | int]] = {"bool": bool, "int": int, "BOOLEAN": bool}
"""Types of values that are written as doubles: those of our own tracer, and Langfuse's."""


def score_of(event: Event) -> Score | None:
    """Return the score that an event holds, None if it is no evaluation.

    Fields that are no attributes may be in the body of the log record that the event was.
    """
    if event.name == _LANGWATCH_EVENT:
        evaluation = parsed(event.attributes.get("json_encoded_event"))
        return _score(evaluation, event.time_ns, "") if isinstance(evaluation, Mapping) else None
    if not event.name.startswith(semconv.EVALUATION_EVENTS):
        return None
    body = parsed(event.attributes.get(BODY_KEY))
    fields = {**body, **event.attributes} if isinstance(body, Mapping) else event.attributes
    return _score(fields, event.time_ns, event.name.removeprefix(semconv.EVALUATION_EVENTS))


def is_around_runs(span: SpanRecord) -> bool:
    """Return whether a span is an evaluation of pydantic-evals, a case of one or an evaluator: no part of a run."""
    return span.scope.name == "pydantic-evals"


def scores_in_attributes(span: SpanRecord) -> tuple[Score, ...]:
    """Return the scores in the attributes of a span of another tracer."""
    if not _are_evidence(span.attributes):
        return ()
    return tuple([score for _, read in _SCHEMES for score in read(span)])


def without_scores(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return unread attributes without those that `scores_in_attributes` reads."""
    if not _are_evidence(attributes):
        return attributes
    return {key: value for key, value in attributes.items() if not (_IS_READ.match(key) or _EVAL_ATTRIBUTE.match(key))}


def _are_evidence(attributes: Mapping[str, Any]) -> bool:
    return not _EVIDENCE.isdisjoint(attributes) or any(key.startswith(_EVAL_PREFIXES) for key in attributes)


# ── schemes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_conventions(span: SpanRecord) -> Iterator[Score]:
    """Read a span that is itself an evaluation, as OpenSearch's SDK sends them."""
    if semconv.EVALUATION_NAME in span.attributes:
        yield from _given(span.attributes, span)


def _read_openinference(span: SpanRecord) -> Iterator[Score]:
    """Read ``evaluations.N.evaluation.*`` and ``annotations.N.annotation.*``."""
    attributes = Attributes(span)
    for prefix in ("evaluations", "annotations"):
        entries = attributes.under(prefix)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield from _given(entry.get(prefix[:-1]), span)


def _read_evaluators(span: SpanRecord) -> Iterator[Score]:
    """Read spans of evaluators, whose output is a score, or a list of them."""
    kinds = [parsed(span.attributes.get(key)) for key in _KINDS]
    if not any(str(kind).upper() == "EVALUATOR" for kind in kinds):
        return
    if not _DIRECT.isdisjoint(span.attributes):
        return  # `_read_eval_attributes` reads the same score
    name = _name_of_evaluator(span)
    output = next((parsed(span.attributes[key]) for key in _OUTPUTS if key in span.attributes), None)
    for item in output if isinstance(output, list) else [output]:
        yield from _given({"name": name, **item} if isinstance(item, dict) else {"name": name, "value": item}, span)


_KINDS = ("openinference.span.kind", "mlflow.spanType", "langfuse.observation.type")
_OUTPUTS = ("output.value", "mlflow.spanOutputs", "langfuse.observation.output")


def _read_eval_attributes(span: SpanRecord) -> Iterator[Score]:
    """Read ``eval.score`` and the like of one score, and ``eval.NAME.score`` of several, as Arize and Phoenix name them."""
    entries: dict[str, dict[str, Any]] = {}
    for key, value in span.attributes.items():
        found = _EVAL_ATTRIBUTE.match(key)
        if found and (found["name"] or not _DIRECT.isdisjoint(span.attributes)):
            entries.setdefault(found["name"] or _name_of_evaluator(span), {})[found["field"]] = value
    for name, entry in entries.items():
        yield from _given({"name": name, **entry}, span)


def _name_of_evaluator(span: SpanRecord) -> str:
    return text_of(span.attributes.get("eval.name")) or span.name.removesuffix(".evaluate")


_EVAL_PREFIXES = ("eval.", "trace_eval.", "session_eval.", "annotation.")
_EVAL_ATTRIBUTE = re.compile(
    r"(?:eval|(?:trace_eval|session_eval|annotation)(?=\..+\.))\.(?:(?P<name>.+)\.)?"
    r"(?P<field>name|score|value|label|explanation|reason|passed|annotator_kind)$"
)
_DIRECT = frozenset({"eval.score", "eval.label", "eval.passed"})


def _read_feedback(span: SpanRecord) -> Iterator[Score]:
    """Read an annotation of Logfire, a span below the one that it is about; the value has the name of the score."""
    name = text_of(span.attributes.get(_FEEDBACK))
    if name is not None:
        entry = {"value": span.attributes.get(name), "comment": span.attributes.get("logfire.feedback.comment")}
        yield from _given({"name": name, **entry}, span)


_FEEDBACK = "logfire.feedback.name"


def _read_trulens(span: SpanRecord) -> Iterator[Score]:
    """Read the span around an evaluation of TruLens; those below it have the parts of its score."""
    attributes = Attributes(span)
    root, part = attributes.under("ai.observability.eval_root"), attributes.under("ai.observability.eval")
    if isinstance(root, dict):
        yield from _given({**(part if isinstance(part, dict) else {}), **root}, span)


_TRULENS = "ai.observability.eval_root.score"


def _read_pydantic_evals(span: SpanRecord) -> Iterator[Score]:
    """Read the span of a case, which has objects of results by name."""
    if not is_around_runs(span):
        return
    for key in ("scores", "labels", "assertions"):
        results = parsed(span.attributes.get(key))
        for name, result in results.items() if isinstance(results, dict) else ():
            entry = result if isinstance(result, dict) else {"value": result}
            verdict = _VERDICTS.get(bool(entry.get("value"))) if key == "assertions" else None
            yield from _given({"name": name, **entry, **({"label": verdict} if verdict else {})}, span)


def _read_lists(span: SpanRecord) -> Iterator[Score]:
    """Read a list of scores, or an object of values by name, in one attribute."""
    for key in _LISTS:
        found = parsed(span.attributes.get(key))
        if isinstance(found, dict):
            for name, item in found.items():
                yield from _given(
                    {"name": name, **item} if isinstance(item, dict) else {"name": name, "value": item}, span
                )
        for item in found if isinstance(found, list) else ():
            yield from _given(item, span, _time_of(item))


_LISTS = (
    *("braintrust.scores", "mlflow.assessments", "mlflow.trace.assessments"),
    *("langfuse.trace.scores", "langfuse.observation.scores", "langfuse.scores"),
)

_SCHEMES: tuple[tuple[frozenset[str], Callable[[SpanRecord], Iterable[Score]]], ...] = (
    (frozenset({semconv.EVALUATION_NAME}), _read_conventions),
    (frozenset({"evaluations.0.evaluation.name", "annotations.0.annotation.name"}), _read_openinference),
    (frozenset(_KINDS), _read_evaluators),
    (frozenset(), _read_eval_attributes),
    (frozenset({_FEEDBACK}), _read_feedback),
    (frozenset({_TRULENS}), _read_trulens),
    (frozenset({"scores", "labels", "assertions"}), _read_pydantic_evals),
    (frozenset(_LISTS), _read_lists),
)
"""Schemes in which scores are written in attributes: names of which one is on every such span, and what reads them.

The names in `_read_eval_attributes` have the name of the score within them: `_EVAL_PREFIXES` is their evidence.
"""
_EVIDENCE = frozenset().union(*(names for names, _ in _SCHEMES))
_IS_READ = re.compile(
    r"(?:evaluations|annotations)\.\d+\.|gen_ai\.evaluation\.|logfire\.feedback\.|ai\.observability\.eval_root\.score$|"
    + "|".join(f"{re.escape(key)}$" for key in _LISTS)
)


# ── entries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _given(entry: Any, span: SpanRecord, at_ns: int | None = None) -> Iterator[Score]:
    """Yield the score in an entry of a span, if it has a value, a label or an explanation."""
    if not isinstance(entry, Mapping) or entry.get("valid") is False:  # MLflow keeps what was replaced
        return
    score = _score(entry, at_ns or span.end_ns or span.start_ns, "")
    if score is not None and score.name:
        yield score


def _time_of(entry: Any) -> int | None:
    with suppress(ValueError):  # a text that only looks like a time
        return time_ns(_first(entry, _TIMES)) if isinstance(entry, Mapping) else None
    return None


def _score(entry: Mapping[str, Any], at_ns: int, name: str) -> Score | None:
    value = _value_of(entry)
    label = None if entry.get("dataType") == "BOOLEAN" else text_of(_first(entry, _LABELS))
    if label is None and isinstance(passed := entry.get("passed"), bool):
        label = _VERDICTS[passed]
    if isinstance(value, str):
        value, label = None, label or value
    explanation = text_of(_first(entry, _EXPLANATIONS))
    if value is None and label is None and explanation is None:
        return None
    return Score(
        name=text_of(_first(entry, _NAMES)) or name,
        value=value,
        label=label,
        explanation=explanation,
        source=_source_of(entry),
        at_ns=at_ns,
    )


def _value_of(entry: Mapping[str, Any]) -> bool | int | float | str | None:
    """Return the number or bool of an entry; a text that is none is a label."""
    feedback = entry.get("feedback")  # of MLflow's assessments
    value = _first(feedback if isinstance(feedback, Mapping) else entry, _VALUES)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return str(value)
    if not isinstance(value, bool | int | float):
        return None
    restored = _TYPES.get(str(entry.get(semconv.SCORE_TYPE) or entry.get("dataType")))
    is_whole = type(value) is int or float(value).is_integer()
    return restored(value) if restored is not None and is_whole else value


def _source_of(entry: Mapping[str, Any]) -> str | None:
    """Return who gave a score, which may be an object, or JSON, with a name, an id or a kind."""
    source = parsed(_first(entry, _SOURCES))
    if isinstance(source, dict):
        source = _first(source, ("name", "source_id", "source_type"))
    return text_of(source)


def _first(entry: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((entry[name] for name in names if entry.get(name) not in (None, "")), None)
