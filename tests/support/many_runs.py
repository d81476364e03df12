"""Stores of very many small runs, which are written fast: lines of a few kinds, with other ids, times and figures in each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepError, StepKind, Usage
from tests.support.mixed_traces import SECOND_NS, of_ours

AGENTS = tuple(f"agent-{number}" for number in range(12))
TOOLS = tuple(f"tool-{number}" for number in range(20))
_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5")
_PROVIDERS = {"gpt-4o": "openai", "gpt-4o-mini": "openai", "claude-sonnet-4-5": "anthropic"}
_KINDS = 600
_DAYS = 30
_SEGMENTS = 4
_ERRORS = (
    StepError(type="TimeoutError", message="no answer within 10 s", category="timeout"),
    StepError(type="KeyError", message="'order_id'", category="other"),
)
_TRACE, _SPANS, _TOKENS = "f" * 32, ("e" * 16, "d" * 16, "c" * 16, "b" * 16), 777_777
_BEGAN_NS, _STARTS_NS, _ENDED_NS = 10**18, (10**18 + 1, 10**18 + 2, 10**18 + 3), 2 * 10**18
_PLACES = {
    _TRACE: "%(trace)032x",
    **{span: f"%(number)014x{place:02x}" for place, span in enumerate(_SPANS)},
    f'"{_TOKENS}"': '"%(tokens)d"',
    str(_BEGAN_NS): "%(began_ns)d",
    **{str(start_ns): f"%(start_{place}_ns)d" for place, start_ns in enumerate(_STARTS_NS)},
    str(_ENDED_NS): "%(ended_ns)d",
    "NUMBER": "%(number)d",
    "USER": "%(user)d",
    "SESSION": "%(session)d",
}


def write_many_runs(folder: Path, count: int, until_ns: int) -> Path:
    """Write a store of several segments with so many runs in the month before a moment, one in 20 of which failed."""
    chance = random.Random(count)
    kinds = [_line(chance) for _ in range(_KINDS)]
    bounds = [count * number // _SEGMENTS for number in range(_SEGMENTS + 1)]
    live = folder / "traces.jsonl"
    paths = [live.with_name(f"{live.name}.{number}") for number in range(_SEGMENTS - 1, 0, -1)] + [live]
    for path, (begin, end) in zip(paths, itertools.pairwise(bounds), strict=True):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(_lines(chance, kinds, range(begin, end), count, until_ns))
    return live


def _lines(chance: random.Random, kinds: list[str], numbers: range, count: int, until_ns: int) -> Iterator[str]:
    for number in numbers:
        began_ns = until_ns - (count - number) * _DAYS * 86_400 * SECOND_NS // count
        values = {
            "trace": chance.getrandbits(128),
            "number": number,
            "tokens": chance.randrange(200, 20_000),
            "began_ns": began_ns,
            **{f"start_{place}_ns": began_ns + 1_000 * (place + 1) for place in range(3)},
            "ended_ns": began_ns + chance.randrange(10**8, 10**11),
            "user": number % 5_000,
            "session": number // 3,
        }
        yield kinds[number % len(kinds)] % values


def _line(chance: random.Random) -> str:
    """Return the line of a run, with places for what each has of its own."""
    model, agent = chance.choice(_MODELS), chance.choice(AGENTS)
    error = chance.choice(_ERRORS) if chance.random() < 0.05 else None
    usage = Usage(input_tokens=_TOKENS, output_tokens=120)
    provider = {"gen_ai.provider.name": _PROVIDERS[model]}
    tools = chance.sample(TOOLS, chance.choice((1, 1, 1, 2)))
    called = _step(0, kind=StepKind.MODEL, name=model, model=model, usage=usage, attributes=provider)
    steps = [_step(place, name=name, input={"order": 48213}, output="ok") for place, name in enumerate(tools, 1)]
    run = AgentRun(
        run_id=_TRACE,
        trace_id=_TRACE,
        span_id=_SPANS[3],
        agent_name=agent,
        user_input="Where is my order NUMBER?",
        final_output=None if error else "It is on its way.",
        user_id="user-USER",
        session_id="session-SESSION",
        status=RunStatus.ERROR if error else RunStatus.SUCCESS,
        error=error,
        started_at_ns=_BEGAN_NS,
        ended_at_ns=_ENDED_NS,
        tags=("production",),
        steps=(called, *steps),
    )
    text = otlp_json.encode(of_ours(run)).decode().replace("%", "%%")
    for known, place in _PLACES.items():
        text = text.replace(known, place)
    return text + "\n"


def _step(place: int, **fields: Any) -> AgentStep:
    times: dict[str, Any] = {"started_at_ns": _STARTS_NS[place], "ended_at_ns": _ENDED_NS}
    return AgentStep(step_id=place + 1, index=place, span_id=_SPANS[place], **times, **fields)
