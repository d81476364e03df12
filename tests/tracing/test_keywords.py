"""Keywords that do not exist, and things that are no fields: one error that says what to write instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import AgentTracer, InMemoryBackend, configure


@pytest.mark.parametrize(
    ("call", "hints"),
    [
        (lambda tracer: tracer.run(user_inptu="q"), ["run()", "'user_inptu' (did you mean 'user_input'?)"]),
        (lambda tracer: tracer.start_run(sesion_id="s"), ["start_run()", "'sesion_id' (did you mean 'session_id'?)"]),
        (lambda tracer: tracer.bind(userid="u"), ["bind()", "'userid' (did you mean 'user_id'?)"]),
        (
            lambda tracer: tracer.log_step(tracer.start_run(), toolname="t", tol_output=1),
            ["log_step()", "'toolname' (did you mean 'tool_name'?)", "'tol_output' (did you mean 'tool_output'?)"],
        ),
        (lambda tracer: tracer.run(zzzzzz=1), ["unexpected keyword argument 'zzzzzz'"]),
    ],
)
def test_each_misspelt_keyword_is_named(
    tracer: AgentTracer, call: Callable[[AgentTracer], Any], hints: list[str]
) -> None:
    """A TypeError names every keyword that does not exist, each with the closest one that does."""
    with pytest.raises(TypeError) as caught:
        call(tracer)
    assert all(hint in str(caught.value) for hint in hints), str(caught.value)


@pytest.mark.parametrize("method", ["run", "start_run", "log_step", "bind"])
def test_signatures_name_their_keywords(method: str) -> None:
    """`inspect.signature`, and so `help()` and editors, see every keyword."""
    parameters = inspect.signature(getattr(AgentTracer, method)).parameters
    assert "metadata" in parameters
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda tracer: tracer.run("question"), "write run(user_input='question')"),
        (lambda tracer: tracer.start_run("question"), "write start_run(user_input='question')"),
        (lambda tracer: tracer.run(["question"]), "not list: write run(user_input=...)"),
        (lambda tracer: tracer.log_step(tracer.start_run(), "search"), "write log_step(run_id, tool_name=...)"),
    ],
)
def test_what_is_no_mapping_of_fields(tracer: AgentTracer, call: Callable[[AgentTracer], Any], hint: str) -> None:
    """A question or a list in place of the fields is a TypeError that says what to write."""
    with pytest.raises(TypeError) as caught:
        call(tracer)
    assert hint in str(caught.value)


def test_unknown_keys_of_a_mapping_stay_metadata(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Data from elsewhere is never refused: its unknown keys are kept as metadata, of runs and of steps."""
    run_id = tracer.start_run({"user_inptu": "q", "user_input": "question"})
    tracer.log_step(run_id, {"tool_name": "t", "toolname": 1})
    tracer.end_run(run_id)
    (run,) = memory.runs()
    assert (run.user_input, run.metadata, run.steps[0].metadata) == ("question", {"user_inptu": "q"}, {"toolname": 1})


@pytest.mark.parametrize("given", ["t.jsonl", Path("t.jsonl")])
@pytest.mark.parametrize("name", ["backend", "backends"])
def test_a_path_is_no_backend(name: Any, given: Any) -> None:
    """A path in place of a backend is a TypeError that names FileBackend; so is one in a list, and for configure()."""
    for call in (
        lambda: AgentTracer(**{name: given}),
        lambda: AgentTracer(**{name: cast("Any", [InMemoryBackend(), given])}),
        lambda: configure(backends=[given]),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert "write FileBackend('t.jsonl')" in str(caught.value)


def test_one_way_to_say_where_spans_go() -> None:
    """backend=, backends= and tracer_provider= exclude each other."""
    memory, provider = InMemoryBackend(), TracerProvider(shutdown_on_exit=False)
    several: list[dict[str, Any]] = [
        {"backend": memory, "backends": [memory]},
        {"backends": [memory], "tracer_provider": provider},
    ]
    for options in several:
        with pytest.raises(TypeError, match="one of backend=, backends= and tracer_provider="):
            AgentTracer(**options)


def test_several_backends() -> None:
    """Each of `backends` gets every run."""
    memories = [InMemoryBackend(), InMemoryBackend()]
    with AgentTracer(backends=memories).run(run_id="1"):
        pass
    assert [[run.run_id for run in memory.runs()] for memory in memories] == [["1"], ["1"]]
