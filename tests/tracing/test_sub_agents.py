"""Agents that call agents: steps of the one, runs of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    RunStatus,
    StepKind,
    current_run,
    load_run,
)

TheRun = Callable[[], AgentRun]


def test_two_levels(tracer: AgentTracer, the_run: TheRun) -> None:
    """Each agent is a step of the one that called it, with a run that alone holds its steps."""

    @tracer.tool
    def search(q: str) -> str:
        return q

    @tracer.agent
    def inner(q: str) -> str:
        search("inner")
        return "from inner"

    @tracer.agent
    def middle(q: str) -> str:
        search("middle")
        return inner(q)

    @tracer.agent
    def outer(q: str) -> str:
        search("outer")
        result = middle(q)
        search("again")
        return result

    assert outer("q") == "from inner"
    top = the_run()
    assert [(step.name, step.kind.value, step.index) for step in top.steps] == [
        ("search", "tool", 0),
        ("middle", "agent", 1),
        ("search", "tool", 2),
    ]
    runs = list(top.walk())
    assert [run.agent_name for run in runs] == ["outer", "middle", "inner"]
    assert top.run_id == top.trace_id
    for above, below in zip(runs, runs[1:], strict=False):
        assert below.run_id == f"{below.trace_id}-{below.span_id}"
        assert below.parent_run_id == above.run_id
        assert below.trace_id == top.trace_id
    assert top.parent_run_id is None
    assert [[step.input for step in run.tool_steps] for run in runs] == [
        [{"q": "outer"}, {"q": "again"}],
        [{"q": "middle"}],
        [{"q": "inner"}],
    ]
    (step,) = (step for step in top.steps if step.kind is StepKind.AGENT)
    assert (step.input, step.output) == ("q", "from inner") == (step.run.user_input, step.run.final_output)


def test_every_step_carries_the_id_of_its_run(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """On the wire, each span says which run it belongs to: a sub-agent's own."""
    with tracer.run(run_id="top", agent_name="a") as top, top.step("s"):
        with tracer.run(run_id="sub", agent_name="b") as sub, sub.step("t"):
            pass
    ids = {span.name: span.attributes["agent_trace.run.id"] for span in memory.spans()}
    assert ids == {
        "invoke_agent a": "top",
        "execute_tool s": "top",
        "invoke_agent b": "sub",
        "execute_tool t": "sub",
    }
    assert all("gen_ai.agent.id" not in span.attributes for span in memory.spans())
    (run,) = memory.runs()
    assert [(step.name, step.parent_step_id) for step in run.steps] == [("s", None), ("b", 1)]


def test_gathered_sub_agents(tracer: AgentTracer, the_run: TheRun) -> None:
    """Sub-agents that run at once keep their steps to themselves."""

    @tracer.tool
    async def work(number: int, i: int) -> int:
        await asyncio.sleep(0)
        return i

    @tracer.agent
    async def sub(number: int) -> int:
        for i in range(3):
            assert current_run().user_input == number
            await work(number, i)
        return number

    @tracer.agent
    async def main(count: int) -> int:
        return sum(await asyncio.gather(*map(sub, range(count))))

    assert asyncio.run(main(10)) == 45
    top = the_run()
    assert len(top.steps) == 10
    for step in top.steps:
        assert step.run.parent_run_id == top.run_id
        assert [item.input for item in step.run.steps] == [{"number": step.run.user_input, "i": i} for i in range(3)]
    assert len({step.run.run_id for step in top.steps}) == 10


def test_a_failing_sub_agent(tracer: AgentTracer, the_run: TheRun) -> None:
    """An error of a sub-agent that its caller catches is the sub-agent's alone."""

    @tracer.agent
    def sub() -> None:
        raise TimeoutError("slow")

    @tracer.agent
    def main() -> str:
        try:
            sub()
        except TimeoutError:
            return "recovered"
        return ""

    main()
    top = the_run()
    assert (top.status, top.error) == (RunStatus.SUCCESS, None)
    assert (top.steps[0].error.type, top.steps[0].run.status) == ("TimeoutError", RunStatus.TIMEOUT)


def test_a_run_with_a_remote_parent() -> None:
    """A run whose parent is a span of another process has the id of its trace and of its span."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    remote = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(0))
    with trace.use_span(NonRecordingSpan(remote)), tracer.run() as run:
        pass
    (read,) = memory.runs()
    assert read.run_id == run.run_id == f"{0xABC:032x}-{read.span_id}"
    assert read.parent_run_id is None


def test_ids_below_a_span_of_the_host() -> None:
    """A run below an ordinary span of the program is outermost, although its span is not the root."""
    memory = InMemoryBackend()
    provider = TracerProvider()
    provider.add_span_processor(AgentSpanProcessor(memory))
    tracer = AgentTracer(tracer_provider=provider)
    with provider.get_tracer("web").start_as_current_span("POST /chat"), tracer.run() as run:
        pass
    (read,) = memory.runs()
    assert (read.run_id, read.parent_run_id) == (f"{run.trace_id}-{run.span_id}", None)


def test_agents_of_two_tracers(memory: InMemoryBackend) -> None:
    """An agent that calls one of another tracer with a backend of its own: each backend has its own run, a whole one."""
    other_memory = InMemoryBackend()
    one, two = AgentTracer(backend=memory), AgentTracer(backend=other_memory)

    @two.agent
    def sub() -> None:
        pass

    @one.agent
    def main() -> None:
        sub()

    main()
    (run,) = memory.runs()
    (other,) = other_memory.runs()
    assert (run.agent_name, run.steps) == ("main", ())
    assert (other.agent_name, other.parent_run_id, other.status) == ("sub", None, RunStatus.SUCCESS)
    assert other.trace_id == run.trace_id


def test_nested_runs_are_found_by_their_ids(tmp_path: Path) -> None:
    """The id of a sub-agent's run finds it in the file."""
    path = f"{tmp_path}/t.jsonl"
    with AgentTracer(backend=FileBackend(path)) as tracer:
        with tracer.run(agent_name="a"), tracer.run(agent_name="b") as sub, sub.step("t"):
            pass
    found = load_run(path, sub.run_id)
    assert (found.agent_name, [step.name for step in found.steps]) == ("b", ["t"])


def test_unsampled_parents_are_no_parents() -> None:
    """Where nothing is recorded ids are random, and no run claims to be another's child."""
    provider = TracerProvider(sampler=ALWAYS_OFF)
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run() as outer, tracer.run() as inner:
        assert len({outer.run_id, inner.run_id, outer.trace_id}) == 3
        assert inner.parent_run_id is None
        assert not inner.recording


# ── session and user ─────────────────────────────────────────────────────────────────────────────────────────────────


def sessions(run: AgentRun) -> list[tuple[str | None, str | None, str | None]]:
    return [(each.agent_name, each.session_id, each.user_id) for each in run.walk()]


def test_sub_agents_have_session_and_user_of_the_run(memory: InMemoryBackend, the_run: TheRun) -> None:
    tracer = AgentTracer(backend=memory, user_ids="plain")
    search = tracer.tool("search")(lambda: None)
    sub = tracer.agent("sub")(search)
    with tracer.run(agent_name="outer", session_id="s1", user_id="u1"):
        sub()
    assert sessions(the_run()) == [("outer", "s1", "u1"), ("sub", "s1", "u1")]
    assert [span.attributes["gen_ai.conversation.id"] for span in memory.spans()] == ["s1"] * 3
    assert [span.attributes["user.id"] for span in memory.spans()] == ["u1"] * 3
    assert the_run().steps[0].run is not None
    assert the_run().steps[0].run.steps[0].attributes == {}


def test_a_session_that_is_set_later_is_that_of_sub_agents_that_start_then(
    tracer: AgentTracer, memory: InMemoryBackend, the_run: TheRun
) -> None:
    with tracer.run(agent_name="outer") as run:
        with tracer.run(agent_name="early"):
            run.session_id = "s1"
        with tracer.run(agent_name="late"), current_run().step("s"):
            pass
    assert [(name, session) for name, session, _ in sessions(the_run())] == [
        ("outer", "s1"),
        ("early", None),
        ("late", "s1"),
    ]
    (step_span,) = (span for span in memory.spans() if span.name == "execute_tool s")
    assert step_span.attributes["gen_ai.conversation.id"] == "s1"


def test_a_session_of_its_own_counts_for_a_sub_agent_and_all_below(memory: InMemoryBackend, the_run: TheRun) -> None:
    """Also one that is bound within the run; one that is bound around the run does not override the run's."""
    tracer = AgentTracer(backend=memory, user_ids="plain")
    with tracer.bind(session_id="bound", user_id="bound"):
        with tracer.run(agent_name="outer", session_id="s1"):
            with tracer.run(agent_name="own", session_id="s2", user_id="u2"), tracer.run(agent_name="below"):
                pass
            with tracer.bind(metadata={"a": 1}), tracer.run(agent_name="inherits"):
                pass
            with tracer.bind(session_id="s3"), tracer.run(agent_name="binds"):
                pass
    assert sessions(the_run()) == [
        ("outer", "s1", "bound"),
        ("own", "s2", "u2"),
        ("below", "s2", "u2"),
        ("inherits", "s1", "bound"),
        ("binds", "s3", "bound"),
    ]


def test_a_parent_that_is_passed_gives_its_session(tracer: AgentTracer, the_run: TheRun) -> None:
    run_id = tracer.start_run(agent_name="outer", session_id="s1")
    tracer.end_run(tracer.start_run(agent_name="sub", parent=run_id))
    tracer.end_run(run_id)
    assert [session for _, session, _ in sessions(the_run())] == ["s1", "s1"]


def test_an_inherited_user_is_recorded_as_the_tracer_requires(memory: InMemoryBackend) -> None:
    """The pseudonym of the run above is not hashed again; a tracer without user ids inherits none."""
    tracer = AgentTracer(backend=memory)
    silent = AgentTracer(tracer_provider=tracer._own, user_ids="none")  # noqa: SLF001 - there is no public way
    with tracer.run(user_id="u1"):
        with tracer.run(agent_name="sub"):
            pass
        with silent.run(agent_name="silent"):
            pass
    (run,) = memory.runs()
    assert run.user_id is not None
    assert run.user_id.startswith("hmac:")
    assert [user for _, _, user in sessions(run)] == [run.user_id, run.user_id, None]
