"""`current_run()` and `current_step()`, from inside of decorated code and outside; `tracer.bind`."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from otel_agent_trace import (
    ActiveRun,
    ActiveStep,
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    Message,
    RunStatus,
    StepError,
    Usage,
    current_run,
    current_step,
    pseudonymize_user_id,
)
from tests.support.waiting import DEADLOCK_S

TheRun = Callable[[], AgentRun]
PRIVATE = pseudonymize_user_id("u1", key="test")


def test_every_field_of_a_run_can_be_set_from_inside(tracer: AgentTracer, the_run: TheRun) -> None:
    """What decorated code sets on current_run() it reads back, and so does whoever reads the trace."""

    @tracer.agent
    def answer(question: str) -> str:
        run = current_run()
        assert isinstance(run, ActiveRun)
        assert run.user_input == "asked"
        run.user_input, run.user_id, run.session_id, run.model = ["other"], "u1", "s1", "gpt-4"
        run.config, run.final_output, run.usage = {"t": 1}, {"text": "set"}, {"input_tokens": 3}
        run.metadata = {"a": 1}
        run.metadata["b"] = 2
        run.set_attribute("mine", [1, {"x": None}])
        run.status, run.error = "timeout", "half done"
        seen.append((run.user_input, run.user_id, run.session_id, run.model, run.config, run.final_output))
        seen.append((run.metadata, run.usage, run.status, run.error.message if run.error else None))
        return "returned"

    seen: list[Any] = []
    assert answer("asked") == "returned"
    read = the_run()
    assert seen == [
        (["other"], PRIVATE, "s1", "gpt-4", {"t": 1}, {"text": "set"}),
        ({"a": 1, "b": 2}, Usage(input_tokens=3), RunStatus.TIMEOUT, "half done"),
    ]
    assert (read.user_input, read.user_id, read.session_id, read.model, read.config, read.final_output) == seen[0]
    assert (read.metadata, read.usage, read.status) == seen[1][:3]
    assert read.error is not None
    assert read.error.message == "half done"
    assert read.attributes == {"mine": [1, {"x": None}]}


def test_every_field_of_a_step_can_be_set_from_inside(tracer: AgentTracer, the_run: TheRun) -> None:
    """What decorated code sets on current_step() it reads back, and so does whoever reads the trace."""

    @tracer.model
    def complete(prompt: str) -> str:
        step = current_step()
        assert isinstance(step, ActiveStep)
        step.input, step.model = {"changed": True}, "gpt-4"
        step.messages = [{"role": "user", "content": prompt}]
        step.metadata["k"] = (1, 2)
        step.usage = Usage(output_tokens=4)
        step.error = TimeoutError("slow")
        step.set_attribute("mine", 1)
        assert (step.input, step.model, step.usage) == ({"changed": True}, "gpt-4", Usage(output_tokens=4))
        assert step.messages == (Message(role="user", parts=({"type": "text", "content": "p"},)),)
        assert isinstance(step.error, StepError)
        return "r"

    with tracer.run():
        assert complete("p") == "r"
    (step,) = the_run().steps
    assert (step.input, step.output, step.model) == ({"changed": True}, "r", "gpt-4")
    assert [message.text for message in step.messages] == ["p", "r"]
    assert (step.metadata, step.usage, step.attributes) == ({"k": (1, 2)}, Usage(output_tokens=4), {"mine": 1})
    assert (step.error.type, step.error.category) == ("TimeoutError", "timeout")
    assert the_run().status is RunStatus.SUCCESS


def test_fields_can_be_taken_back(tracer: AgentTracer, the_run: TheRun) -> None:
    """An error, tokens, metadata and an output that are set to None are gone."""
    with tracer.run() as run:
        run.error, run.usage, run.metadata, run.final_output = "x", {"input_tokens": 1}, {"a": 1}, 1
        run.error = run.usage = run.metadata = run.final_output = None  # type: ignore[assignment]
    read = the_run()
    assert (read.error, read.usage, read.metadata, read.final_output) == (None, None, {}, None)
    assert read.status is RunStatus.SUCCESS


def everything(run: ActiveRun, step: ActiveStep) -> None:
    """Use all there is."""
    run.user_input = run.user_id = run.session_id = run.model = run.config = run.final_output = object()  # type: ignore[assignment]
    run.usage, run.error, run.status = object(), object(), "error"  # type: ignore[assignment]
    run.metadata["a"] = 1
    run.metadata = {"b": 2}
    run.set_attribute("a", object())
    step.input = step.output = step.messages = step.model = step.usage = step.error = object()  # type: ignore[assignment]
    step.metadata["a"] = 1
    step.set_attribute("a", 1)
    step.mark_first_chunk()
    step.abandon()
    for handle in (run, step):
        assert handle.trace_id == "0" * 32
        assert handle.span_id == "0" * 16
        assert not handle.recording
        assert handle.span.is_recording() is False
    with run.step("x") as inner, run.model_call("m"):
        inner.output = 1


def test_outside_of_a_run_the_handles_are_inert() -> None:
    """Outside of any run all of it can be used, nothing is raised, and nothing is remembered."""
    everything(current_run(), current_step())
    assert current_run().metadata == {}
    assert current_run().run_id == ""
    assert current_step().output is None


def test_outside_of_a_run_blocks_work(memory: InMemoryBackend) -> None:
    """The inert handles can be entered, and the code inside still sees inert ones."""
    with current_run() as run, current_step() as step:
        everything(run, step)
        assert not current_run().recording
    assert memory.runs() == []


def test_in_a_step_outside_of_a_run(tracer: AgentTracer, the_run: TheRun) -> None:
    """A tool that is called outside of any run has a current step, and an inert run."""

    @tracer.tool
    def search() -> int:
        current_step().metadata["k"] = 1
        current_run().final_output = "not recorded"
        assert current_run().run_id == ""
        return 1

    search()
    (step,) = the_run().steps
    assert step.metadata == {"k": 1}
    assert the_run().final_output is None


def test_directly_in_a_run_there_is_no_step(tracer: AgentTracer, the_run: TheRun) -> None:
    """In a run, also in a sub-agent's inside a step, the step outside is not the current one."""
    with tracer.run() as run:
        current_step().output = "not recorded"
        with run.step("a") as step, tracer.run(agent_name="sub"):
            assert current_step() is not step
            current_step().output = "not recorded"
    assert all(step.output is None for step in the_run().steps)


def test_a_new_thread_sees_no_run(tracer: AgentTracer) -> None:
    """A bare thread has inert handles; one that is given the context has the run's."""
    seen: list[bool] = []

    def look() -> None:
        seen.append(current_run().recording)

    with tracer.run():
        for target in (look, lambda context=contextvars.copy_context(): context.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [False, True]


def test_what_is_set_after_the_end_is_not_recorded(tracer: AgentTracer, the_run: TheRun) -> None:
    """A handle that is kept beyond the end takes everything, and changes nothing."""
    with tracer.run() as run, run.step("a") as step:
        pass
    before = the_run()
    run.final_output, run.user_id, run.status, step.output = 1, "u", "error", 2
    run.set_attribute("a", 1)
    assert run.ended
    assert the_run() == before


def test_own_attributes_never_push_out_the_run(memory: InMemoryBackend) -> None:
    """However many attributes are set on a run, what makes it a run stays."""
    tracer = AgentTracer(backend=memory)
    with tracer.run(user_input="q", agent_name="a") as run, run.step("s", {"x": 1}) as step:
        for number in range(10_000):
            run.set_attribute(f"k{number}", number)
            step.span.set_attribute(f"k{number}", number)
        run.final_output = "f"
    (read,) = memory.runs()
    assert (read.run_id, read.user_input, read.final_output, read.agent_name) == (run.run_id, "q", "f", "a")
    assert [(item.name, item.input) for item in read.steps] == [("s", {"x": 1})]
    assert 3_000 < len(read.attributes) < 4_096


# ── bind ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bound_fields_reach_every_run_inside(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Blocks, imperative runs, agents and their sub-agents inside of bind() have its fields."""

    @tracer.agent
    def sub() -> None:
        pass

    @tracer.agent
    def main() -> None:
        sub()

    with tracer.bind(user_id="u1", session_id="s1", metadata={"m": 1, "release": "r"}):
        main()
        tracer.end_run(tracer.start_run())
        with tracer.run():
            pass
    with tracer.run(run_id="outside"):
        pass
    inside = [part for run in memory.runs() if run.run_id != "outside" for part in run.walk()]
    assert len(inside) == 4
    for run in inside:
        assert (run.user_id, run.session_id, run.metadata) == (PRIVATE, "s1", {"m": 1, "release": "r"})
    (outside,) = (run for run in memory.runs() if run.run_id == "outside")
    assert (outside.user_id, outside.session_id, outside.metadata) == (None, None, {})


def test_bind_nests(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Inner fields go over outer ones, a run's own over both, metadata adds up, and leaving restores."""
    with tracer.bind(user_id="u1", session_id="outer", metadata={"a": 1, "b": 1}):
        with tracer.bind(session_id="inner", metadata={"b": 2}):
            with tracer.run(run_id="1"):
                pass
            with tracer.run(run_id="2", session_id="own", metadata={"a": 3}):
                pass
        with tracer.run(run_id="3"):
            pass
    runs = {run.run_id: (run.user_id, run.session_id, run.metadata) for run in memory.runs()}
    assert runs == {
        "1": (PRIVATE, "inner", {"a": 1, "b": 2}),
        "2": (PRIVATE, "own", {"a": 3, "b": 2}),
        "3": (PRIVATE, "outer", {"a": 1, "b": 1}),
    }


def test_bind_in_tasks(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Requests that are served at once each have their own bound fields."""

    async def serve(number: int) -> None:
        async with tracer.bind(session_id=str(number)):
            await asyncio.sleep(0)
            async with tracer.run(user_input=number):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*map(serve, range(20)))

    asyncio.run(main())
    assert all(run.session_id == str(run.user_input) for run in memory.runs())


def test_bind_used_again(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """One bind() that is entered twice, also inside of itself, leaves nothing behind."""
    bound = tracer.bind(session_id="s")
    with bound, bound:
        pass
    with bound:
        tracer.end_run(tracer.start_run(run_id="in"))
    tracer.end_run(tracer.start_run(run_id="out"))
    assert {run.run_id: run.session_id for run in memory.runs()} == {"in": "s", "out": None}


def test_one_bind_in_overlapping_threads(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """One bind() that two threads are in at once leaves nothing behind in either."""
    bound = tracer.bind(session_id="s")
    inside, may_leave = threading.Event(), threading.Event()

    def first() -> None:
        with bound:
            inside.set()
            assert may_leave.wait(DEADLOCK_S)
        tracer.end_run(tracer.start_run(run_id="first"))

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(first)
        assert inside.wait(DEADLOCK_S)
        with bound:
            may_leave.set()
            done.result(DEADLOCK_S)
        tracer.end_run(tracer.start_run(run_id="second"))
    assert [(run.run_id, run.session_id) for run in memory.runs()] == [("first", None), ("second", None)]


def test_unknown_keys_of_a_mapping_go_over_bound_metadata(tracer: AgentTracer, the_run: TheRun) -> None:
    """An unknown key of a mapping goes over the bound metadata outside of it, None included."""
    with (
        tracer.bind(metadata={"a": 0, "b": 0, "c": 0, "d": 0, "e": 0, "f": 0}),
        tracer.bind(metadata={"a": 1, "b": 1, "e": 1}),
        tracer.run({"d": None, "f": None}, metadata={"c": 2}),
    ):
        pass
    assert the_run().metadata == {"a": 1, "b": 1, "c": 2, "d": None, "e": 1, "f": None}


def test_bind_lets_exceptions_through(tracer: AgentTracer) -> None:
    """An exception leaves bind() as it is."""
    error = ValueError("x")
    with pytest.raises(ValueError) as caught, tracer.bind(user_id="u"):
        raise error
    assert caught.value is error
