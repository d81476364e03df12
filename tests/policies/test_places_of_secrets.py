"""One secret in one place of one span or log record: no byte of it is written, sent, or given to a backend or processor."""

from __future__ import annotations

import base64
import json
import logging
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend, configure, load_runs
from otel_agent_trace.policies.redaction import RedactionPolicy
from otel_agent_trace.redaction.redactor import Redactor
from otel_agent_trace.span import SpanRecord
from tests.support.backends import Recording
from tests.support.fake_receivers import FakeReceiver, fake_http_receiver
from tests.support.made_up_secrets import alnum
from tests.support.requirements import START_METHODS

PHRASE = "purple monkeys eat dishwashers"
"""Registered in the redactor of these tests."""
TOKEN = "gh" + "p_" + alnum(36)
PASSWORD = "n0t" + alnum(9) + "7q"
"""Known only by the name that it stands under."""


def redactor() -> Redactor:
    made = Redactor()
    made.add_secret(PHRASE)
    return made


class Places:
    """Where spans go: a file, a receiver of OTLP, a backend of the program's own, and a processor that was added later."""

    def __init__(self, file: Path, receiver: FakeReceiver) -> None:
        self._file, self._receiver, self._backend = file, receiver, Recording()
        self._added = InMemorySpanExporter()
        self.provider = configure(
            file=file, otlp=receiver.endpoint, backends=[self._backend], redact=redactor(), logs="INFO"
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self._added))
        self.tracer = AgentTracer(tracer_provider=self.provider)

    def written(self) -> dict[str, str]:
        """What each place got, as text, with the escapes of JSON removed, after all has been sent."""
        self.provider.force_flush()
        written = {
            "file": self._file.read_bytes().decode(),
            "otlp": b"".join(request.body for request in self._receiver.requests).decode(errors="replace"),
            "backend": repr(self._backend.calls),
            "processor": repr([_shown(span) for span in self._added.get_finished_spans()]),
        }
        return {place: text.replace("\\", "") for place, text in written.items()}


def _shown(span: ReadableSpan) -> Any:
    attributes = [dict(part.attributes or {}) for part in (span, span.resource, *span.events, *span.links)]
    return span.name, span.status.description, [event.name for event in span.events], attributes


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with fake_http_receiver() as receiver:
        yield Places(tmp_path / "traces.jsonl", receiver)


# ── spans of other instrumentations ──────────────────────────────────────────────────────────────────────────────────


def _attributes(**attributes: Any) -> Callable[[Span], None]:
    return lambda span: span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})


def anywhere(secret: str) -> dict[str, Callable[[Span], None]]:
    """Places of a secret that is known by itself."""
    words = "word " * 2000
    return {
        "attribute": _attributes(note=secret),
        "long attribute": _attributes(note=f"{words}{secret}"),
        "long list of messages": _attributes(messages=json.dumps([{"content": words}, {"content": secret}])),
        "list": _attributes(notes=["x", secret]),
        "bytes": lambda span: span.set_attribute("body", f"x {secret}".encode()),  # type: ignore[arg-type]
        "name of an attribute": lambda span: span.set_attribute(f"note {secret}", 1),
        "list of places": _attributes(agent_trace__redacted=json.dumps([secret])),
        "types": _attributes(agent_trace__types=json.dumps({"a": {"c": {secret: "bytes"}}})),
        "name": lambda span: span.update_name(f"GET {secret}"),
        "status": lambda span: span.set_status(Status(StatusCode.ERROR, secret)),
        "event": lambda span: span.add_event(f"e {secret}"),
        "attribute of an event": lambda span: span.add_event("e", {"note": secret}),
        "name of an attribute of an event": lambda span: span.add_event("e", {f"note {secret}": 1}),
        "exception": lambda span: span.record_exception(ValueError(secret)),
        "link": lambda span: span.add_link(SpanContext(1, 1, is_remote=True), {"note": secret}),
    }


def by_name(secret: str) -> dict[str, Callable[[Span], None]]:
    """Places of a secret that is known by what it stands under."""
    return {
        "attribute": _attributes(password=secret),
        "attribute with a long name": _attributes(db__client__PASSWORD=secret),
        "attribute of a convention": _attributes(gen_ai__request__api_key=secret),
        "list": _attributes(http__request__header__authorization=(f"Bearer {secret}",)),
        "cookies": _attributes(http__request__header__cookie=(f"theme=dark; sessionid={secret}",)),
        "command": _attributes(process__command_args=["mycli", "--password", secret, "up"]),
        "attribute of an event": lambda span: span.add_event("e", {"password": secret}),
        "attribute of a link": lambda span: span.add_link(SpanContext(1, 1, is_remote=True), {"db.password": [secret]}),
        "JSON": _attributes(input__value=json.dumps({"password": {"value": secret}})),
        "JSON in JSON": _attributes(input__value=json.dumps({"args": json.dumps({"cookies": {"sessionid": secret}})})),
    }


@pytest.mark.parametrize("secret", [TOKEN, PHRASE], ids=["token", "registered"])
@pytest.mark.parametrize("place", anywhere(""))
def test_a_span_with_one_secret(places: Places, place: str, secret: str) -> None:
    with places.provider.get_tracer("other").start_as_current_span("op") as span:
        anywhere(secret)[place](span)
    for where, text in places.written().items():
        assert secret not in text, where
        assert base64.b64encode(f"x {secret}".encode()).decode()[4:24] not in text, where
        assert "<secret:" in text or place == "bytes" or where == "backend", where


@pytest.mark.parametrize("place", by_name(""))
def test_a_span_with_one_value_under_the_name_of_a_secret(places: Places, place: str) -> None:
    with places.provider.get_tracer("other").start_as_current_span("op") as span:
        by_name(PASSWORD)[place](span)
    for where, text in places.written().items():
        assert PASSWORD not in text, where
        assert "<secret:" in text or where == "backend", where


@pytest.mark.parametrize("number", [73615243, "sunshine"])
def test_simple_passwords_under_a_certain_name(places: Places, number: Any) -> None:
    with places.provider.get_tracer("other").start_as_current_span("op", attributes={"db.password": number}):
        pass
    assert not [where for where, text in places.written().items() if str(number) in text]


def test_scopes_and_resources_are_masked_once_for_all_their_spans() -> None:
    backend = InMemoryBackend()
    provider = configure(
        backends=[backend], otlp=False, redact=redactor(), resource={"db.password": PASSWORD, "n": TOKEN}
    )
    tracer = provider.get_tracer(f"app {TOKEN}", f"1 {PHRASE}", attributes={"password": PASSWORD})
    for _ in range(3):
        tracer.start_span("op").end()
    records = [record for trace in backend.traces(print) for record in trace]
    for secret in (TOKEN, PASSWORD, PHRASE):
        assert secret not in repr(records)
    assert len({id(record.resource) for record in records}) == len({id(record.scope) for record in records}) == 1
    assert json.loads(records[2].attributes["agent_trace.redacted"]) == [
        *("resource.db.password", "resource.n", "scope.password", "scope.name", "scope.version"),
    ]


def test_a_processor_of_the_program_on_our_provider_gets_spans_as_they_are_if_nothing_is_masked() -> None:
    provider, exporter = configure(backends=[InMemoryBackend()], otlp=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("other").start_as_current_span("op", attributes={"a": (1, 2)}) as span:
        pass
    (given,) = exporter.get_finished_spans()
    assert given.attributes == {"a": (1, 2)}
    assert given.context == span.get_span_context()


# ── runs and steps ───────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _ignoring() -> Iterator[None]:
    try:
        yield
    except ValueError:
        pass


def calls(tracer: AgentTracer) -> dict[str, Callable[[Any], object]]:
    """Places in runs and steps, each with what puts a value there."""

    @tracer.tool
    def look(*args: Any, **keywords: Any) -> Any:
        return keywords.get("result")

    @tracer.tool
    def fail(text: str) -> None:
        raise ValueError(text)

    @tracer.model(model="m")
    def chat(messages: Any, **keywords: Any) -> str:
        return "ok"

    def run(**fields: Any) -> None:
        with tracer.run(**fields):
            pass

    def failing(text: str) -> None:
        with _ignoring():
            fail(text)

    def attribute(value: Any) -> None:
        with tracer.run() as active:
            active.set_attribute("note", value)
            active.span.set_attribute("other", value)

    def log(value: Any) -> None:
        with tracer.run():
            logging.getLogger("app").warning("used %s", value, extra={"given": value})

    return {
        "argument": look,
        "result": lambda value: look(result=value),
        "key": lambda value: look({value: 1}),
        "bytes": lambda value: look(f"x {value}".encode()),
        "bytes in bytes": lambda value: look({b"k": [b"\xff\xfe " + value.encode() + b" \x80"]}),
        "key in bytes": lambda value: look({f"x {value}".encode(): 1}),
        "path": lambda value: look(Path(f"/x/{value}")),
        "set": lambda value: look({value}),
        "exception as a value": lambda value: look(ValueError(value)),
        "error": failing,
        "message": lambda value: chat([{"role": "user", "content": value}]),
        "bytes in a message": lambda value: chat(
            [{"role": "user", "content": [{"type": "image", "data": value.encode()}]}]
        ),
        "option of a model": lambda value: chat("hi", stop=[value]),
        "question": lambda value: run(user_input=value),
        "metadata": lambda value: run(metadata={"note": value}),
        "configuration": lambda value: run(config={"note": value}),
        "tags": lambda value: run(tags=[value]),
        "session": lambda value: run(session_id=value),
        "agent": lambda value: run(agent_name=value),
        "attribute": attribute,
        "log": log,
    }


@pytest.mark.parametrize("secret", [TOKEN, PHRASE], ids=["token", "registered"])
@pytest.mark.parametrize("place", calls(AgentTracer(backend=InMemoryBackend())))
def test_a_run_with_one_secret(places: Places, place: str, secret: str) -> None:
    calls(places.tracer)[place](secret)
    for where, text in places.written().items():
        assert secret not in text, where
        for given in (f"x {secret}", f"\xff\xfe {secret}", secret):
            assert base64.b64encode(given.encode("latin-1")).decode()[4:24] not in text, where
        assert text, where


ASGI = [(b"host", b"example.com"), (b"authorization", f"Bearer {PASSWORD}".encode())]


@pytest.mark.parametrize(
    "value", [ASGI, {b"password": PASSWORD}, {b"password": PASSWORD.encode()}, {"password": PASSWORD.encode()}]
)
def test_names_in_bytes(value: Any) -> None:
    """As in the headers of an ASGI application, which frameworks pass to tools."""
    backend = InMemoryBackend()
    calls(AgentTracer(backend=backend))["argument"](value)
    (record,) = next(backend.traces(print))
    for shown in (
        PASSWORD,
        base64.b64encode(PASSWORD.encode()).decode(),
        base64.b64encode(b"Bearer " + PASSWORD.encode()).decode(),
    ):
        assert shown not in repr(record)
    (step,) = backend.runs()[0].steps
    assert repr(value)[:12] == repr(step.input["args"][0])[:12]  # names and types stay
    assert step.redacted


def test_a_picture_stays_as_it_is() -> None:
    """Anything may stand in it by chance."""
    picture = (
        random.Random(3).randbytes(2 << 20) + b"\x00" * 10_000 + b"\xfepw=\x80\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2"
    )
    backend = InMemoryBackend()
    calls(AgentTracer(backend=backend))["argument"](picture)
    (step,) = backend.runs()[0].steps
    assert step.redacted == ()


def test_the_types_of_values_under_the_names_of_secrets_are_no_secrets() -> None:
    backend = InMemoryBackend()
    given = {"password": Path("/run/secrets/db"), "note": TOKEN}
    calls(AgentTracer(backend=backend))["argument"](given)
    (step,) = backend.runs()[0].steps
    assert step.input["args"][0]["password"] == Path("/run/secrets/db")
    assert step.redacted == ("input.args[0].note",)


def test_values_of_the_program_stay_as_they_are() -> None:
    value = {"password": PASSWORD, "rows": [{"token": TOKEN}, (TOKEN, b"x " + TOKEN.encode())]}
    before = repr(value)
    calls(AgentTracer(backend=InMemoryBackend()))["argument"](value)
    assert repr(value) == before


def test_bytes_in_growing_histories(places: Places) -> None:
    messages: list[Any] = []
    for _ in range(3):
        messages.append({"role": "user", "content": "word " * 1000})
        messages.append({"role": "user", "content": [{"type": "file", "data": f"x {TOKEN} {PHRASE}".encode()}]})
        calls(places.tracer)["message"](messages)
    for text in places.written().values():
        assert base64.b64encode(f"x {TOKEN}".encode()).decode()[:24] not in text
        assert TOKEN not in text


def test_a_history_that_cannot_be_searched_is_dropped() -> None:
    masker = redactor()
    policy = RedactionPolicy(masker)
    first = json.dumps([{"content": TOKEN + "word " * 1000}])
    longer = f'{first[:-1]}, {{"content": "{TOKEN}"}}]'
    for number, text in enumerate((first, longer)):
        if number:
            masker._current = None  # type: ignore[assignment, method-assign]
        record = policy(SpanRecord("1" * 32, "2" * 16, None, "chat", 0, 1, {"gen_ai.input.messages": text}))
    assert record.attributes["gen_ai.input.messages"] == "<secret:unscanned>"


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("redact", [True, redactor()], ids=["usual", "own"])
def test_a_tracer_that_redacts_on_a_provider_that_does_not(redact: Any) -> None:
    backend = InMemoryBackend()
    provider = configure(backends=[backend], otlp=False, redact=False)
    calls(AgentTracer(tracer_provider=provider, redact=redact))["argument"](TOKEN)
    calls(AgentTracer(tracer_provider=provider))["argument"](f"kept {PASSWORD}")
    assert TOKEN not in repr(backend.runs())
    assert f"kept {PASSWORD}" in repr(backend.runs())


def _call_with(tracer: AgentTracer, value: str) -> None:
    calls(tracer)["argument"](value)


@pytest.mark.parametrize("method", START_METHODS)
def test_in_other_processes_a_redactor_knows_the_same(tmp_path: Path, method: str) -> None:
    file = tmp_path / "traces.jsonl"
    tracer = AgentTracer(backend=FileBackend(file), redact=redactor())
    process = multiprocessing.get_context(method).Process(target=_call_with, args=(tracer, f"{PHRASE} {TOKEN}"))
    process.start()
    process.join()
    assert process.exitcode == 0
    (run,) = load_runs(file)
    assert [part[:14] for part in run.steps[0].input["args"][0].split()] == ["<secret:known:", "<secret:github"]


class _Unpicklable(Redactor):
    """Keeps what no process can send to another."""

    def __init__(self) -> None:
        super().__init__()
        self.environment = os.environ
        self.lines = iter(os.environ)


def test_a_redactor_that_cannot_go_to_another_process_stops_recording_there_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    tracer = AgentTracer(backend=FileBackend(file), redact=_Unpicklable())
    process = multiprocessing.get_context("spawn").Process(target=_call_with, args=(tracer, TOKEN))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert not file.exists()


def test_the_texts_of_a_rules_exception_are_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError(f"cannot read {TOKEN}")

    monkeypatch.setattr("otel_agent_trace.redaction.shapes.ShapeDetector.__call__", fail)
    backend = InMemoryBackend()
    calls(AgentTracer(backend=backend, redact=redactor()))["argument"](TOKEN)
    assert TOKEN not in caplog.text
    assert "redaction failed: ValueError" in caplog.text
    assert TOKEN not in repr(backend.runs())


# ── log records of a logger provider ─────────────────────────────────────────────────────────────────────────────────


def test_resource_scope_and_exception_of_log_records() -> None:
    provider = LoggerProvider(Resource.create({"db.password": PASSWORD}))
    exporter = InMemoryLogRecordExporter()
    configure(logger_provider=provider, otlp=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger(f"app {TOKEN}", attributes={"password": PASSWORD})
    logger.emit(body={"cookies": {"sessionid": PASSWORD}, "n": [1]}, attributes={"password": PASSWORD, "n": 2})
    logger.emit(body=f"x {TOKEN}".encode(), exception=ValueError(TOKEN))
    for data in exporter.get_finished_logs():
        shown = repr((vars(data.log_record), data.resource.attributes, data.instrumentation_scope))
        assert PASSWORD not in shown
        assert TOKEN not in shown
    assert exporter.get_finished_logs()[0].log_record.body["n"] == [1]  # type: ignore[index, call-overload]


# ── finds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_finds_in_bytes_and_under_names_have_rule_and_place() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, redact=False)
    calls(tracer)["argument"]({"body": f"x {TOKEN}".encode(), "headers": ASGI})
    (record,) = next(backend.traces(print))
    found = {(find.rule, find.path) for find in RedactionPolicy(redactor()).finds(record)}
    start = "gen_ai.tool.call.arguments.args[0]"
    assert found == {("github", f"{start}.body"), ("authorization", f"{start}.headers[1][1]")}
    other = SpanRecord("1" * 32, "2" * 16, None, "op", 0, 1, {"db.password": [PASSWORD], "pin": 4921})
    assert [(find.rule, find.path) for find in RedactionPolicy(redactor()).finds(other)] == [
        ("password", "db.password[0]"),
        ("passcode", "pin"),
    ]


def test_links_of_the_start_are_masked() -> None:
    backend = InMemoryBackend()
    provider: TracerProvider = configure(backends=[backend], otlp=False)
    link = Link(SpanContext(1, 1, is_remote=True), {"password": PASSWORD})
    provider.get_tracer("other").start_span("op", links=[link]).end()
    assert PASSWORD not in repr(list(backend.traces(print)))
