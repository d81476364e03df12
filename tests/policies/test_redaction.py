"""Secrets are masked in spans and logs, wherever a text can stand in them, before anything is stored or sent."""

from __future__ import annotations

import base64
import json
import logging
import random
import string
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend, configure, load_runs, run_to_spans
from otel_agent_trace.policies.redaction import RedactionPolicy
from otel_agent_trace.redaction.redactor import Redactor
from otel_agent_trace.redaction.search import Searched
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.span import SpanRecord

LETTERS = string.ascii_letters + string.digits


def github_token(seed: int = 1) -> str:
    """A well-formed token, made here since code hosts refuse commits that hold one."""
    return "gh" + "p_" + "".join(random.Random(seed).choices(LETTERS, k=36))


SECRET = github_token()


def trace_secrets(tracer: AgentTracer) -> None:
    @tracer.tool
    def look(place: str, api_key: str) -> dict[str, Any]:
        return {"headers": [["Authorization", f"Bearer {SECRET}"]], SECRET: json.dumps({"deep": json.dumps([SECRET])})}

    @tracer.tool
    def fail() -> None:
        raise ValueError(f"https://u:{SECRET}@host refused {SECRET}")

    @tracer.model(model="m")
    def chat(messages: list[dict[str, str]]) -> str:
        return f"Use {SECRET}."

    with tracer.run(user_input=f"Is {SECRET} valid?", metadata={"token": SECRET}, config=[SECRET]) as run:
        run.set_attribute(f"key {SECRET}", SECRET)
        look("Lyon", SECRET)
        with pytest.raises(ValueError, match="refused"):
            fail()
        chat([{"role": "user", "content": SECRET}])
        run.final_output = SECRET


def test_no_backend_gets_a_secret(tmp_path: Path) -> None:
    memory, file = InMemoryBackend(), FileBackend(tmp_path / "t.jsonl")
    trace_secrets(AgentTracer(backends=[memory, file]))
    assert SECRET not in (tmp_path / "t.jsonl").read_text()
    assert SECRET not in repr(list(memory.traces(print)))
    (run,) = load_runs(tmp_path / "t.jsonl")
    assert run == memory.runs()[0]
    assert run.user_input.startswith("Is <secret:github:")
    assert run.final_output in run.user_input  # equal values have equal masks
    assert "user_input" in {path.partition("[")[0].partition(".")[0] for path in run.redacted}
    assert run.steps[0].redacted
    assert run.steps[0].input["place"] == "Lyon"


def test_processors_of_the_program_get_no_secret() -> None:
    """Neither on a provider of the program, nor when they are added to one of ours."""
    for provider in (TracerProvider(), configure(backends=[InMemoryBackend()], otlp=False)):
        exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace_secrets(AgentTracer(tracer_provider=provider))
        assert SECRET not in repr([span.to_json() for span in exporter.get_finished_spans()])


def test_spans_of_other_instrumentations() -> None:
    backend = InMemoryBackend()
    provider = configure(backends=[backend], otlp=False, resource={"build": SECRET})
    link = Link(SpanContext(1, 1, is_remote=False), {"l": SECRET})
    with provider.get_tracer("other").start_as_current_span(f"GET {SECRET}", links=[link]) as span:
        span.set_attributes({"a": SECRET, "b": [SECRET, "x"], SECRET: 1})
        span.add_event(SECRET, {"e": SECRET})
        span.set_status(Status(StatusCode.ERROR, SECRET))
    (record,) = next(backend.traces(print))
    assert SECRET not in repr(record)
    assert record.attributes["b"][1] == "x"
    assert {"name", "status"} < set(json.loads(record.attributes["agent_trace.redacted"]))


def test_bytes_and_paths_are_scanned_as_texts() -> None:
    """They stand as base64 in the span, and are read as bytes again."""
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)

    @tracer.tool
    def store(*values: Any) -> Any:
        return values[0]

    picture = bytes(range(256))
    given = (
        b"-" + SECRET.encode(),
        bytearray(b"--" + SECRET.encode()),
        {SECRET.encode(): 1},
        Path(f"/a/{SECRET}"),
        picture,
    )
    store(*given)
    (record,) = next(backend.traces(print))
    stored = repr(record)
    for shift in range(3):
        assert base64.b64encode(b"-" * shift + SECRET.encode()).decode()[4:30] not in stored
    assert SECRET not in stored
    (step,) = backend.runs()[0].steps
    first, second, third, path, unchanged = step.input["values"]
    assert first.startswith(b"-<secret:github:")
    assert type(second) is bytearray
    assert next(iter(third)).startswith(b"<secret:github:")
    assert isinstance(path, Path)
    assert unchanged == picture


def test_it_can_be_turned_off() -> None:
    backend = InMemoryBackend()
    trace_secrets(AgentTracer(backend=backend, redact=False))
    assert backend.runs()[0].final_output == SECRET


def test_a_redactor_of_the_programs_own() -> None:
    backend, redactor = InMemoryBackend(), Redactor(pii=["email"], add={"ticket": r"TICKET-\d{6}"}, remove=["github"])
    redactor.add_secret("correct horse battery")
    tracer = AgentTracer(backend=backend, redact=redactor)
    with tracer.run(user_input=f"TICKET-123456 of ada@example.com: correct horse battery {SECRET}"):
        pass
    question = backend.runs()[0].user_input
    for text in ("123456", "ada@", "battery"):
        assert text not in question
    assert SECRET in question


# ── growing histories ────────────────────────────────────────────────────────────────────────────────────────────────


class _Counting(Redactor):
    """Counts the characters that are searched."""

    def __init__(self) -> None:
        super().__init__()
        self.searched = 0

    def may_change(self, texts: Any) -> bool:
        self.searched += sum(map(len, texts))
        return super().may_change(texts)

    def masked_text(self, text: str, name: str | None = None) -> str:
        self.searched += len(text)
        return super().masked_text(text, name)


def call(number: int, extra: str = "") -> SpanRecord:
    """The span of the nth call of a run, which is sent all messages before, of 5,000 characters each."""
    sent = [{"role": "user", "content": f"{extra}{place} " + "word " * 1000} for place in range(number)]
    return SpanRecord("1" * 32, format(number, "016x"), None, "chat", 0, 1, {"gen_ai.input.messages": json.dumps(sent)})


@pytest.mark.parametrize("extra", ["", f"{SECRET} "])
def test_what_was_searched_in_a_run_is_not_searched_again(extra: str) -> None:
    redactor = _Counting()
    policy = RedactionPolicy(redactor)
    for number in range(1, 21):
        changed = policy(call(number, extra)).attributes["gen_ai.input.messages"]
        assert SECRET not in changed
        assert changed == Redactor()(call(number, extra).attributes["gen_ai.input.messages"])
    size = len(call(20, extra).attributes["gen_ai.input.messages"])
    assert redactor.searched < 4 * size  # without it, more than ten times the size


def test_a_secret_that_is_registered_between_two_calls_is_found_in_the_history_too() -> None:
    redactor = Redactor()
    policy = RedactionPolicy(redactor)
    policy(call(3, "battery staple "))
    redactor.add_secret("battery staple")
    assert "battery staple" not in policy(call(4, "battery staple ")).attributes["gen_ai.input.messages"]


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_logs_of_a_run() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(tracer_provider=configure(backends=[backend], otlp=False, logs="INFO"))
    with tracer.run():
        logging.getLogger("app").warning("used %s", SECRET, extra={"given": SECRET})
    (run,) = backend.runs()
    assert run.logs[0].body.startswith("used <secret:github:")
    assert SECRET not in repr(run.logs)
    assert run.redacted == ("logs[0].given", "logs[0].body")
    assert "agent_trace.redacted" not in run.logs[0].attributes
    assert run == assemble(run_to_spans(run))[0]


def test_log_records_of_a_logger_provider_reach_its_processors_without_secrets() -> None:
    """Those that were there before, and those that are added later."""
    provider, first, later = LoggerProvider(), InMemoryLogRecordExporter(), InMemoryLogRecordExporter()
    provider.add_log_record_processor(SimpleLogRecordProcessor(first))
    for _ in range(2):  # twice: records are changed once
        configure(logger_provider=provider, otlp=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(later))
    provider.get_logger("app").emit(body={"key": SECRET, "n": [1]}, attributes={"a": SECRET, "b": 2})
    for exporter in (first, later):
        (data,) = exporter.get_finished_logs()
        assert SECRET not in repr((data.log_record.body, dict(data.log_record.attributes or {})))
        assert data.log_record.body["n"] == [1]  # type: ignore[index, call-overload]
        assert dict(data.log_record.attributes or {})["b"] == 2


class NotAPattern:
    """What a rule of somebody else's may be, when it is called."""

    def finditer(self, text: str) -> None:
        raise ZeroDivisionError("T-12345")


def test_values_that_a_failing_rule_drops_are_counted() -> None:
    redactor = Redactor(add={"ticket": "T-[0-9]+"})
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, redact=redactor)
    redactor("nothing")
    search = redactor._search
    assert search is not None
    search._searched = (Searched("ticket", NotAPattern()),)  # type: ignore[arg-type]
    with tracer.run(agent_name="a", user_input="T-12345") as run:
        run.final_output = "T-12345"
    assert "T-12345" not in str([span.attributes for span in backend.spans()])
    assert tracer.stats()["failed: redaction"] > 0
