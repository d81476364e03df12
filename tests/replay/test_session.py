"""What a replay does at misses, with live calls, patches, and at its end; what it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    ConfigurationError,
    FileBackend,
    InMemoryBackend,
    Raises,
    ReplayDivergence,
    StepKind,
    Truncated,
    compute_metrics,
    configure,
    fork_run,
    load_runs,
    replay_run,
)
from otel_agent_trace.testing import capture_runs


class Agent:
    """An agent whose tools note each call that is made."""

    def __init__(self, tracer: AgentTracer) -> None:
        self.made: list[Any] = []
        self.queries = ["a", "b"]

        @tracer.tool
        def search(query: str, limit: int = 5) -> str:
            self.made.append(query)
            return f"found {query}"

        @tracer.model
        def decide(messages: list[dict[str, str]]) -> str:
            self.made.append("model")
            return "go on"

        @tracer.agent(name="helper")
        def helper(query: str) -> str:
            return search(query)

        @tracer.agent(name="bot")
        def bot(question: str) -> str:
            for query in self.queries:
                search(query)
            helper("below")
            return decide([{"role": "user", "content": question}])

        self.search, self.bot, self.helper = search, bot, helper


@pytest.fixture
def agent(tracer: AgentTracer) -> Agent:
    return Agent(tracer)


@pytest.fixture
def run(agent: Agent, memory: InMemoryBackend) -> AgentRun:
    agent.bot("why?")
    agent.made.clear()
    return memory.runs()[0]


def test_a_session_tells_what_happened(agent: Agent, run: AgentRun, memory: InMemoryBackend, trace_file: Path) -> None:
    before = trace_file.read_bytes()
    with replay_run(run) as session:
        assert agent.bot("why?") == "go on"
    assert (session.answered, session.live, session.divergences) == (["search", "search", "search", "decide"], [], [])
    new = session.run
    assert new is not None
    assert (new.replay_of, new.agent_name, new.user_input) == (run.run_id, "bot", "why?")
    assert [(step.name, step.output) for step in new.steps] == [(step.name, step.output) for step in run.steps]
    assert new.run_id != run.run_id
    assert memory.runs() == [run], "spans went where the tracer sends them"
    assert trace_file.read_bytes() == before
    assert agent.made == []


def test_the_address_of_a_run(agent: Agent, run: AgentRun, trace_file: Path) -> None:
    with replay_run(f"{trace_file}#{run.run_id}") as session:
        agent.bot("why?")
    assert len(session.answered) == 4
    with replay_run(str(trace_file)):
        agent.bot("why?")


def test_a_decorator_is_a_replay_of_its_own_at_each_call(agent: Agent, run: AgentRun) -> None:
    @replay_run(run)
    def check(question: str) -> str:
        return agent.bot(question)

    @replay_run(run)
    async def later() -> str:
        await asyncio.sleep(0)
        return agent.bot("why?")

    assert [check("why?"), check("why?"), asyncio.run(later())] == ["go on"] * 3
    with pytest.raises(ReplayDivergence, match="other"):
        check("other?")
    assert agent.made == []


def test_another_question_is_another_run(agent: Agent, run: AgentRun) -> None:
    with pytest.raises(ReplayDivergence, match='agent bot "how[?]" was started'), replay_run(run):
        agent.bot("how?")


@pytest.mark.parametrize("swallow", [Exception, BaseException])
def test_a_difference_is_raised_at_the_end_whatever_the_agent_does(
    agent: Agent, run: AgentRun, swallow: type[BaseException]
) -> None:
    agent.queries[1] = "other"
    with pytest.raises(ReplayDivergence) as caught:
        with replay_run(run) as session:
            try:
                agent.bot("why?")
            except swallow as error:
                assert swallow is BaseException
                assert isinstance(error, ReplayDivergence)
    assert caught.value.facts() == session.divergences[0].facts()
    assert not isinstance(caught.value, Exception)
    assert caught.value.step == "2"
    assert agent.made == []


def test_what_nobody_asked_for(agent: Agent, run: AgentRun) -> None:
    del agent.queries[1]
    with pytest.raises(
        ReplayDivergence, match=r'tool search \{"query":"b"\} \(step 2\) was recorded, but never asked for'
    ):
        with replay_run(run):
            agent.bot("why?")
    with pytest.raises(ReplayDivergence, match="agent bot .* never asked for"), replay_run(run):
        pass


def test_an_error_of_the_program_is_the_cause(agent: Agent, run: AgentRun, tracer: AgentTracer) -> None:
    @tracer.agent(name="bot")
    def broken(question: str) -> None:
        agent.search("a")
        raise ZeroDivisionError

    with pytest.raises(ReplayDivergence) as caught, replay_run(run):
        broken("why?")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(KeyboardInterrupt), replay_run(run):
        raise KeyboardInterrupt


# ── misses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_live_misses_are_made(agent: Agent, run: AgentRun) -> None:
    agent.queries[1] = "other"
    with replay_run(run, on_miss="live") as session:
        agent.bot("why?")
    assert (agent.made, session.live) == (["other"], ["search"])
    assert [divergence.name for divergence in session.divergences] == ["search"]


def test_the_nearest_answers(agent: Agent, run: AgentRun) -> None:
    agent.queries[1] = "bb"
    with replay_run(run, on_miss="nearest") as session:
        agent.bot("why?")
    assert agent.made == []
    assert session.run is not None
    assert [step.output for step in session.run.steps][1] == "found b"
    assert len(session.divergences) == 1


def test_an_error_is_one_that_the_agent_may_handle(agent: Agent, run: AgentRun, tracer: AgentTracer) -> None:
    @tracer.agent(name="bot")
    def careful(question: str) -> str:
        try:
            return agent.search("unknown")
        except Exception as error:
            return type(error).__name__

    with replay_run(run, on_miss="error") as session:
        assert careful("why?") == "ReplayDivergenceError"
    assert agent.made == []
    assert session.divergences[0].name == "search"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (Truncated("x", 100, "bytes"), "truncated"),
        ({"deep": [Truncated("x", 100, "bytes")]}, r"output.deep\[0\]"),
    ],
)
def test_what_cannot_be_given_back_is_refused_by_name_and_path(
    agent: Agent, run: AgentRun, given: Any, reason: str
) -> None:
    data = run.steps[0]
    import msgspec

    changed = msgspec.structs.replace(run, steps=(msgspec.structs.replace(data, output=given), *run.steps[1:]))
    for mode in ("fail", "nearest"):
        with pytest.raises(ReplayDivergence, match=f"search.*step 1.*{reason}"), replay_run(changed, on_miss=mode):
            agent.bot("why?")
    assert agent.made == []
    with replay_run(changed, on_miss="live"):
        agent.bot("why?")
    assert agent.made == ["a"]
    with pytest.raises(Exception, match="step 1"), replay_run(changed, on_miss="error"):
        agent.bot("why?")


def test_what_was_not_captured_is_refused(memory: InMemoryBackend) -> None:
    tracer = AgentTracer(backend=memory)
    made = []

    @tracer.tool(capture=False)
    def secret(key: str) -> str:
        made.append(key)
        return "x"

    @tracer.tool
    def nothing() -> None:
        made.append("nothing")

    @tracer.agent
    def bot() -> Any:
        nothing()
        return secret("k")

    bot()
    made.clear()
    with pytest.raises(ReplayDivergence, match="secret.*not captured"), replay_run(memory.runs()[0]):
        bot()
    assert made == []


def test_a_killed_run_is_resumed(agent: Agent, run: AgentRun) -> None:
    import msgspec

    open_step = msgspec.structs.replace(run.steps[1], ended_at_ns=None, output=None)
    killed = msgspec.structs.replace(run, steps=(run.steps[0], open_step), ended_at_ns=None, final_output=None)
    with pytest.raises(ReplayDivergence, match="interrupted"), replay_run(killed):
        agent.bot("why?")
    assert agent.made == []
    with replay_run(killed, on_miss="live") as session:
        assert agent.bot("why?") == "go on"
    assert agent.made == ["b", "below", "model"]
    assert session.answered == ["search"]


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_named_tools_are_live(agent: Agent, run: AgentRun) -> None:
    with replay_run(run, live={"search"}) as session:
        agent.bot("why?")
    assert agent.made == ["a", "b", "below"]
    assert (session.live, session.answered, session.divergences) == (["search"] * 3, ["decide"], [])


def test_patches_answer_in_place_of_the_recording(agent: Agent, run: AgentRun) -> None:
    below = f"{run.steps[2].step_id}/1"
    with replay_run(run, patch={1: "patched", below: "also"}) as session:
        agent.bot("why?")
    assert session.run is not None
    assert session.run.steps[0].output == "patched"
    helper = session.run.steps[2].run
    assert helper is not None
    assert helper.final_output == "also"
    with pytest.raises(TimeoutError), replay_run(run, patch={4: Raises(TimeoutError)}):
        agent.bot("why?")
    assert agent.made == []


def test_a_replay_until_a_step(agent: Agent, run: AgentRun) -> None:
    with replay_run(run, until=1) as session:
        agent.queries[1] = "other"
        agent.bot("why?")
    assert agent.made == ["other", "below", "model"]
    assert session.answered == ["search"]
    agent.queries[0] = "changed before"
    with pytest.raises(ReplayDivergence), replay_run(run, until=2):
        agent.bot("why?")


def test_a_fork_is_live_from_a_step_on(agent: Agent, run: AgentRun) -> None:
    backend = InMemoryBackend()
    with fork_run(run, at=3, patch={2: "patched"}, backend=backend) as session:
        agent.bot("why?")
    assert agent.made == ["below", "model"]
    (new,) = backend.runs()
    assert new.replay_of == run.run_id
    assert new.steps[1].output == "patched"
    assert session.run == new
    with fork_run(run, at=1):
        agent.bot("why?")
    assert agent.made[2:] == ["a", "b", "below", "model"]


def test_ignored_parameters_are_not_compared(agent: Agent, run: AgentRun) -> None:
    agent.queries[:] = ["x", "y"]
    with pytest.raises(ReplayDivergence), replay_run(run):
        agent.bot("why?")
    with replay_run(run, ignore={"search": ["query"]}):
        agent.bot("why?")
    assert agent.made == []


def test_defaults_of_todays_signature_count(agent: Agent, run: AgentRun, tracer: AgentTracer) -> None:
    @tracer.agent(name="bot")
    def explicit(question: str) -> None:
        agent.search("a", limit=5)
        agent.search(limit=5, query="b")

    with replay_run(run, on_miss="error") as session:
        explicit("why?")
    assert session.answered == ["search", "search"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"on_miss": "maybe"}, "on_miss='maybe' must be one of fail, nearest, live, error"),
        ({"patch": {9: 1}}, "patch=9: there is no such step"),
        ({"patch": {"3/9": 1}}, "patch='3/9'"),
        ({"until": 12}, "until=12"),
    ],
)
def test_options_that_name_nothing(run: AgentRun, options: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        replay_run(run, **options)


def test_a_second_replay_at_once(agent: Agent, run: AgentRun) -> None:
    with replay_run(run, on_miss="error"):
        with pytest.raises(ConfigurationError, match="in progress"), replay_run(run):
            pass
        agent.bot("why?")
    for nothing in ([], [1], "nowhere.jsonl#x"):
        with pytest.raises(Exception, match="replay needs|nowhere"):
            replay_run(nothing)  # type: ignore[arg-type]


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [StepKind.TOOL, StepKind.MODEL, StepKind.RETRIEVAL])
def test_blocks_are_refused_before_their_body(tracer: AgentTracer, memory: InMemoryBackend, kind: StepKind) -> None:
    made = []

    @tracer.agent
    def bot() -> None:
        from otel_agent_trace import current_run

        with current_run().step("lookup", {"k": 1}, kind=kind) as step:
            made.append(1)
            step.output = 2

    bot()
    run = memory.runs()[0]
    with pytest.raises(ReplayDivergence, match="lookup"), replay_run(run):
        bot()
    assert made == [1]
    with replay_run(run, live={"lookup"}) as session:
        bot()
    assert (made, session.live) == ([1, 1], ["lookup"])


def test_a_model_call_without_a_name_is_live_by_its_model(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    @tracer.agent
    def bot() -> None:
        from otel_agent_trace import current_run

        with current_run().model_call("gpt-9", [{"role": "user", "content": "?"}]) as call:
            call.output = "!"

    bot()
    with replay_run(memory.runs()[0], live={"gpt-9"}):
        bot()


def test_brackets_pass_and_are_places(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    made = []

    @tracer.tool
    def ask() -> int:
        made.append(1)
        return len(made)

    @tracer.agent
    def bot() -> Any:
        from otel_agent_trace import current_run

        with current_run().step("plan", kind="other"):
            first = ask()
        return first, ask()

    assert bot() == (1, 2)
    with replay_run(memory.runs()[0]):
        assert bot() == (1, 2)
    assert len(made) == 2


def test_start_run_and_logged_steps(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    def imperative() -> None:
        run_id = tracer.start_run(user_input="?", agent_name="old")
        tracer.log_step(run_id, tool_name="search", tool_input={"q": 1}, tool_output=2)
        tracer.end_run(run_id, "!")

    imperative()
    (run,) = memory.runs()
    with pytest.raises(ReplayDivergence, match="start_run"), replay_run(run):
        imperative()
    with replay_run(run, live={"old"}, on_miss="nearest") as session:
        imperative()
    assert [divergence.name for divergence in session.divergences] == ["search"]


def test_what_is_left_behind_is_refused_for_ever(agent: Agent, run: AgentRun, tracer: AgentTracer) -> None:
    kept: list[contextvars.Context] = []

    @tracer.agent(name="bot")
    def leaving(question: str) -> None:
        kept.append(contextvars.copy_context())

    with replay_run(run, on_miss="nearest"):
        leaving("why?")
    with pytest.raises(ReplayDivergence, match="over"):
        kept[0].run(agent.search, "a")
    assert agent.made == []
    assert agent.search("real") == "found real"


def test_a_pool_of_threads_is_not_left_waiting(agent: Agent, run: AgentRun) -> None:
    """`ThreadPool` of multiprocessing waits for ever for a worker that no `Exception` has ended."""
    from multiprocessing.pool import ThreadPool

    with pytest.raises(ReplayDivergence), replay_run(run):
        with ThreadPool(2) as pool:
            pool.map_async(agent.search, ["a", "b"]).get(30)
    assert agent.made == []


def test_capture_inside_of_a_replay_answers_too(agent: Agent, run: AgentRun) -> None:
    with replay_run(run) as session, capture_runs() as runs:
        agent.bot("why?")
    assert agent.made == []
    assert len(session.answered) == 4
    assert len(runs) == 1


# ── nothing is left behind ───────────────────────────────────────────────────────────────────────────────────────────


def test_no_key_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, user_ids="plain")

    @tracer.agent
    def bot() -> int:
        return 1

    with tracer.bind(user_id="u1"):
        bot()
    monkeypatch.delenv("OTEL_AGENT_TRACE_USER_KEY")
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    hidden = AgentTracer(backend=InMemoryBackend())

    @hidden.agent(name="bot")
    def other() -> int:
        return 1

    with replay_run(memory.runs()[0]), hidden.bind(user_id="u1"):
        other()
    assert [name for _, _, names in os.walk(tmp_path) for name in names] == []


def test_a_chosen_id_is_that_of_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    tracer = AgentTracer(backend=backend)

    def work() -> None:
        with tracer.run(run_id="order-42", agent_name="a", user_input="?") as run:
            assert run.run_id == "order-42"
            tracer.log_step("order-42", tool_name="t", kind="other")

    work()
    (run,) = load_runs(path)
    with replay_run(run, backend=backend, on_miss="nearest") as session:
        work()
    assert session.run is not None
    assert session.run.run_id.startswith("order-42-replay-")
    assert {one.run_id for one in load_runs(path)} == {"order-42", session.run.run_id}


def test_replays_do_not_count(agent: Agent, run: AgentRun) -> None:
    with replay_run(run) as session:
        agent.bot("why?")
    assert session.run is not None
    both = [run, session.run]
    assert (compute_metrics(both).runs, compute_metrics(both, replays=True).runs) == (1, 2)


def test_every_tracer_is_replayed(tmp_path: Path) -> None:
    """Two tracers with backends of their own: together, their agents nest."""
    first, second = InMemoryBackend(), InMemoryBackend()
    one, two = AgentTracer(backend=first), AgentTracer(tracer_provider=configure(backends=[second]))
    made = []

    @two.tool
    def tool(q: int) -> int:
        made.append(q)
        return q + 1

    @two.agent
    def below(q: int) -> int:
        return tool(q)

    @one.agent
    def above(q: int) -> int:
        return below(q)

    above(1)
    made.clear()
    with replay_run([*first.runs(), *second.runs()]):
        assert above(1) == 2
    assert made == []


def test_threads_of_the_program_and_spans_outside(agent: Agent, run: AgentRun, tracer: AgentTracer) -> None:
    """A replay inside of a run of the program is none of its steps."""
    with tracer.run(agent_name="test"):
        with replay_run(run) as session:
            agent.bot("why?")
    assert len(session.answered) == 4


def test_cancelled_work_that_nobody_cancels(tracer: AgentTracer, memory: InMemoryBackend, monkeypatch: Any) -> None:
    from otel_agent_trace.replay import guides

    monkeypatch.setattr(guides, "_MAX_LATER_S", 0.05)

    @tracer.tool
    async def hang(limit_s: float) -> None:
        await asyncio.sleep(60)

    async def bot(limit_s: float) -> None:
        with tracer.run(agent_name="bot"):
            try:
                await asyncio.wait_for(hang(0), limit_s)
            except asyncio.TimeoutError:
                pass

    asyncio.run(bot(0.01))
    with pytest.raises(ReplayDivergence, match="nobody cancels"), replay_run(memory.runs()[0]):
        asyncio.run(bot(30))


def test_pools_that_live_on(agent: Agent, run: AgentRun, tracer: AgentTracer) -> None:
    released = threading.Event()
    with ThreadPoolExecutor(1) as bare:
        pool = tracer.executor(bare)
        futures = []

        @tracer.agent(name="bot")
        def leaving(question: str) -> None:
            bare.submit(released.wait)
            futures.append(pool.submit(agent.search, "a"))

        with replay_run(run, on_miss="nearest"):
            leaving("why?")
        released.set()
        with pytest.raises(ReplayDivergence, match="over"):
            futures[0].result(30)
    assert agent.made == []


def test_threads_that_outlive_a_replay(agent: Agent, run: AgentRun) -> None:
    """A timer, and a worker of a pool: they know of no run, and nobody knows what they were asked for."""
    released, failed = threading.Event(), []

    def work() -> None:
        released.wait()
        try:
            agent.search("a")
        except Exception as error:
            failed.append(error)

    with ThreadPoolExecutor(1) as pool:
        timer = threading.Timer(0, work)
        with replay_run(run):
            timer.start()
            future = pool.submit(work)
            agent.bot("why?")
        released.set()
        timer.join()
        future.result(30)
    assert [type(error).__name__ for error in failed] == ["ReplayDivergenceError"] * 2
    assert agent.made == []
    thread = threading.Thread(target=agent.search, args=("after",))
    thread.start()
    thread.join()
    assert agent.made == ["after"]


def test_a_block_is_live_with_live_misses(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    made = []

    def bot() -> None:
        with tracer.run(agent_name="bot") as run, run.step("lookup"):
            made.append(1)

    bot()
    with replay_run(memory.runs()[0], on_miss="live") as session:
        bot()
    assert (made, session.live, session.answered) == ([1, 1], ["lookup"], [])
    assert [divergence.name for divergence in session.divergences] == ["lookup"]


def test_decorated_generators_are_replayed_while_they_run(agent: Agent, run: AgentRun) -> None:
    @replay_run(run)
    def items() -> Any:
        yield agent.bot("why?")

    @replay_run(run)
    async def later() -> Any:
        yield agent.bot("why?")

    async def collect() -> list[Any]:
        return [item async for item in later()]

    assert [*items(), *asyncio.run(collect())] == ["go on"] * 2
    assert agent.made == []


def test_bad_arguments(agent: Agent, run: AgentRun, trace_file: Path) -> None:
    with replay_run(trace_file):
        agent.bot("why?")
    for options in ({"ignore": ["a"]}, {"patch": [1]}):
        with pytest.raises(ConfigurationError, match="must be a mapping"):
            replay_run(run, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="needs recorded runs"):
        replay_run(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Raises takes an exception"):
        Raises("x")  # type: ignore[arg-type]


def test_a_fork_within_a_sub_agent(agent: Agent, run: AgentRun) -> None:
    below = f"{run.steps[2].step_id}/1"
    with fork_run(run, at=below) as session:
        agent.bot("why?")
    assert (session.answered, agent.made) == (["search", "search"], ["below", "model"])
    agent.made.clear()
    with replay_run(run, until=below) as session:
        agent.bot("why?")
    assert (session.answered, agent.made) == (["search"] * 3, ["model"])


def test_a_patch_answers_what_would_be_live(agent: Agent, run: AgentRun) -> None:
    with fork_run(run, at=2, patch={2: "patched"}) as session:
        agent.bot("why?")
    assert session.run is not None
    assert session.run.steps[1].output == "patched"
    with replay_run(run, live={"search"}, patch={1: "patched"}) as session:
        agent.bot("why?")
    assert agent.made == ["below", "model", "b", "below"]


def test_blocks_after_the_last_answered_step_are_live(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    made = []

    @tracer.tool
    def search(query: str) -> str:
        made.append(query)
        return query

    def bot() -> None:
        with tracer.run(agent_name="bot") as run:
            search("a")
            with run.model_call("gpt", [{"role": "user", "content": "?"}]) as call:
                made.append("gpt")
                call.output = "!"

    bot()
    with fork_run(memory.runs()[0], at=2) as session:
        bot()
    assert (made, session.answered, session.live) == (["a", "gpt", "gpt"], ["search"], ["gpt"])


def test_the_nearest_still_answers_what_equals_it(agent: Agent, run: AgentRun) -> None:
    agent.queries[:] = ["a", "c", "b"]
    with replay_run(run, on_miss="nearest") as session:
        agent.bot("why?")
    assert session.run is not None
    assert [step.output for step in session.run.steps][:3] == ["found a", "found b", "found b"]
    assert [divergence.reason for divergence in session.divergences] == [
        'tool search {"query":"c"} was called, which was not recorded'
    ]
    agent.queries[:] = ["a", "b", "a"]
    with pytest.raises(ReplayDivergence, match="more often"), replay_run(run):
        agent.bot("why?")
    assert agent.made == []
