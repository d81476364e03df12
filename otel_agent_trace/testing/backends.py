"""Provide `check_backend`, which runs the contract of `TracerBackend` against an implementation."""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import decimal
import functools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from otel_agent_trace.backends import InMemoryBackend, TracerBackend
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, Score, StepKind
from otel_agent_trace.testing.require import require, shown
from otel_agent_trace.tracing import AgentTracer
from otel_agent_trace.values import same

B = TypeVar("B", bound=TracerBackend)
_THREADS, _TURNS = 4, 5
_TIMEOUT_S = 10
_NOT_COMPARED = frozenset({"dialect", "interrupted", "recorded_by", "not_recorded"})
_KNOWN_AT_START = ("agent_name", "user_input", "session_id", "started_at_ns", "parent_run_id", "status")


def check_backend(make_backend: Callable[[], B], read_runs: Callable[[B], Iterable[AgentRun]]) -> None:
    """Run the contract of `TracerBackend` against an implementation.

    Agents are traced with it: runs that succeed, fail, never end, run in many threads and call one another, steps that
    end after their run, values and ids of every kind. What it holds afterwards must equal what was traced.

    Args:
        make_backend: makes a backend, a new one for each scenario; they may share one store.
        read_runs: returns the runs that a backend holds, each once; where a run holds that of a sub-agent, the latter
            need not be returned as well. Runs held from before are ignored.

    Raises:
        AssertionError: the backend breaks the contract; the message names the scenario and the difference.
    """
    for title, scenario in _SCENARIOS.items():
        _play(title, scenario, make_backend(), read_runs)
    _repeat(make_backend(), read_runs)


def _play(
    title: str,
    scenario: Callable[[AgentTracer], None],
    backend: B,
    read_runs: Callable[[B], Iterable[AgentRun]],
) -> None:
    """Trace a scenario with the backend, and compare what it holds with `InMemoryBackend`."""
    where = f"{type(backend).__name__}, {title}"
    require(isinstance(backend, TracerBackend), f"{where}: it lacks start_run(), log_step() or end_run()")
    watched, memory = Watched(backend), InMemoryBackend()
    with AgentTracer(backend=[watched, memory], agent_name="checked", user_ids="plain") as tracer:
        scenario(tracer)
        require(tracer.flush(_TIMEOUT_S), f"{where}: flush() did not have everything kept within {_TIMEOUT_S} s")
        watched.require_no_faults(where)
        held = _held_by_id(where, read_runs(backend))
        for run in memory.runs():
            for part in run.walk():
                _compare(where, part, held.get(part.run_id))
    watched.require_no_faults(where)


def _repeat(backend: B, read_runs: Callable[[B], Iterable[AgentRun]]) -> None:
    """Report a run, and a step of a run whose start the backend did not see, more than once, as the contract allows."""
    where = f"{type(backend).__name__}, a run that is reported again"
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    _steps_of_every_kind(tracer)
    _one_step(tracer)
    whole, other = memory.runs()
    part = msgspec.structs.replace(whole, steps=whole.steps[:1], final_output=None)
    watched = Watched(backend)
    calls: tuple[Callable[[], object], ...] = (
        functools.partial(watched.log_step, other.run_id, other.steps[0]),
        *(functools.partial(watched.end_run, run) for run in (part, other, whole, whole)),
        functools.partial(watched.flush, _TIMEOUT_S),
    )
    for call in calls:
        with contextlib.suppress(Exception):  # `Watched` has recorded it as a fault
            call()
    held = _held_by_id(where, read_runs(backend))
    watched.close()
    watched.require_no_faults(where)
    _compare(where, whole, held.get(whole.run_id))
    _compare(where, other, held.get(other.run_id))


def _held_by_id(where: str, runs: Iterable[AgentRun]) -> dict[str, AgentRun]:
    """Return the runs by id; those within others where they are not returned by themselves."""
    given = list(runs)
    for item in given:
        require(isinstance(item, AgentRun), f"{where}: read_runs gave {shown(item)}, which is no AgentRun")
    for run_id, times in Counter(run.run_id for run in given).items():
        require(times == 1, f"{where}: run {run_id!r} is held {times} times")
    inner = {part.run_id: part for run in given for part in run.walk()}
    return inner | {run.run_id: run for run in given}


def _compare(where: str, run: AgentRun, held: AgentRun | None) -> None:
    if held is None:
        msg = f"{where}: run {run.run_id!r} ({run.status}) is not held"
        raise AssertionError(msg)
    if run.status is not RunStatus.RUNNING:
        require(run == held, f"{where}: run {run.run_id!r} is held otherwise: {_difference(run, held, 'run')}")
        return
    for name in _KNOWN_AT_START:
        traced, kept = getattr(run, name), getattr(held, name)
        require(
            same(traced, kept), f"{where}: {name} of run {run.run_id!r}, which still runs, is held as {shown(kept)}"
        )


def _difference(traced: Any, held: Any, path: str) -> str:
    """Return the first difference as a text."""
    if isinstance(traced, msgspec.Struct) and type(traced) is type(held):
        names = [name for name in traced.__struct_fields__ if name not in _NOT_COMPARED]
        pairs = [(getattr(traced, name), getattr(held, name), f"{path}.{name}") for name in names]
    elif isinstance(traced, tuple) and isinstance(held, tuple) and len(traced) == len(held):
        pairs = [(*pair, f"{path}[{index}]") for index, pair in enumerate(zip(traced, held, strict=True))]
    else:
        return f"{path} was {shown(traced)} and is {shown(held)}"
    return next((_difference(*pair) for pair in pairs if not same(pair[0], pair[1])), path)


class Watched:
    """Wrap a backend, and record calls that overlap and errors that it raises."""

    def __init__(self, backend: TracerBackend) -> None:
        self._backend = backend
        self._calling = threading.Lock()
        self._faults: list[str] = []

    def start_run(self, run: AgentRun) -> None:
        """Call the backend, and record faults."""
        self._watch("start_run", run)

    def log_step(self, run_id: str, step: AgentStep) -> None:
        """Call the backend, and record faults."""
        self._watch("log_step", run_id, step)

    def end_run(self, run: AgentRun) -> None:
        """Call the backend, and record faults."""
        self._watch("end_run", run)

    @property
    def score(self) -> Callable[[str, Score], None]:
        """Return the function that calls the backend, and records faults.

        Raises:
            AttributeError: the backend has no `score`.
        """
        _ = self._backend.score  # type: ignore[attr-defined]
        return functools.partial(self._watch, "score")

    def flush(self, timeout_s: float) -> bool:
        """Flush the backend, if it can be flushed."""
        return not hasattr(self._backend, "flush") or self._recording_errors("flush", timeout_s) is not False

    def close(self) -> None:
        """Close the backend, if it can be closed."""
        if hasattr(self._backend, "close"):
            self._recording_errors("close")

    def require_no_faults(self, where: str) -> None:
        """Check that no fault was recorded.

        Raises:
            AssertionError: there was one.
        """
        require(not self._faults, f"{where}: {'; '.join(dict.fromkeys(self._faults))}")

    def _watch(self, name: str, *arguments: object) -> None:
        alone = self._calling.acquire(blocking=False)
        if not alone:
            self._faults.append(f"{name}() was called while another call was going on")
        try:
            time.sleep(0)  # let another thread overlap, if the lock of the library does not prevent it
            self._recording_errors(name, *arguments)
        finally:
            if alone:
                self._calling.release()

    def _recording_errors(self, name: str, *arguments: object) -> Any:
        try:
            return getattr(self._backend, name)(*arguments)
        except BaseException as error:
            self._faults.append(f"{name}() raised {type(error).__name__}: {error}")
            raise


# ── scenarios ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _one_step(tracer: AgentTracer) -> None:
    with tracer.run(user_input="What is the weather?", session_id="s1", user_id="u1", model="gpt") as run:
        with run.step("search", {"query": "weather"}) as step:
            step.output = ["sunny"]
        run.final_output = "It is sunny."


def _steps_of_every_kind(tracer: AgentTracer) -> None:
    with tracer.run(user_input="question", config={"temperature": 0.5}, metadata={"release": 7}) as run:
        with run.model_call("gpt", [{"role": "user", "content": "question"}], provider="openai") as call:
            call.output = "answer"
            call.usage = {"input_tokens": 100, "output_tokens": 20}
        with run.step("outer", {"depth": 0}), run.step("inner", {"depth": 1}, step_id="named") as inner:
            inner.set_attribute("own", 1)
            inner.mark_first_chunk()
        with run.step("documents", "query", kind=StepKind.RETRIEVAL) as retrieval:
            retrieval.output = [{"id": "d1", "score": 0.5}]
        with run.step("parse", "text", kind=StepKind.OTHER, metadata={"note": None}):
            pass


def _no_steps(tracer: AgentTracer) -> None:
    for _ in range(3):
        with tracer.run():
            pass


def _failures(tracer: AgentTracer) -> None:
    with contextlib.suppress(ValueError), tracer.run(user_input="fails") as run, run.step("search", {"query": ""}):
        message = "no such thing"
        raise ValueError(message)
    run_id = tracer.start_run(user_input="is too slow")
    tracer.log_step(run_id, tool_name="search", error="no answer")
    tracer.log_error(run_id, TimeoutError("after 5 s"))
    with tracer.run(user_input="fails and goes on") as run:
        with contextlib.suppress(KeyError), run.step("search") as step:
            raise KeyError(step.step_id)
        run.final_output = "an answer nevertheless"


def _sub_agents(tracer: AgentTracer) -> None:
    with tracer.run(agent_name="outer", user_input="question") as outer:
        for name in ("first", "second"):
            with tracer.run(agent_name=name, user_input=outer.user_input) as inner:
                with inner.step("search"), tracer.run(agent_name="innermost") as innermost:
                    innermost.final_output = name
                inner.final_output = f"by {name}"
        outer.final_output = "done"


def _threads(tracer: AgentTracer) -> None:
    barrier = threading.Barrier(_THREADS)

    def work(number: int) -> None:
        barrier.wait(_TIMEOUT_S)
        for turn in range(_TURNS):
            with tracer.run(user_input=f"{number}.{turn}") as run:
                with run.step("search", {"turn": turn}) as step:
                    step.output = number
                run.final_output = turn

    _in_threads([functools.partial(work, number) for number in range(_THREADS)])


def _parallel_steps(tracer: AgentTracer) -> None:
    with tracer.run(user_input="in parallel") as run:

        def work() -> None:
            for turn in range(_TURNS):
                with run.step("search", {"turn": turn}):
                    pass

        _in_threads([functools.partial(contextvars.copy_context().run, work) for _ in range(_THREADS)])


def _late_step(tracer: AgentTracer) -> None:
    with tracer.run(user_input="early") as run:
        late = run.step("late", {"n": 1})
        late.start()
        with run.step("in time"):
            pass
    late.output = "at last"
    late.end()


def _scores(tracer: AgentTracer) -> None:
    with tracer.run(user_input="scored") as run:
        with run.step("search") as step:
            step.score("relevant", True, source="CODE")
        run.score("helpful", 0.5, label="partly", explanation="it rained")
        run.score("helpful", 1)
    with tracer.run(user_input="scored after its end") as run:
        pass
    tracer.score(run.run_id, "helpful", 0, explanation="it did not rain")


def _never_ends(tracer: AgentTracer) -> None:
    run_id = tracer.start_run(user_input="for ever", session_id="s2")
    tracer.log_step(run_id, tool_name="search", tool_input={"query": 1}, tool_output=2)
    with tracer.run(user_input="not for ever"):
        pass


def _values(tracer: AgentTracer) -> None:
    for value in _VALUES:
        with tracer.run(user_input=value, config={"value": value}, metadata={"value": value}) as run:
            with run.step("echo", value) as step:
                step.output = value
            run.final_output = value


def _ids(tracer: AgentTracer) -> None:
    for run_id in _IDS:
        with tracer.run(run_id=run_id, user_input=run_id, session_id=run_id) as run, run.step("echo", step_id=run_id):
            pass


def _in_threads(works: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_TIMEOUT_S)


_VALUES: tuple[Any, ...] = (
    *(
        "",
        " ",
        "\0",
        "\ud800",
        "\u202e\U0001f600",
        "line\r\nline",
        "x" * 100_000,
        "{}",
        "null",
        "'; DROP TABLE runs; --",
    ),
    *(True, False, 0, -1, 2**63, -(2**80), 0.1, -0.0, float("nan"), float("inf"), 5e-324),
    *([], {}, (), set(), [None], [[]], {"": {}}, (1, (2, [3])), {1, 2}, frozenset({1}), b"\x00\xff"),
    {1: "int", "1": "str", None: "none", (1, 2): "tuple"},
    datetime.datetime(2026, 11, 22, 18, 0, 0, 1, tzinfo=datetime.timezone.utc),
    *(datetime.timedelta(days=1, microseconds=1), decimal.Decimal("1.10"), uuid.UUID(int=1), 1 + 2j),
)
_IDS = (
    *("../../etc/run", "/run", "a/b", "a\\b", "C:run", ".", "-", "*", "a b", "run.json"),
    *("Run", "run", "RUN", "r\u00fcn", "ru\u0308n", "'\"`;--", "nul\0nul", "line\nline", "x" * 500),
)
_SCENARIOS: dict[str, Callable[[AgentTracer], None]] = {
    "a run of one step": _one_step,
    "a run with steps of every kind, one within another": _steps_of_every_kind,
    "runs without steps": _no_steps,
    "runs that fail": _failures,
    "agents that call agents": _sub_agents,
    "runs in many threads at once": _threads,
    "a run whose steps are in many threads at once": _parallel_steps,
    "a step that ends after its run": _late_step,
    "scores, during a run and after its end": _scores,
    "a run that never ends, beside one that does": _never_ends,
    "values of every kind": _values,
    "ids that are no file names": _ids,
}
