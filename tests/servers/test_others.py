"""What a person sees of our runs in the real MLflow and Phoenix, whichever way they went there."""

from __future__ import annotations

import datetime
import http.client
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, FileBackend, StepKind, configure
from otel_agent_trace.cli import main
from tests.support.running_servers import RunningMLflow, RunningPhoenix, RunningServer
from tests.support.waiting import DEADLOCK_S, wait_until

pytestmark = pytest.mark.slow

EXPERIMENT = "x-mlflow-experiment-id"
PROJECT = "openinference.project.name"

RAIN = {"mm": "NaN", "day": "2026-01-02", "sum": "1.10", "pair": [1, 2], "3": "three", "hours": [{"h": 8, "mm": 0.5}]}
DOCUMENT = {"id": "d1", "score": 0.9, "content": "Lyon is sunny"}
MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Lyon?"}]


def trace(tracer: AgentTracer) -> str:
    """A run with a step of each kind, values that JSON cannot say, tokens and a failure; gives its trace id."""
    with tracer.run(user_input="Rain in Lyon?", session_id="s1", user_id="u1", metadata={"team": "blue"}) as run:
        with run.model_call(model="gpt-4o", provider="openai", messages=MESSAGES) as call:
            call.output, call.usage = "I look it up.", {"input_tokens": 12, "output_tokens": 5}
        with run.step("photo", {"city": "Lyon"}) as step:
            step.output = b"\x89PNG\x00\xff"
        with run.step("rain", {"limit": math.inf, "where": {"city": "Lyon"}}) as step:
            day = datetime.date(2026, 1, 2)
            step.output = {**RAIN, "mm": math.nan, "day": day, "sum": Decimal("1.10"), "pair": (1, 2)}
            del step.output["3"]
            step.output[3] = "three"
            step.set_attribute("raw", b"\x00\xff")
            step.set_attribute("ratio", math.nan)
        with run.step("docs", "weather Lyon", kind=StepKind.RETRIEVAL) as step:
            step.output = [DOCUMENT]
        with pytest.raises(ValueError), run.step("alarm", {"city": "Lyon"}):
            raise ValueError("no siren")
        run.usage = {"input_tokens": 12, "output_tokens": 5}
        run.final_output = "Not a drop."
        return run.trace_id


@dataclass(frozen=True)
class Shown:
    """What a page shows of one span."""

    kind: str
    parent: str = "invoke_agent weather"
    input: Any = None
    output: Any = None
    tokens: tuple[int, int] | None = None
    error: tuple[str, str] | None = None


# ── the ways there ───────────────────────────────────────────────────────────────────────────────────────────────────

Way = Callable[[str, Path], str]


def live(protocol: Any) -> Way:
    """While the run happens."""

    def sent(endpoint: str, _: Path) -> str:
        provider = configure(otlp=endpoint, protocol=protocol, resource={PROJECT: "ours"})
        with AgentTracer(tracer_provider=provider, agent_name="weather") as tracer:
            trace_id = trace(tracer)
            assert tracer.flush(DEADLOCK_S)
        provider.shutdown()
        return trace_id

    return sent


def later(*options: str) -> Way:
    """From the file that holds the run."""

    def sent(endpoint: str, folder: Path) -> str:
        provider = configure(file=folder / "traces.jsonl", otlp=False, resource={PROJECT: "ours"})
        with AgentTracer(tracer_provider=provider, agent_name="weather") as tracer:
            trace_id = trace(tracer)
        assert main(["export", str(folder / "traces.jsonl"), "--to", endpoint, *options]) == 0
        return trace_id

    return sent


# ── MLflow ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def plain(value: dict[str, Any] | None) -> Any:
    """A value of OTLP as Python's."""
    [(kind, inner)] = value.items() if value else [("", None)]
    if kind == "kvlist_value":
        return {item["key"]: plain(item.get("value")) for item in inner.get("values", ())}
    if kind == "array_value":
        return [plain(item) for item in inner.get("values", ())]
    return inner


def in_mlflow(server: RunningMLflow, trace_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What MLflow says of a trace, and its spans, each with its attributes."""
    status, body = server.get("http", f"/api/3.0/mlflow/traces/get?trace_id=tr-{trace_id}")
    assert status == http.client.OK, body
    answer = json.loads(body)["trace"]
    spans = [
        {**span, "attributes": {item["key"]: plain(item.get("value")) for item in span["attributes"]}}
        for span in answer["spans"]
    ]
    return answer["trace_info"], spans


def shown_by_mlflow(spans: list[dict[str, Any]]) -> dict[str, Shown]:
    """By the name of the span: its type, inputs, outputs, tokens and error."""
    names = {span["span_id"]: span["name"] for span in spans}
    return {span["name"]: shown_span_of_mlflow(span, names) for span in spans}


def shown_span_of_mlflow(span: dict[str, Any], names: dict[str, str]) -> Shown:
    attributes, status = span["attributes"], span["status"]
    tokens = attributes.get("mlflow.chat.tokenUsage")
    events = [plain(item["value"]) for event in span.get("events", ()) for item in event["attributes"]]
    failed = status.get("code") == "STATUS_CODE_ERROR"
    return Shown(
        kind=attributes.get("mlflow.spanType", "UNKNOWN"),
        parent=names.get(span.get("parent_span_id", ""), ""),
        input=attributes.get("mlflow.spanInputs"),
        output=attributes.get("mlflow.spanOutputs"),
        tokens=(tokens["input_tokens"], tokens["output_tokens"]) if tokens else None,
        error=(events[0], status["message"]) if failed else None,
    )


def message_of(role: str, text: str, **more: str) -> dict[str, Any]:
    """A message of the conventions."""
    return {"role": role, "parts": [{"type": "text", "content": text}], **more}


OF_MLFLOW = {
    "invoke_agent weather": Shown(
        kind="AGENT",
        parent="",
        input=[message_of("user", "Rain in Lyon?")],
        output=[message_of("assistant", "Not a drop.", finish_reason="")],
        tokens=(12, 5),
    ),
    "chat gpt-4o": Shown(
        kind="CHAT_MODEL",
        input=[message_of("system", "Be short."), message_of("user", "Lyon?")],
        output=[message_of("assistant", "I look it up.", finish_reason="")],
        tokens=(12, 5),
    ),
    "execute_tool photo": Shown(kind="TOOL", input={"city": "Lyon"}, output="iVBORwD/"),
    "execute_tool rain": Shown(kind="TOOL", input={"limit": "Infinity", "where": {"city": "Lyon"}}, output=RAIN),
    "execute_tool alarm": Shown(kind="TOOL", input={"city": "Lyon"}, error=("ValueError", "no siren")),
    # It knows no retrieval: query and documents stand among the attributes only.
    "retrieval docs": Shown(kind="UNKNOWN"),
}


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(live("http/protobuf"), id="live"),
        pytest.param(later(), id="export"),
        pytest.param(later("--protocol", "http/json"), id="export-json"),
    ],
)
def test_mlflow_shows_agent_model_and_tools(
    mlflow_server: RunningMLflow, way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six spans with inputs, outputs, tokens and the error; the session, and the tokens of the trace, once."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"{EXPERIMENT}=0")
    trace_id = way(mlflow_server.url("http"), tmp_path)
    info, spans = in_mlflow(mlflow_server, trace_id)
    assert shown_by_mlflow(spans) == OF_MLFLOW
    assert info["state"] == "OK"
    assert info["trace_metadata"]["mlflow.trace.session"] == "s1"
    assert json.loads(info["trace_metadata"]["mlflow.trace.tokenUsage"])["total_tokens"] == 17
    assert "Rain in Lyon?" in info["request_preview"]
    assert "Not a drop." in info["response_preview"]


def test_mlflow_has_what_it_does_not_show(
    mlflow_server: RunningMLflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retrieval's query and documents, and attributes that hold bytes and NaN, are among the attributes."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"{EXPERIMENT}=0")
    _, spans = in_mlflow(mlflow_server, later()(mlflow_server.url("http"), tmp_path))
    attributes = {span["name"]: span["attributes"] for span in spans}
    assert attributes["retrieval docs"]["gen_ai.retrieval.query.text"] == "weather Lyon"
    assert attributes["retrieval docs"]["gen_ai.retrieval.documents"] == [DOCUMENT]
    assert (attributes["execute_tool rain"]["raw"], attributes["execute_tool rain"]["ratio"]) == ("AP8=", "NaN")


def test_mlflow_refuses_what_names_no_experiment(
    mlflow_server: RunningMLflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its message is reported, span by span where the header is missing, once where there is no such experiment."""
    with AgentTracer(backend=FileBackend(tmp_path / "traces.jsonl"), agent_name="weather") as tracer:
        trace(tracer)
    export = ["export", str(tmp_path / "traces.jsonl"), "--to", mlflow_server.url("http")]
    assert main(export) == 1
    assert capsys.readouterr().err.count(EXPERIMENT) == 6
    assert main([*export, "--header", f"{EXPERIMENT}=99"]) == 2
    assert "No Experiment with id=99 exists" in capsys.readouterr().err


def test_mlflow_refuses_spans_of_a_resource_with_bytes(
    mlflow_server: RunningMLflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An attribute of the resource that holds bytes costs all spans; nothing of them is kept."""
    provider = configure(file=tmp_path / "traces.jsonl", otlp=False, resource={"digest": b"\x00"})
    with AgentTracer(tracer_provider=provider, agent_name="weather") as tracer:
        trace_id = trace(tracer)
    export = ["export", str(tmp_path / "traces.jsonl"), "--to", mlflow_server.url("http")]
    assert main([*export, "--header", f"{EXPERIMENT}=0", "--retry-timeout", "1"]) == 1
    assert "6 refused" in capsys.readouterr().out
    status, _ = mlflow_server.get("http", f"/api/3.0/mlflow/traces/get?trace_id=tr-{trace_id}")
    assert status == http.client.NOT_FOUND


# ── Phoenix ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_TRACES = """query ($trace: ID!) {
  projects { edges { node { name trace(traceId: $trace) {
    numSpans session { sessionId } rootSpan { cumulativeTokenCountTotal }
    spans(first: 100) { edges { node {
      spanId parentId name spanKind statusCode statusMessage tokenCountPrompt tokenCountCompletion attributes
      input { value } output { value } events { name message }
    } } }
  } } } }
}"""


def in_phoenix(server: RunningPhoenix, trace_id: str, spans: int) -> dict[str, Any]:
    """The trace, as Phoenix's page asks for it, once it has so many spans; it answers before it has stored them."""

    def found() -> dict[str, Any] | None:
        answer = asked(server, _TRACES, trace=trace_id)
        traces = [edge["node"]["trace"] for edge in answer["projects"]["edges"] if edge["node"]["name"] == "ours"]
        return next((trace for trace in traces if trace is not None and trace["numSpans"] >= spans), None)

    shown = wait_until(found, f"{spans} spans in Phoenix")
    assert shown is not None
    return shown


def asked(server: RunningServer, query: str, **variables: str) -> dict[str, Any]:
    """The data that a GraphQL query gets."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port("http"), timeout=DEADLOCK_S)
    try:
        body = json.dumps({"query": query, "variables": variables})
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert not answer.get("errors"), answer
    return dict(answer["data"])


def spans_of(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**edge["node"], "attributes": json.loads(edge["node"]["attributes"])} for edge in trace["spans"]["edges"]]


def shown_by_phoenix(spans: list[dict[str, Any]]) -> dict[str, Shown]:
    """By the name of the span: kind, input, output, tokens and error; an agent's stand among the attributes."""
    names = {span["spanId"]: span["name"] for span in spans}
    return {span["name"]: shown_span_of_phoenix(span, names) for span in spans}


def shown_span_of_phoenix(span: dict[str, Any], names: dict[str, str]) -> Shown:
    prompt, completion = span["tokenCountPrompt"], span["tokenCountCompletion"]
    return Shown(
        kind=span["spanKind"],
        parent=names.get(span["parentId"] or "", ""),
        input=_went_in(span),
        output=_came_out(span),
        tokens=None if prompt is None else (prompt, completion),
        error=(span["attributes"]["error"]["type"], span["statusMessage"]) if span["statusCode"] == "ERROR" else None,
    )


def _went_in(span: dict[str, Any]) -> Any:
    """Messages of an agent or a model, parameters of a tool, else the field `input`."""
    attributes = span["attributes"]
    if "tool" in attributes:
        return attributes["tool"]["parameters"]
    return _texts(attributes, "input_messages") or (span["input"] or {}).get("value")


def _came_out(span: dict[str, Any]) -> Any:
    """Messages of an agent or a model, documents of a retrieval, else the field `output`."""
    attributes = span["attributes"]
    if "retrieval" in attributes:
        return [item["document"] for item in attributes["retrieval"]["documents"]]
    output = (span["output"] or {}).get("value")
    return _texts(attributes, "output_messages") or (None if output is None else json.loads(output))


def _texts(attributes: dict[str, Any], which: str) -> list[tuple[str, str]]:
    messages = [item["message"] for item in attributes.get("llm", {}).get(which, ())]
    return [(message["role"], message["content"]) for message in messages]


OF_PHOENIX = {
    "invoke_agent weather": Shown(
        kind="agent",
        parent="",
        input=[("user", "Rain in Lyon?")],
        output=[("assistant", "Not a drop.")],  # no tokens: it counts those of models only
    ),
    "chat gpt-4o": Shown(
        kind="llm",
        input=[("system", "Be short."), ("user", "Lyon?")],
        output=[("assistant", "I look it up.")],
        tokens=(12, 5),
    ),
    "execute_tool photo": Shown(kind="tool", input={"city": "Lyon"}, output="iVBORwD/"),
    "execute_tool rain": Shown(kind="tool", input={"limit": "Infinity", "where": {"city": "Lyon"}}, output=RAIN),
    "execute_tool alarm": Shown(kind="tool", input={"city": "Lyon"}, error=("ValueError", "no siren")),
    "retrieval docs": Shown(kind="retriever", input="weather Lyon", output=[DOCUMENT]),
}


@pytest.mark.parametrize(
    ("way", "scheme", "role"),
    [
        pytest.param(live("http/protobuf"), "http", "http", id="live"),
        pytest.param(live("grpc"), "http", "grpc", id="live-grpc"),
        pytest.param(later(), "http", "http", id="export"),
        pytest.param(later(), "grpc", "grpc", id="export-grpc"),
    ],
)
def test_phoenix_shows_agent_model_and_tools(
    phoenix_server: RunningPhoenix, way: Way, scheme: str, role: str, tmp_path: Path
) -> None:
    """Six spans with inputs, outputs, tokens and the error; the session, and the tokens of the trace, once."""
    trace_id = way(f"{scheme}://{phoenix_server.address(role)}", tmp_path)
    trace = in_phoenix(phoenix_server, trace_id, 6)
    assert shown_by_phoenix(spans_of(trace)) == OF_PHOENIX
    assert trace["session"]["sessionId"] == "s1"
    assert trace["rootSpan"]["cumulativeTokenCountTotal"] == 17


def test_phoenix_shows_what_an_agent_was_asked_where_the_caller_says_so(phoenix_server: RunningPhoenix) -> None:
    """Its page and its list take the input and output of an agent from OpenInference's attributes alone."""
    provider = configure(otlp=phoenix_server.url("http"), resource={PROJECT: "ours"})
    with AgentTracer(tracer_provider=provider, agent_name="weather") as tracer:
        with tracer.run(user_input="Rain?") as run:
            run.final_output = "No."
            with tracer.run(user_input="Really?", agent_name="helper") as helper:
                helper.set_attribute("input.value", "Really?")
                helper.set_attribute("output.value", "Really.")
        assert tracer.flush(DEADLOCK_S)
    provider.shutdown()
    spans = spans_of(in_phoenix(phoenix_server, run.trace_id, 2))
    columns = {span["name"]: (span["input"], span["output"]) for span in spans}
    assert columns == {
        "invoke_agent weather": (None, None),
        "invoke_agent helper": ({"value": "Really?"}, {"value": "Really."}),
    }


def test_phoenix_loses_a_span_with_bytes_in_an_attribute_of_somebody_else(phoenix_server: RunningPhoenix) -> None:
    """What our own methods write is text; an attribute that goes to the span itself is the caller's."""
    provider = configure(otlp=phoenix_server.url("http"), resource={PROJECT: "ours"})
    with AgentTracer(tracer_provider=provider, agent_name="weather") as tracer:
        with tracer.run() as run:
            with run.step("lost") as step:
                step.span.set_attribute("raw", b"\x00")
            with run.step("kept") as step:
                step.set_attribute("raw", b"\x00")
        assert tracer.flush(DEADLOCK_S)
    provider.shutdown()
    wait_until(lambda: "Span insertion failed" in phoenix_server.log_tail(), "a lost span in its log")
    spans = spans_of(in_phoenix(phoenix_server, run.trace_id, 2))
    assert {span["name"] for span in spans} == {"invoke_agent weather", "execute_tool kept"}
