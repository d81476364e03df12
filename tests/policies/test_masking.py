"""A function of the program's own masks what it wants, and what it fails on is dropped."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, configure
from otel_agent_trace.errors import ConfigurationError


def recorded(mask: Any) -> tuple[AgentRun, str]:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, agent_name="clerk", mask=mask)

    @tracer.tool
    def look(patient: str) -> dict[str, Any]:
        return {"patient": patient, "age": 40}

    @tracer.tool
    def fail(patient: str) -> None:
        raise ValueError(f"no {patient}")

    with tracer.run(user_input="How is Ada?") as run:
        look("Ada")
        with pytest.raises(ValueError, match="no Ada"):
            fail("Ada")
        run.final_output = "Ada is well."
    (read,) = backend.runs()
    return read, repr(list(backend.traces(print)))


def without_ada(value: Any, where: str) -> Any:
    """Mask a name in texts, and in containers one level deep."""
    assert where
    if isinstance(value, str):
        return value.replace("Ada", "X")
    if isinstance(value, dict):
        return {key: without_ada(item, where) for key, item in value.items()}
    return [without_ada(item, where) for item in value] if isinstance(value, list) else value


def test_texts_and_whole_containers_are_masked_everywhere() -> None:
    run, stored = recorded(without_ada)
    assert "Ada" not in stored
    assert (run.user_input, run.final_output) == ("How is X?", "X is well.")
    look, fail = run.steps
    assert (look.input, look.output) == ({"patient": "X"}, {"patient": "X", "age": 40})
    assert fail.error is not None
    assert fail.error.message == "no X"


def test_the_function_is_told_where_a_value_stands() -> None:
    places: dict[str, type] = {}

    def note(value: Any, where: str) -> Any:
        places[where] = type(value)
        return value

    run, _ = recorded(note)
    assert run.steps[0].output == {"patient": "Ada", "age": 40}
    assert places.pop("exception.stacktrace") is str
    assert places == {
        "gen_ai.input.messages": list,
        "gen_ai.output.messages": list,
        "agent_trace.exception": dict,
        "gen_ai.tool.call.arguments": dict,
        "gen_ai.tool.call.result": dict,
        "exception.message": str,
        "status": str,
    }


def test_what_it_fails_on_is_dropped_and_the_rest_stays(caplog: pytest.LogCaptureFixture) -> None:
    def fails(value: Any, where: str) -> Any:
        if where == "gen_ai.tool.call.result":
            return value
        raise RuntimeError(value)

    run, stored = recorded(fails)
    assert [(step.name, step.input) for step in run.steps] == [("look", None), ("fail", None)]
    assert run.steps[0].output == {"patient": "Ada", "age": 40}
    assert (run.user_input, run.final_output) == (None, None)
    assert "How is" not in stored
    assert "no Ada" not in stored
    assert len([record for record in caplog.records if "mask" in record.message]) == 1


@pytest.mark.parametrize("result", [None, 5, object(), {"a": object()}, ["x"]])
def test_whatever_it_returns_no_run_is_lost(result: Any) -> None:
    run, stored = recorded(lambda value, where: result)
    assert [step.name for step in run.steps] == ["look", "fail"]
    assert "Ada" not in stored


def test_what_has_no_json_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, mask=lambda value, where: {"a": object(), "b": "\ud800"})
    with tracer.run(user_input="How is Ada?"):
        pass
    assert tracer.stats()["failed: mask"] == 2  # at start and end
    assert len([record for record in caplog.records if "mask failed: TypeError" in record.message]) == 1


def test_sequences_of_other_instrumentations_are_containers() -> None:
    backend = InMemoryBackend()
    provider = configure(backends=[backend], otlp=False, mask=without_ada)
    attributes = {"customers": ["Ada", "Bo"], "ages": [40, 41], "gen_ai.response.finish_reasons": ["Ada"]}
    provider.get_tracer("other").start_span("visit", attributes=attributes).end()  # type: ignore[arg-type]
    (record,) = next(backend.traces(print))
    assert {name: [*value] for name, value in record.attributes.items()} == {**attributes, "customers": ["X", "Bo"]}


def test_spans_that_the_function_makes_are_dropped() -> None:
    backend = InMemoryBackend()

    def mask(value: Any, where: str) -> Any:
        with tracer.run(user_input=value):
            return value

    tracer = AgentTracer(tracer_provider=configure(backends=[backend], otlp=False, mask=mask))
    with tracer.run(user_input="How is Ada?"):
        pass
    assert [run.user_input for run in backend.runs()] == ["How is Ada?"]


def test_secrets_are_masked_before_it_is_called_and_in_what_it_returns() -> None:
    secret = f"ghp_{'a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8'}"
    given: list[str] = []

    def mask(value: Any, where: str) -> Any:
        given.append(repr(value))
        return (
            re.sub("[0-9]{4}", "#", value)
            if isinstance(value, str)
            else json.loads(json.dumps(value).replace("Ada", secret))
        )

    backend = InMemoryBackend()
    with AgentTracer(backend=backend, mask=mask).run(user_input=f"Ada: {secret}"):
        pass
    assert given
    assert secret not in "".join(given)
    assert secret not in repr(list(backend.traces(print)))


def test_it_must_not_be_asynchronous() -> None:
    async def mask(value: Any, where: str) -> Any:
        return value

    class Mask:
        async def __call__(self, value: Any, where: str) -> Any:
            return value

    for each in (mask, Mask()):
        with pytest.raises(ConfigurationError, match="must not be asynchronous"):
            AgentTracer(backend=InMemoryBackend(), mask=each)


def test_it_must_be_a_function() -> None:
    with pytest.raises(ConfigurationError, match="mask='x' must be a function"):
        AgentTracer(backend=InMemoryBackend(), mask="x")  # type: ignore[arg-type]
