"""`inject` and `extract`: what carriers may look like, and what in them is no context."""

from __future__ import annotations

import asyncio
import logging
from email.message import Message as HttpMessage
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from pydantic import BaseModel, ConfigDict

from otel_agent_trace import (
    AgentTracer,
    InMemoryBackend,
    RemoteContext,
    current_run,
    extract,
    inject,
    pseudonymize_user_id,
)

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


class Meta(BaseModel):
    model_config = ConfigDict(extra="allow")


def http_message() -> HttpMessage:
    message = HttpMessage()
    message["TraceParent"] = PARENT
    return message


CARRIERS: dict[str, Any] = {
    "mapping": {"traceparent": PARENT},
    "capitals": {"Traceparent": PARENT},
    "environment": {"TRACEPARENT": PARENT},
    "wsgi": {"REQUEST_METHOD": "GET", "HTTP_TRACEPARENT": PARENT, "TRACEPARENT": PARENT.replace("4bf", "555")},
    "httpx": httpx.Headers({"TraceParent": PARENT}),
    "http.client": http_message(),
    "asgi": [(b"host", b"x"), (b"traceparent", PARENT.encode())],
    "pairs": [("TraceParent", PARENT)],
    "lists": {"traceparent": [PARENT]},
    "bytes": {b"traceparent": PARENT.encode()},
    "pydantic": Meta(traceparent=PARENT),  # type: ignore[call-arg]
    "attributes": SimpleNamespace(traceparent=PARENT),
    "params": SimpleNamespace(name="tool", meta=Meta(traceparent=PARENT)),  # type: ignore[call-arg]
    "params as data": {"name": "tool", "_meta": {"traceparent": PARENT}},
    "spaces": {"traceparent": f" {PARENT} "},
    "later version": {"traceparent": f"01-{TRACE_ID}-{SPAN_ID}-01-more"},
}
NO_CONTEXT: dict[str, Any] = {
    "none": None,
    "empty": {},
    "another name": {"x-traceparent": PARENT},
    "wsgi of a process with a parent": {"REQUEST_METHOD": "GET", "TRACEPARENT": PARENT},
    "two": [("traceparent", PARENT), ("traceparent", PARENT)],
    "zero ids": {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"},
    "version ff": {"traceparent": f"ff-{TRACE_ID}-{SPAN_ID}-01"},
    "capital digits": {"traceparent": PARENT.upper()},
    "cut off": {"traceparent": PARENT[:-1]},
    "too long": {"traceparent": f"01-{TRACE_ID}-{SPAN_ID}-01-{'x' * 512}"},
    "no text": {"traceparent": 5},
    "no strings": {5: PARENT, None: PARENT},
    "surrogates": {"traceparent": "\udcff" * 55},
    "a text": PARENT,
    "a number": 5,
    "a class": dict,
    "torn pairs": [("traceparent",), 5, None, (1, 2, 3)],
}


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> Any:
    """What others send is no reason to fill the log."""
    yield
    assert caplog.records == []


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
def test_a_carrier_gives_a_parent(tracer: AgentTracer, memory: InMemoryBackend, carrier: Any) -> None:
    with extract(carrier), tracer.run():
        pass
    (span,) = memory.spans()
    assert (span.trace_id, span.parent_span_id) == (TRACE_ID, SPAN_ID)


@pytest.mark.parametrize("carrier", NO_CONTEXT.values(), ids=NO_CONTEXT)
def test_a_carrier_without_a_context_gives_no_parent(
    tracer: AgentTracer, memory: InMemoryBackend, carrier: Any
) -> None:
    """Not that of before either, which is another caller's; afterwards it is back."""
    with tracer.run(run_id="before") as before:
        with extract(carrier):
            assert current_run().started is False
            with tracer.run(run_id="new"):
                pass
        assert current_run() is before
    spans = {span.attributes["agent_trace.run.id"]: span for span in memory.spans()}
    assert spans["new"].parent_span_id is None
    assert spans["new"].trace_id != spans["before"].trace_id


def test_hostile_carriers_are_counted(tracer: AgentTracer, caplog: pytest.LogCaptureFixture) -> None:
    class Hostile:
        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError

    with tracer.extract(Hostile()), tracer.run():
        pass
    assert (tracer.stats()["failed: extract"], tracer.stats()["runs"]) == (1, 1)
    with tracer.run():
        carrier: Any = Hostile()
        assert tracer.inject(carrier) is carrier
    assert tracer.stats()["failed: inject"] == 2  # looking for what is stale there, and writing
    caplog.clear()


def test_a_carrier_that_can_only_be_written(tracer: AgentTracer) -> None:
    class Writable:
        written: dict[str, str] = {}

        def __setitem__(self, name: str, value: str) -> None:
            self.written[name] = value

    with tracer.run() as run:
        tracer.inject(Writable())  # type: ignore[call-overload]
    assert Writable.written == {"traceparent": f"00-{run.trace_id}-{run.span_id}-01", "tracestate": "ot=th:0"}


def test_what_is_injected_is_extracted(tracer: AgentTracer) -> None:
    """Ids, trace state and baggage; in the words of the W3C."""
    carrier = {"traceparent": PARENT, "tracestate": "a=1,b=2", "baggage": "user=zo%C3%AB,k=v"}
    with extract(carrier):
        assert inject() == {**carrier, "baggage": "user=zo%C3%AB,k=v"}
        assert baggage.get_all() == {"user": "zoë", "k": "v"}
        with extract({}):
            assert (inject(), dict(baggage.get_all())) == ({}, {})
    assert inject() == {}


def test_several_trace_states_are_one(tracer: AgentTracer) -> None:
    headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("TraceState", "b=2")]
    state = trace.get_current_span(extract(headers)).get_span_context().trace_state
    assert dict(state) == {"a": "1", "b": "2"}
    assert trace.get_current_span(extract([*headers, ("tracestate", "c=" + "x" * 500)])).get_span_context().is_valid


def test_a_context_is_put_into_what_is_given(tracer: AgentTracer) -> None:
    """Into headers that are there, of the current context, or of any that `parent=` takes."""
    headers = httpx.Headers({"accept": "*/*"})
    with tracer.run() as run:
        assert inject(headers) is headers
        with run.step("s") as step:
            written = {name: headers[name] for name in ("traceparent", "tracestate")}
            assert tracer.inject(context=run) == inject(context=run.span) == written
            assert step.span_id in inject()["traceparent"]
    assert headers["traceparent"] == f"00-{run.trace_id}-{run.span_id}-01"
    assert headers["accept"] == "*/*"


@pytest.mark.parametrize("kind", [dict, httpx.Headers])
def test_headers_that_are_used_again_keep_no_context_of_before(tracer: AgentTracer, kind: Any) -> None:
    headers = kind({"Traceparent": PARENT, "tracestate": "stale=1", "Baggage": "stale=1", "accept": "*/*"})
    with tracer.run() as run:
        inject(headers)
        parent = {"traceparent": f"00-{run.trace_id}-{run.span_id}-01", "tracestate": "ot=th:0"}
        assert dict(headers) == {"accept": "*/*", **parent}
    assert dict(inject(headers)) == {"accept": "*/*"}


def test_a_remote_context_is_a_context_of_opentelemetry(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """So it can be given where those are taken; entered at once by many tasks, each has it and gives it back."""
    remote = tracer.extract({"traceparent": PARENT})
    assert isinstance(remote, RemoteContext)
    assert isinstance(remote, Context)
    span = trace.get_current_span(remote).get_span_context()
    assert (format(span.trace_id, "032x"), span.is_remote) == (TRACE_ID, True)

    async def one() -> None:
        async with remote:
            await asyncio.sleep(0)
            async with remote, tracer.run(parent=remote):
                await asyncio.sleep(0)
        assert inject() == {}

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(5)))

    asyncio.run(main())
    assert [span.parent_span_id for span in memory.spans()] == [SPAN_ID] * 5


def test_propagators_of_the_environment_do_not_matter(run_python: Any) -> None:
    """Whatever OTEL_PROPAGATORS says, the fields are those of the W3C."""
    code = f"""
    from otel_agent_trace import extract, inject
    with extract({{"traceparent": "{PARENT}"}}):
        print(inject())
    """
    for value in ("b3", "nonesuch"):
        done = run_python(code, OTEL_PROPAGATORS=value)
        assert (done.stdout, done.stderr) == (f"{ {'traceparent': PARENT} }\n", "")


# ── session and user ─────────────────────────────────────────────────────────────────────────────────────────────────

USER = pseudonymize_user_id("u1", key="k")


def test_session_and_user_of_a_run_come_with_it(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """They stand on the spans of runs and steps beyond, and go on from there, also through a process without a run."""
    with tracer.run(session_id="s 1/ä", user_id=USER):
        sent = inject()
    assert sent["agentsession"].isascii()
    with extract(sent):
        relayed = tracer.inject()
    assert relayed == sent
    with extract(relayed):
        tracer.tool(len)("step")
        with tracer.run() as far, tracer.run() as inner:
            tracer.tool(len)("step")
            assert inject()["agentsession"] == sent["agentsession"]
        with tracer.run(session_id="own") as own:
            pass
        with tracer.bind(user_id="u2"), tracer.run() as bound:
            pass
    assert [(run.session_id, run.user_id) for run in (far, inner)] == [("s 1/ä", USER)] * 2
    assert (own.session_id, own.user_id, bound.session_id) == ("own", USER, "s 1/ä")
    assert bound.user_id not in (None, USER, "u2")
    spans = [span.attributes for span in memory.spans() if span.name == "execute_tool len"]
    assert [(span["gen_ai.conversation.id"], span["enduser.pseudo.id"]) for span in spans] == [("s 1/ä", USER)] * 2


def test_what_is_extracted_or_given_replaces_session_and_user(tracer: AgentTracer) -> None:
    with tracer.run(session_id="s1", user_id=USER) as outer:
        sent = inject()
        for parent in (extract({}), outer.span, extract({"traceparent": PARENT})):
            with tracer.run(parent=parent) as run:
                assert (run.session_id, run.user_id) == (None, None)
            assert "agentsession" not in inject(dict(sent), context=parent)
    with extract(sent), extract({"traceparent": PARENT}), tracer.run() as run:
        assert (run.session_id, run.user_id, inject().keys()) == (None, None, {"traceparent", "tracestate"})


def test_no_plain_user_id_travels(memory: InMemoryBackend) -> None:
    """Neither out of a tracer that records them, nor in from a caller that nobody knows."""
    plain, none = (AgentTracer(backend=memory, user_ids=mode) for mode in ("plain", "none"))
    with plain.run(session_id="s1", user_id="u1"):
        assert inject()["agentsession"] == "session_id=s1"
    for received in ("user_id=u1", f"user_id={USER}&user_id=u1", "user_id", "&&=", "user_id=hmac:x", "session_id=%"):
        with extract({"agentsession": received}), plain.run() as run:
            assert run.user_id is None
    with extract({"agentsession": f"user_id={USER}"}), none.run(), plain.run() as run:
        assert run.user_id is None


@pytest.mark.parametrize(
    "carrier",
    [
        {"agentsession": "session_id=\udc80"},
        {"agentsession": "session_id=" + "x" * 2048},
        [("agentsession", "session_id=a"), ("agentsession", "session_id=b")],
        {"agentsession": "session_id="},
        {"agentsession": "other=1"},
    ],
)
def test_a_session_that_is_none(tracer: AgentTracer, carrier: Any) -> None:
    with extract(carrier), tracer.run() as run:
        assert (run.session_id, inject().keys()) == (None, {"traceparent", "tracestate"})
    with tracer.run(session_id="x" * 3000):
        assert inject().keys() == {"traceparent", "tracestate"}


names = st.sampled_from(
    ["traceparent", "Tracestate", "BAGGAGE", "agentsession", b"traceparent", "_meta", "REQUEST_METHOD", 5, None]
)
pieces = st.sampled_from(
    [
        "session_id=",
        "&",
        "user_id=",
        "%ff",
        "00",
        "-",
        TRACE_ID,
        SPAN_ID,
        "01",
        "ff",
        "0" * 32,
        ",",
        "a=1",
        "\n",
        " ",
        "zoë",
        "\udc80",
        PARENT,
    ]
)
texts = st.lists(pieces, max_size=8).map("".join) | st.text(max_size=60)
scalars = texts | st.binary(max_size=60) | st.integers() | st.none()
carriers = st.recursive(
    scalars,
    lambda inner: st.dictionaries(names, inner) | st.lists(st.tuples(names, inner) | inner, max_size=4),
    max_leaves=12,
)


@given(carriers)
def test_no_carrier_does_harm(carrier: Any) -> None:
    """Whatever it is, there is a context, of a span that it names or of none, and it can be sent on."""
    logging.disable()  # of malformed baggage OpenTelemetry itself speaks
    try:
        context = extract(carrier)
        span = trace.get_current_span(context).get_span_context()
        assert not span.is_valid or (format(span.trace_id, "032x") in str(carrier) and span.is_remote)
        sent = inject(context=context)
        assert trace.get_current_span(extract(sent)).get_span_context() == span
    finally:
        logging.disable(logging.NOTSET)
