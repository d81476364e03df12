"""Exceptions are built from what was recorded: of the same class, with the same arguments, attributes and text."""

import builtins
import json
from typing import Any

import httpx
import msgspec
import openai
import pydantic
import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, StepError
from otel_agent_trace.model import RecordedException
from otel_agent_trace.replay.exceptions import exception_from


class AppError(Exception):
    """An error whose constructor takes keywords only."""

    __slots__ = ("place",)

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code, self.place = code, [code]


class FileError(OSError):
    """An error with a text of its own."""

    def __str__(self) -> str:
        return f"{self.errno}: {self.filename}"


class RequestError(Exception):
    """An error whose text needs what is not recorded."""

    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request

    def __str__(self) -> str:
        return f"no answer to {self.request.name}"


class Model(pydantic.BaseModel):
    """A model with validators that refuse."""

    number: int
    name: str = pydantic.Field(default="", max_length=2)

    @pydantic.field_validator("number")
    @classmethod
    def positive(cls, value: int) -> int:
        """Refuse negative numbers, and zero by a type of the program's own."""
        if value < 0:
            raise ValueError("negative")
        if value == 0:
            raise pydantic_core_error("zero", "is {what}", {"what": "zero"})
        return value


def pydantic_core_error(*arguments: Any) -> Exception:
    """An error of a type that pydantic does not know."""
    from pydantic_core import PydanticCustomError  # noqa: PLC0415 - only this needs it

    return PydanticCustomError(*arguments)


def recorded(error: BaseException) -> StepError:
    """The error of a run that raised it."""
    backend = InMemoryBackend()
    with pytest.raises(type(error)), AgentTracer(backend, redact=False).run():
        raise error
    (run,) = backend.runs()
    assert run.error is not None
    return run.error


def openai_error() -> openai.RateLimitError:
    """An error of OpenAI's client, whose class has a code of the provider's."""
    body = {"message": "slow", "code": "rate_limit_exceeded", "param": None, "type": "requests"}
    request = httpx.Request("POST", "https://api.openai.com/v1/responses", headers={"authorization": "Bearer x"})
    response: Any = httpx.Response(429, headers={"retry-after": "3", "x-request-id": "r"}, json=body, request=request)
    return openai.RateLimitError("slow", response=response, body=body)


ERRORS = [
    *(ValueError("a", 1), KeyError("k"), StopIteration(3), SystemExit(2), KeyboardInterrupt(), AssertionError()),
    *(FileNotFoundError(2, "no", "a.txt"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), TimeoutError()),
    *(ImportError("no", name="m"), SyntaxError("bad", ("f.py", 1, 2, "x y"))),
    *(AppError(code=5), FileError(5, "no", "b.txt")),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_it_is_an_equal_one(error: BaseException) -> None:
    built = exception_from(recorded(error))
    assert type(built) is type(error)
    assert (built.args, str(built), vars(built)) == (error.args, str(error), vars(error))
    for name in ("errno", "filename", "code", "value", "start", "name", "lineno", "place"):
        assert getattr(built, name, None) == getattr(error, name, None)


def test_causes_and_notes_come_along() -> None:
    error = ValueError(1)
    error.__cause__, error.__notes__ = KeyError("k"), ["note"]  # type: ignore[attr-defined]
    built: Any = exception_from(recorded(error))
    assert (repr(built.__cause__), built.__notes__) == ("KeyError('k')", ["note"])


def test_groups_have_their_members() -> None:
    module = pytest.importorskip("builtins" if "ExceptionGroup" in vars(builtins) else "exceptiongroup")
    error = module.ExceptionGroup("some", [ValueError(1), module.ExceptionGroup("more", [AppError(code=2)])])
    built: Any = exception_from(recorded(error))
    assert type(built) is module.ExceptionGroup
    assert repr(built.exceptions[0]) == "ValueError(1)"
    assert built.exceptions[1].exceptions[0].code == 2


@pytest.mark.parametrize("data", [{"number": "x"}, {"number": -1}, {"number": 0}, {"number": 1, "name": "abc"}, {}])
def test_validation_errors_of_pydantic_have_equal_errors(data: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Model(**data)
    built: Any = exception_from(recorded(caught.value))
    assert type(built) is pydantic.ValidationError
    assert str(built.errors(include_url=False)) == str(caught.value.errors(include_url=False))
    assert built.title == "Model"


def test_errors_of_a_client_have_their_class_and_response() -> None:
    error = recorded(openai_error())
    assert error.type == "rate_limit_exceeded"
    built: Any = exception_from(error)
    assert (type(built), built.status_code, built.body["type"]) == (openai.RateLimitError, 429, "requests")
    assert (built.response.headers["retry-after"], built.response.json()) == ("3", built.body)


def test_each_is_a_new_one() -> None:
    error = recorded(ValueError([1]))
    exception_from(error).args[0].append(2)
    assert exception_from(error).args == ([1],)
    assert error.exception == RecordedException(classes=("ValueError",), args=([1],))


def test_a_class_of_a_function_is_found_and_the_newest_of_several() -> None:
    def made() -> type[Exception]:
        class LocalError(Exception):
            pass

        return LocalError

    older, newer = made(), made()
    assert type(exception_from(recorded(older("x")))) is newer
    assert issubclass(older, Exception)


def test_an_unknown_class_is_below_the_first_known_base() -> None:
    error = recorded(FileError(5, "no", "b.txt"))
    assert error.exception is not None
    names = ("gone.FileError", "gone.Base", *error.exception.classes[1:])
    gone = msgspec.structs.replace(error, exception=msgspec.structs.replace(error.exception, classes=names))
    built: Any = exception_from(gone)
    assert (type(built).__module__, type(built).__qualname__) == ("gone", "FileError")
    assert isinstance(built, OSError)
    assert (str(built), built.errno, built.filename) == ("5: b.txt", 5, "b.txt")
    assert type(exception_from(gone)) is type(built)


def test_a_text_that_needs_what_is_missing_is_the_recorded_one() -> None:
    class Request:
        name = "GET"

    built = exception_from(recorded(RequestError(Request())))
    assert isinstance(built, RequestError)
    assert str(built) == "no answer to GET"


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        *(("ValueError", "a", ValueError("a")), ("KeyError", "'k'", KeyError("k")), ("SystemExit", "2", SystemExit(2))),
        *(("builtins.ValueError", "", ValueError()), ("_OTHER", "a", Exception("a"))),
        ("httpx.ConnectTimeout", "slow", httpx.ConnectTimeout("slow")),
    ],
)
def test_by_type_and_message_alone_known_classes_are_found(kind: str, message: str, expected: BaseException) -> None:
    built = exception_from(StepError(type=kind, message=message))
    assert (type(built), built.args, str(built)) == (type(expected), expected.args, str(expected))


@pytest.mark.parametrize("kind", ["rate_limit_exceeded", "gone.AppError", "json.not_there", "a..b", "."])
def test_by_an_unknown_type_it_is_an_exception_of_that_name(kind: str) -> None:
    built = exception_from(StepError(type=kind, message="slow"))
    assert isinstance(built, Exception)
    assert (type(built).__qualname__, str(built)) == (kind.rpartition(".")[2], "slow")


def test_an_error_that_needs_more_than_a_text_has_that_text() -> None:
    built = exception_from(StepError(type="UnicodeDecodeError", message="bad bytes"))
    assert isinstance(built, UnicodeDecodeError)
    assert str(built) == "bad bytes"
    assert isinstance(json.JSONDecodeError("a", "", 0), type(exception_from(StepError(type="ValueError"))))
