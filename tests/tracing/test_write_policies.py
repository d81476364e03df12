"""Policies on a provider of others: applied to what the tracer writes, before the span has it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_agent_trace import AgentTracer, InMemoryBackend, SpanRecord, configure, pseudonymize_user_id, runs_from_spans
from otel_agent_trace.tracing.active_span import ActiveSpan

SECRET, MASKED = "sk-12345", "***"


def mask(record: Any) -> Any:
    """A policy that changes every text of what a tracer writes."""

    def clean(value: Any) -> Any:
        return value.replace(SECRET, MASKED) if isinstance(value, str) else value

    def cleaned(attributes: Any) -> dict[str, Any]:
        return {key: clean(value) for key, value in attributes.items()}

    events = [msgspec.structs.replace(event, attributes=cleaned(event.attributes)) for event in record.events]
    return msgspec.structs.replace(
        record,
        name=clean(record.name),
        attributes=cleaned(record.attributes),
        status_message=clean(record.status_message),
        events=tuple(events),
    )


class Theirs(SpanProcessor):
    """Notes what a processor of somebody else sees of a span at its start."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.started.append(f"{span.name} {dict(span.attributes or {})}")


class Provider(TracerProvider):
    """A provider of somebody else, with an exporter of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(shutdown_on_exit=False, **options)
        self.exporter, self.theirs = InMemorySpanExporter(), Theirs()
        self.add_span_processor(self.theirs)
        self.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def text(self) -> str:
        return str(self.theirs.started) + "".join(span.to_json() for span in self.spans())


def trace_secrets(tracer: AgentTracer) -> None:
    """A run with the secret in every field that a caller can set."""
    with pytest.raises(ValueError), tracer.run(user_input=f"q {SECRET}", metadata={"a": SECRET}) as run:
        run.agent_name = f"agent {SECRET}"
        run.set_attribute("mine", SECRET)
        with run.step(f"tool {SECRET}", {"key": SECRET}) as step:
            step.output = SECRET
            step.name = f"renamed {SECRET}"
        with run.model_call(model=SECRET, messages=[{"role": "user", "content": SECRET}]) as call:
            call.output = SECRET
        run.final_output = SECRET
        raise ValueError(f"failed with {SECRET}")


@pytest.mark.parametrize("how", ["the tracer's", "configured", "configured later"])
def test_nothing_that_a_policy_takes_reaches_the_span(how: str) -> None:
    """Neither exporters nor processors of others see it, in no name, attribute, event or status."""
    provider = Provider()
    if how == "the tracer's":
        tracer = AgentTracer(tracer_provider=provider, policies=[mask])
    else:
        tracer = AgentTracer(tracer_provider=provider)
        configure(provider=provider, policies=[mask], otlp=False)
        if how == "configured":
            tracer = AgentTracer(tracer_provider=provider)
    trace_secrets(tracer)
    assert SECRET not in provider.text()
    [run] = runs_from_spans(provider.spans())
    assert (run.user_input, run.final_output, run.metadata) == (f"q {MASKED}", MASKED, {"a": MASKED})
    assert (run.agent_name, run.attributes["mine"]) == (f"agent {MASKED}", MASKED)
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("ValueError", f"failed with {MASKED}")
    assert [(step.name, step.output) for step in run.steps] == [(f"renamed {MASKED}", MASKED), (MASKED, MASKED)]
    *_, root = provider.spans()
    assert root.name == f"invoke_agent agent {MASKED}"
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, f"failed with {MASKED}")
    assert [event.name for event in root.events] == ["exception"]


def test_without_policies_the_span_says_it() -> None:
    """What the tests above look for is there otherwise."""
    provider = Provider()
    trace_secrets(AgentTracer(tracer_provider=provider))
    assert provider.text().count(SECRET) > 10


def test_a_span_that_is_dropped_as_it_starts_is_not_made() -> None:
    """What is below it hangs on what is above; the program notices nothing."""

    def without_tools(record: Any) -> Any:
        return None if record.attributes.get("gen_ai.tool.name") == "secret" else record

    provider = Provider()
    tracer = AgentTracer(tracer_provider=provider, policies=[without_tools])
    with tracer.run() as run:
        with run.step("secret") as step:
            step.output = 1
            with run.step("below"):
                pass
    names = {span.name: span for span in provider.spans()}
    assert sorted(names) == ["execute_tool below", "invoke_agent"]
    below, root = names["execute_tool below"], names["invoke_agent"]
    assert below.parent is not None
    assert below.parent.span_id == root.context.span_id
    assert root.end_time is not None
    assert tracer.stats()["dropped: by a policy"] == 1


def test_a_run_that_is_dropped_as_it_starts() -> None:
    """Its steps are in the trace of what was current around it, or in traces of their own."""

    def without_runs(record: Any) -> Any:
        return None if record.name.startswith("invoke_agent") else record

    provider = Provider()
    tracer = AgentTracer(tracer_provider=provider, policies=[without_runs])
    with provider.get_tracer("theirs").start_as_current_span("around") as around:
        with tracer.run() as run:
            assert not run.recording
            assert run.run_id
            with run.step("s"):
                pass
    step, _ = provider.spans()
    assert step.parent == around.get_span_context()


def test_a_span_that_is_dropped_at_its_end() -> None:
    """What its start recorded stands; nothing is added."""
    provider = Provider()
    tracer = AgentTracer(
        tracer_provider=provider, policies=[lambda record: None if "secret" in str(record.attributes) else record]
    )
    with tracer.run(user_input="q") as run:
        run.final_output = "secret"
        run.error = "broken"
    [span] = provider.spans()
    attributes = span.attributes or {}
    assert "gen_ai.input.messages" in attributes
    assert not {"gen_ai.output.messages", "error.type"} & set(attributes)
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
    assert tracer.stats()["dropped: by a policy"] == 1


def test_what_a_policy_takes_back_at_the_end() -> None:
    """An attribute that the start recorded is written over: spans have no other way."""

    def once_it_has_failed(record: SpanRecord) -> SpanRecord:
        if not record.status_code:
            return record
        kept = {key: value for key, value in record.attributes.items() if key != "gen_ai.input.messages"}
        return msgspec.structs.replace(record, attributes=kept, events=())

    provider = Provider()
    with (
        pytest.raises(ValueError),
        AgentTracer(tracer_provider=provider, policies=[once_it_has_failed]).run(user_input="q"),
    ):
        raise ValueError
    [span] = provider.spans()
    assert (span.attributes or {})["gen_ai.input.messages"] == ""
    assert span.events == ()


def test_a_policy_that_raises() -> None:
    """No span is made; the program notices nothing, and it is counted."""

    def broken(record: Any) -> Any:
        raise LookupError

    provider = Provider()
    tracer = AgentTracer(tracer_provider=provider, policies=[broken])

    @tracer.tool
    def double(number: int) -> int:
        return 2 * number

    with tracer.run() as run:
        run.agent_name = "renamed"
        assert double(4) == 8
    assert provider.spans() == ()
    stats = tracer.stats()
    assert (stats["dropped: by a policy"], stats["failed: policy broken"]) == (2, 3)


def test_a_name_that_a_policy_refuses_is_not_given() -> None:
    """The span keeps the one it has."""
    provider = Provider()
    tracer = AgentTracer(tracer_provider=provider, policies=[lambda record: None if SECRET in record.name else record])
    with tracer.run(agent_name="a") as run, run.step("s") as step:
        step.name = SECRET
    assert {span.name for span in provider.spans()} == {"execute_tool s", "invoke_agent a"}
    assert run.agent_name == "a"


def test_user_ids_come_first() -> None:
    """What somebody sets as an attribute of his own is seen to as well, where there are policies."""
    provider = Provider()
    tracer = AgentTracer(tracer_provider=provider, policies=[mask])
    with tracer.run(user_id="u1") as run:
        run.set_attribute("user.id", "u2")
    [span] = provider.spans()
    assert "user.id" not in (span.attributes or {})
    assert (span.attributes or {})["enduser.pseudo.id"] == pseudonymize_user_id("u1")


def test_what_full_spans_drop_is_put_back_masked() -> None:
    """Where the provider's limits drop attributes, what is written again is what the policies left."""
    provider = Provider(span_limits=SpanLimits(max_span_attributes=20))
    tracer = AgentTracer(tracer_provider=provider, policies=[mask])
    with tracer.run(user_input=SECRET) as run:
        for number in range(30):
            run.set_attribute(f"k{number}", SECRET)
        run.final_output = SECRET
    assert SECRET not in provider.text()
    [read] = runs_from_spans(provider.spans())
    assert (read.user_input, read.final_output) == (MASKED, MASKED)


def test_policies_of_one_tracer_are_its_own() -> None:
    """Another tracer on the same provider has none of them."""
    provider = Provider()
    with AgentTracer(tracer_provider=provider, policies=[mask]).run(user_input=SECRET):
        pass
    with AgentTracer(tracer_provider=provider).run(user_input=SECRET):
        pass
    assert [run.user_input for run in runs_from_spans(provider.spans())] == [MASKED, SECRET]


def test_configured_twice() -> None:
    """The policies of both hold for what tracers write; a later one takes none away."""

    def shout(record: Any) -> Any:
        return msgspec.structs.replace(record, name=record.name.upper())

    provider = Provider()
    configure(provider=provider, policies=[mask], otlp=False)
    configure(provider=provider, policies=[shout], otlp=False)
    configure(provider=provider, otlp=False)
    with AgentTracer(tracer_provider=provider).run(agent_name=SECRET):
        pass
    assert [span.name for span in provider.spans()] == [f"INVOKE_AGENT {MASKED}"]


@pytest.mark.parametrize("made", ["configure", "backend"])
def test_where_there_is_nothing_to_do_nothing_is_done(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a provider of ours the pipeline does it."""
    if made == "backend":
        tracer = AgentTracer(backend=InMemoryBackend(), policies=[mask])
    else:
        tracer = AgentTracer(
            tracer_provider=configure(backends=[InMemoryBackend()], policies=[mask], user_ids="none", otlp=False)
        )
    with tracer.run(user_id="u1") as run:
        assert run.destination.write_policies is None
        assert isinstance(run, ActiveSpan)


def test_the_global_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer without a provider applies its policies on whichever is used."""
    tracer = AgentTracer(policies=[mask])
    provider = Provider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    trace_secrets(tracer)
    assert provider.spans()
    assert SECRET not in provider.text()


@pytest.mark.parametrize("mode", ["pseudonym", "none"])
def test_a_user_id_among_attributes_is_no_plain_one_on_a_provider_of_others(mode: Any) -> None:
    """Without other policies too."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with AgentTracer(tracer_provider=provider, user_ids=mode).run() as run, run.step("s") as step:
        run.set_attribute("user.id", "alice")
        step.set_attribute("enduser.id", "alice")
    assert "alice" not in "".join(span.to_json() for span in exporter.get_finished_spans())
