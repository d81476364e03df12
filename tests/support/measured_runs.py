"""Runs with all that reports count: outcomes, errors, sub-agents, scores, tokens, prices, first chunks, repeated calls."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace.model import AgentRun, AgentStep, Message, RunStatus, Score, StepError, StepKind, Usage
from tests.support.sample_runs import BEGAN_NS

_NAMES = st.sampled_from(("search", "fetch", "", "x" * 201, "\u00fc"))
_SECOND_NS = 1_000_000_000
_ERRORS = st.builds(
    StepError,
    type=st.sampled_from(("builtins.ValueError", "http.429", "x" * 201)),
    message=st.sampled_from(("", "boom", "no such row 123456", "two\nlines", "m" * 900)),
    category=st.sampled_from(("other", "timeout", "own")),
)
_TOKENS = st.none() | st.integers(0, 5000)
_PARTS = st.none() | st.integers(0, 100)
_USAGES = st.none() | st.builds(
    Usage,
    input_tokens=_TOKENS,
    output_tokens=_TOKENS,
    cache_read_input_tokens=_PARTS,
    reasoning_output_tokens=_PARTS,
)
_SCORES = st.lists(
    st.builds(
        Score,
        name=st.sampled_from(("helpful", "correct")),
        value=st.sampled_from((None, True, False, 0.5, 1, 1.0, 0.1, -3, 2**60)),
        label=st.sampled_from((None, "good", "bad")),
        source=st.sampled_from((None, "HUMAN", "LLM")),
        at_ns=st.integers(BEGAN_NS, BEGAN_NS + 5),
    ),
    max_size=3,
).map(lambda scores: tuple(sorted(scores, key=lambda score: score.at_ns)))
_SIGNALS = st.sampled_from((None, None, "ask"))
_DURATIONS_NS = st.sampled_from((0, 1, 49, 50, 1_000_000)) | st.integers(0, 90 * _SECOND_NS)
_VALUES: tuple[Any, ...] = ("a", "1", 1, 1.0, None, "", [1])
_BANK: dict[str, Any] = {"service.name": "bank", "deployment.environment.name": "test", "n": 1}
_CALL = AgentStep(kind=StepKind.TOOL, name="search", input="a", ended_at_ns=1)
_FAILED_CALL = replace(_CALL, error=StepError(type="http.429", message="boom", category="other"))
_BELOW = "the tool before"
_REPEATS = st.sampled_from(((), (), (), (), (_FAILED_CALL, _CALL, _CALL), (_FAILED_CALL, _FAILED_CALL)))
"""Calls that loop, and that are retries."""
_LOOPS = st.just((_FAILED_CALL, _CALL, _CALL))
_MODEL_CALL = AgentStep(
    kind=StepKind.MODEL,
    name="m-1",
    model="m-1",
    usage=Usage(input_tokens=1000, output_tokens=10),
    attributes={"gen_ai.request.model": "m"},
    ended_at_ns=1,
    parent_step_id=_BELOW,
)
_NESTED = st.just((_CALL, _MODEL_CALL, _MODEL_CALL))
"""Calls of a model that a tool makes."""
_RESOURCES = st.sampled_from(({}, {"service.name": "shop", "service.version": "2"}, _BANK))
_INPUTS = st.sampled_from((None, "a", "a", "a", {"query": "b"}))
_MESSAGES = (Message(role="user", parts=({"type": "text", "content": "Will it rain?"},)),)
_CHUNKS_NS = st.sampled_from((None, None, 0, 3, 1_000_000))
_REQUESTS: tuple[dict[str, Any], ...] = (
    {},
    {"gen_ai.request.model": "m"},
    {"gen_ai.request.model": "m", "gen_ai.provider.name": "openai"},
    {"gen_ai.provider.name": "acme"},
)
PRICES = {"m": {"input": 3.0, "output": 15.0, "cache_read": 0.25}, "acme/m-1": {"input": 1.5, "output": 2}}
"""Prices of some of the calls."""


@st.composite
def measured_runs(draw: st.DrawFn, number: int = 0, depth: int = 1, *, is_plain: bool = False) -> AgentRun:
    """A run under an id of its own, which began within two hours; a plain one is over, and has no scores and signals."""
    trace_id = f"{number + 1:032x}"
    began_ns = BEGAN_NS + draw(st.integers(0, 7200)) * _SECOND_NS
    return _placed(draw(_runs(depth, is_plain)), trace_id, began_ns, iter(range(1, 10_000)))


@st.composite
def _runs(draw: st.DrawFn, depth: int, is_plain: bool) -> AgentRun:
    statuses = [status for status in RunStatus if not (is_plain and status is RunStatus.RUNNING)]
    status = draw(st.sampled_from((*statuses, RunStatus.SUCCESS)))
    is_failed = status in (RunStatus.ERROR, RunStatus.TIMEOUT)
    metadata: dict[str, Any] = draw(st.dictionaries(st.sampled_from(("tenant", "tier")), st.sampled_from(_VALUES)))
    return AgentRun(
        run_id="",
        agent_name=draw(st.sampled_from((None, "weather", "planner"))),
        user_input="Will it rain?",
        status=status,
        error=draw(_ERRORS) if is_failed and draw(st.booleans()) else None,
        interrupted_for=draw(_SIGNALS) if status is RunStatus.SUCCESS and not is_plain else None,
        ended_at_ns=None if status is RunStatus.RUNNING else draw(_DURATIONS_NS),
        first_chunk_at_ns=None if is_plain else draw(_CHUNKS_NS),
        final_output="No." if status is RunStatus.SUCCESS else None,
        usage=draw(_USAGES),
        user_id=draw(st.sampled_from((None, "user-1"))),
        session_id=draw(st.sampled_from((None, "s-1"))),
        tags=tuple(draw(st.sampled_from(((), ("a",), ("a", "b"))))),
        prompt_name=draw(st.sampled_from((None, "greeting"))),
        metadata=metadata,
        resource=draw(_RESOURCES),
        replay_of=draw(st.sampled_from((None, None, None, "0" * 31 + "9"))),
        sampling_probability=None if is_plain else draw(st.sampled_from((None, None, 0.1, 0.5, 1.0, 3.0))),
        scores=() if is_plain else draw(_SCORES),
        steps=(
            *(draw(_steps(depth, is_plain)) for _ in range(draw(st.integers(0, 4)))),
            *draw(_REPEATS if is_plain else _REPEATS | _LOOPS | _NESTED),
        ),
    )


@st.composite
def _steps(draw: st.DrawFn, depth: int, is_plain: bool) -> AgentStep:
    kinds = (StepKind.TOOL, StepKind.MODEL, StepKind.RETRIEVAL, StepKind.OTHER)
    kind = draw(st.sampled_from((*kinds, StepKind.AGENT) if depth else kinds))
    error = draw(st.none() | _ERRORS)
    step = AgentStep(
        kind=kind,
        name=draw(_NAMES),
        error=error,
        abandoned=draw(st.sampled_from((False, False, True))),
        interrupted_for=draw(_SIGNALS) if error is None and not is_plain else None,
        ended_at_ns=draw(_DURATIONS_NS if is_plain else st.none() | _DURATIONS_NS),
        scores=draw(_SCORES) if kind is StepKind.TOOL and not is_plain else (),
        prompt_name=draw(st.sampled_from((None, "inner"))) if kind is StepKind.MODEL else None,
    )
    if kind is StepKind.TOOL:
        return replace(step, input=draw(_INPUTS))
    if kind is StepKind.AGENT:
        return replace(step, run=draw(_runs(depth - 1, is_plain)), scores=())
    if kind is StepKind.MODEL:
        chunk_ns = None if is_plain else draw(_CHUNKS_NS)
        requested = draw(st.sampled_from(_REQUESTS))
        messages = draw(st.sampled_from(((), _MESSAGES)))
        return replace(
            step,
            **{"name": "m-1", "model": "m-1", "usage": draw(_USAGES), "attributes": requested},
            **{"first_chunk_at_ns": chunk_ns, "messages": messages},
            parent_step_id=_BELOW if not is_plain and draw(st.booleans()) else None,
        )
    return step


def _placed(run: AgentRun, trace_id: str, began_ns: int, ids: Any) -> AgentRun:
    """Return a run with ids and times; its `ended_at_ns`, and that of each step, was a duration."""
    span_id = f"{next(ids):016x}"
    tools = [0, *(number for number, step in enumerate(run.steps, 1) if step.kind is StepKind.TOOL)]
    steps = tuple(
        replace(
            _placed_step(step, index, trace_id, began_ns, ids),
            parent_step_id=max(tool for tool in tools if tool <= index) or None if step.parent_step_id else None,
        )
        for index, step in enumerate(run.steps)
    )
    return replace(
        run,
        run_id=f"{trace_id}-{span_id}",
        trace_id=trace_id,
        span_id=span_id,
        started_at_ns=began_ns,
        ended_at_ns=_ended(run, began_ns),
        first_chunk_at_ns=_first_chunk(run, began_ns),
        steps=steps,
    )


def _placed_step(step: AgentStep, index: int, trace_id: str, began_ns: int, ids: Any) -> AgentStep:
    begins_ns = began_ns + index + 1
    run = None if step.run is None else _placed(step.run, trace_id, begins_ns, ids)
    return replace(
        step,
        step_id=index + 1,
        index=index,
        started_at_ns=begins_ns,
        first_chunk_at_ns=_first_chunk(step, begins_ns),
        ended_at_ns=_ended(step, begins_ns) if run is None else run.ended_at_ns,
        span_id=f"{next(ids):016x}" if run is None else run.span_id,
        run=run,
    )


def _ended(item: AgentRun | AgentStep, began_ns: int) -> int | None:
    return None if item.ended_at_ns is None else began_ns + item.ended_at_ns


def _first_chunk(item: AgentRun | AgentStep, began_ns: int) -> int | None:
    return None if item.first_chunk_at_ns is None else began_ns + item.first_chunk_at_ns
