"""Exceptions are recorded with what equal ones are built from, within bounds, redacted, and without running their code."""

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, InMemoryBackend, Limits, load_runs, run_to_spans
from otel_agent_trace.model import RecordedException
from otel_agent_trace.reading import runs_from_spans
from otel_agent_trace.values import Opaque, Truncated

TOKEN = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3bC5dE7fG9h"


class AppError(Exception):
    """An error with attributes, one of them in a slot, and a constructor of its own."""

    __slots__ = ("place", "unset")

    def __init__(self, *, code: int) -> None:
        super().__init__("no", code)
        self.code, self.place = code, ("a", 1)


class ClosedError(AppError, KeyError):
    """An error of a class that is deeper, and built in on two ways."""


class HostileError(Exception):
    """An error whose attributes may not be read."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def of(error: BaseException, **options: Any) -> tuple[AgentRun, RecordedException]:
    """The run of a tool that raises an error, and the error of its step, the same in every form."""
    backend = InMemoryBackend()
    tracer = AgentTracer(backend, **options)

    @tracer.tool
    def fails() -> None:
        raise error

    with tracer.run(), pytest.raises(type(error)):
        fails()
    (run,) = backend.runs()
    assert runs_from_spans(run_to_spans(run)) == [run]
    assert AgentRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert run.steps[0].error is not None
    recorded = run.steps[0].error.exception
    assert recorded is not None
    return run, recorded


def raised(error: BaseException, cause: BaseException) -> BaseException:
    """The error, raised from a cause."""
    error.__cause__ = cause
    return error


def test_an_error_has_its_classes_arguments_and_attributes() -> None:
    run, recorded = of(AppError(code=7))
    module = AppError.__module__
    assert recorded.classes == (f"{module}.AppError", "Exception")
    assert (recorded.args, recorded.attributes) == (("no", 7), {"place": ("a", 1), "code": 7})
    assert run.steps[0].error is not None
    assert run.steps[0].error.type == f"{module}.AppError"
    assert of(ClosedError(code=1))[1].classes == (f"{module}.ClosedError", f"{module}.AppError", "KeyError")


@pytest.mark.parametrize(
    ("error", "args", "attributes"),
    [
        (KeyError("k"), ("k",), {}),
        (OSError(2, "no", "a.txt"), (2, "no"), {"filename": "a.txt"}),
        (ImportError("no", name="m", path="p"), ("no",), {"name": "m", "path": "p"}),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ("utf-8", b"\xff", 0, 1, "bad"), {}),
        (ValueError({"a": (1, {2})}), ({"a": (1, {2})},), {}),
    ],
    ids=repr,
)
def test_of_built_in_errors_what_is_not_among_the_arguments_is_an_attribute(
    error: BaseException, args: tuple[Any, ...], attributes: dict[str, Any]
) -> None:
    _, recorded = of(error)
    assert (recorded.args, recorded.attributes) == (args, attributes)


def test_the_object_that_lacks_an_attribute_is_not_recorded() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = {}.missing  # type: ignore[attr-defined]
    assert of(caught.value)[1].attributes == {"name": "missing"}


def test_causes_and_notes_are_recorded_and_causes_in_a_circle_end() -> None:
    error = raised(ValueError(1), KeyError(2))
    error.__notes__ = ["first", "second"]  # type: ignore[attr-defined]
    _, recorded = of(error)
    assert (recorded.notes, recorded.attributes) == (("first", "second"), {})
    assert recorded.cause == RecordedException(classes=("KeyError",), args=(2,))
    circle = ValueError(0)
    circle.__cause__ = circle
    depth, inner = 0, of(circle)[1].cause
    while inner is not None:
        depth, inner = depth + 1, inner.cause
    assert depth == 3


def test_members_of_groups_and_attributes_are_bounded() -> None:
    groups = pytest.importorskip("builtins" if "ExceptionGroup" in vars(builtins) else "exceptiongroup")
    _, recorded = of(groups.ExceptionGroup("some", [ValueError(number) for number in range(40)]))
    assert (recorded.args, len(recorded.members)) == (("some",), 32)
    assert recorded.members[31] == RecordedException(classes=("ValueError",), args=(31,))
    error = ValueError()
    vars(error).update({f"a{number}": number for number in range(40)})
    assert list(of(error)[1].attributes.values()) == list(range(32))


def test_values_of_an_error_are_within_the_limits() -> None:
    run, recorded = of(ValueError("x" * 5000), limits=Limits(value_bytes=1000))
    assert type(recorded.args[0]) is Truncated
    assert "error.exception.args[0]" in run.steps[0].truncated


def test_code_of_an_error_is_not_run() -> None:
    error = HostileError("a")
    object.__getattribute__(error, "__dict__")["kept"] = 1
    backend = InMemoryBackend()
    with pytest.raises(HostileError) as caught, AgentTracer(backend).run():
        raise error
    assert caught.value is error
    (run,) = backend.runs()
    assert run.error is not None
    assert run.error.exception is not None
    assert (run.error.exception.args, run.error.exception.attributes) == (("a",), {"kept": 1})


def test_of_a_response_status_headers_and_text_are_kept_and_of_its_request_nothing() -> None:
    request = httpx.Request("POST", "http://host/?key=1", headers={"authorization": "Bearer hidden-words"})
    response = httpx.Response(429, headers={"retry-after": "5"}, text="slow", request=request)
    run, recorded = of(httpx.HTTPStatusError("no", request=request, response=response))
    (name,) = recorded.attributes
    kept = recorded.attributes[name]
    assert (name, type(kept)) == ("response", Opaque)
    assert (kept.data["status_code"], kept.data["headers"]["retry-after"], kept.data["text"]) == (429, "5", "slow")
    assert "hidden-words" not in str(run.to_dict())
    assert "key=1" not in str(run.to_dict())


@pytest.mark.parametrize("where", ["args", "attributes"])
def test_a_secret_in_an_error_is_masked_in_memory_and_in_files(tmp_path: Path, where: str) -> None:
    path, memory = tmp_path / "traces.jsonl", InMemoryBackend()
    tracer = AgentTracer(backend=[memory, FileBackend(path)])
    error = ValueError(f"with {TOKEN}" if where == "args" else "no")
    vars(error).update({"token": TOKEN} if where == "attributes" else {})
    with pytest.raises(ValueError, match="."), tracer.run():
        raise error
    assert TOKEN not in path.read_text()
    (run,) = load_runs(path)
    assert [run] == memory.runs()
    assert run.error is not None
    assert run.error.exception is not None
    assert run.error.exception.classes == ("ValueError",)
    assert any(place.startswith(f"error.exception.{where}") for place in run.redacted)


def test_without_content_the_classes_are_left() -> None:
    _, recorded = of(AppError(code=7), content="none")
    assert recorded == RecordedException(classes=(f"{AppError.__module__}.AppError", "Exception"))
    assert of(AppError(code=7), content="no_inputs")[1].args == ("no", 7)


@pytest.mark.parametrize("clear", [lambda run: setattr(run, "error", None), lambda run: run.fail("a text")])
def test_an_error_that_is_replaced_leaves_no_exception(clear: Callable[[Any], None]) -> None:
    backend = InMemoryBackend()
    with AgentTracer(backend).run() as run:
        run.error = ValueError(1)
        clear(run)
    (kept,) = backend.runs()
    assert kept.error is None or kept.error.exception is None
    assert not [name for name in kept.attributes if "exception" in name]
