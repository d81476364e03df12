"""A server that keeps spans and answers as Jaeger does: either interface, and every way in which that can go wrong."""

from __future__ import annotations

import base64
import calendar
import json
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import SpanRecord
from tests.support.waiting import DEADLOCK_S

UI = b"<!DOCTYPE html>\n<html><title>Jaeger UI</title></html>"
_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


class Request(NamedTuple):
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Reply:
    """An answer; one that is `cut` promises more than it sends, one that is `held` does not come before the end."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    held: bool = False


def reply(document: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "text/plain; charset=utf-8"})


def v3_error(status: int, message: str) -> Reply:
    return reply({"error": {"httpCode": status, "message": message}}, status)


def legacy_error(status: int, message: str) -> Reply:
    return reply({"data": None, "total": 0, "errors": [{"code": status, "msg": message}]}, status)


@dataclass
class Behaviour:
    """What the server does; by default what Jaeger 1.62 does."""

    interfaces: tuple[str, ...] = ("v3", "legacy")
    names: str = "snake"  # or camel: the only parameter names of v3 that it knows
    nothing_is_404: bool = False
    most: int | None = None  # traces in an answer, whatever is asked for
    depth_counts: bool = True
    attributes_count: bool = True
    times_count: bool = True
    service_counts: bool = True
    parts: str | None = None  # "window" or "service": only spans of the window, or of the service, are given
    a_group_each: bool = False
    a_line_each: bool = False
    resolution_ns: int = 1
    base: str = ""
    first: list[Reply] = field(default_factory=list)  # go before everything else
    always: Reply | None = None
    for_searches: Reply | None = None


class FakeJaeger:
    """The server, listening on this machine while the block lasts."""

    def __init__(self, certificate: ssl.SSLContext | None = None) -> None:
        self.behaviour = Behaviour()
        self.traces: dict[str, list[SpanRecord]] = {}
        self.requests: list[Request] = []
        self.over = threading.Event()
        self.scheme = "http" if certificate is None else "https"
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        if certificate is not None:
            self._server.socket = certificate.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> FakeJaeger:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "") -> str:
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}{path}"

    def keep(self, spans: Iterable[SpanRecord]) -> None:
        for span in spans:
            self.traces.setdefault(span.trace_id, []).append(span)

    def fresh(self, spans: Iterable[SpanRecord] = (), **behaviour: Any) -> None:
        """Forget everything, keep these spans, and behave so."""
        self.traces.clear()
        self.requests.clear()
        self.behaviour = Behaviour(**behaviour)
        self.keep(spans)

    @property
    def searches(self) -> list[Request]:
        return [request for request in self.requests if request.path.endswith("/traces")]

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        does = self.behaviour
        if does.first:
            return does.first.pop(0)
        if does.always is not None:
            return does.always
        if not request.path.startswith(f"{does.base}/api/"):
            return Reply(200, UI, {"Content-Type": "text/html; charset=utf-8"})
        path = request.path[len(does.base) :]
        interface = "v3" if path.startswith("/api/v3/") else "legacy"
        if interface not in does.interfaces:
            return Reply(200, UI, {"Content-Type": "text/html; charset=utf-8"})
        *_, kind, rest = f"{path}/".replace("/api/v3/", "/").replace("/api/", "/").split("/", 2)
        return getattr(self, f"_{interface}_{kind}")(rest.rstrip("/"), request.query)

    def _v3_services(self, _: str, __: dict[str, str]) -> Reply:
        return reply({"services": self._services()} if self.traces else {})

    def _v3_traces(self, trace_id: str, query: dict[str, str]) -> Reply:
        if trace_id:
            trace = self.traces.get(trace_id)
            return v3_error(404, "trace not found") if trace is None else self._v3_found([trace])
        if self.behaviour.for_searches is not None:
            return self.behaviour.for_searches
        names = ("service_name", "start_time_min", "start_time_max", "num_traces")
        if self.behaviour.names == "camel":
            names = ("serviceName", "startTimeMin", "startTimeMax", "searchDepth")
        service, begin, end, depth = (query.get(f"query.{name}", "") for name in names)
        if not begin or not end or not begin < end:
            return v3_error(400, "malformed parameter query.start_time_min")
        attributes = json.loads(query.get("query.attributes", "{}"))
        found = self._found(service, _unix_ns(begin), _unix_ns(end), int(depth), attributes)
        if not found and self.behaviour.nothing_is_404:
            return v3_error(404, "No traces found")
        return self._v3_found(found)

    def _v3_found(self, traces: Sequence[list[SpanRecord]]) -> Reply:
        spans = [span for trace in traces for span in trace]
        does = self.behaviour
        parts = [[span] for span in spans] if does.a_group_each or does.a_line_each else [spans]
        groups = [json.loads(otlp_json.encode(part))["resourceSpans"] for part in parts]
        if does.a_line_each:
            lines = [json.dumps({"result": {"resourceSpans": group}}) for group in groups]
            return Reply(200, "\n".join(lines).encode())
        return reply({"result": {"resourceSpans": [each for group in groups for each in group]}})

    def _legacy_services(self, _: str, __: dict[str, str]) -> Reply:
        return _legacy_found(self._services() or None)

    def _legacy_traces(self, trace_id: str, query: dict[str, str]) -> Reply:
        if trace_id:
            trace = self.traces.get(trace_id)
            return legacy_error(404, "trace not found") if trace is None else _legacy_found([jaeger_trace(trace)])
        if self.behaviour.for_searches is not None:
            return self.behaviour.for_searches
        if not query.get("service"):
            return legacy_error(400, "parameter 'service' is required")
        begin, end = int(query["start"]) * 1000, int(query["end"]) * 1000
        tags = json.loads(query.get("tags", "{}"))
        found = self._found(query["service"], begin, end, int(query["limit"]), tags)
        return _legacy_found([jaeger_trace(trace) for trace in found])

    # ── what it keeps ────────────────────────────────────────────────────────────────────────────────────────────────

    def _services(self) -> list[str]:
        return sorted({service_of(span) for spans in self.traces.values() for span in spans})

    def _found(
        self, service: str, begin: int, end: int, depth: int, attributes: Mapping[str, str]
    ) -> list[list[SpanRecord]]:
        """As in memory: traces with such a span, of those the newest; both ends of the window belong to it."""
        does = self.behaviour
        step = does.resolution_ns
        begin, end = begin // step, end // step

        def fits(span: SpanRecord) -> bool:
            return (
                (not does.times_count or begin <= span.start_ns // step <= end)
                and (not does.service_counts or service_of(span) == service)
                and (not does.attributes_count or attributes.items() <= span.attributes.items())
            )

        found = [list(spans) for spans in self.traces.values() if any(map(fits, spans))]
        found.sort(key=lambda spans: spans[0].start_ns)
        most = min(depth if does.depth_counts else len(found), len(found) if does.most is None else does.most)
        return [self._part(spans, fits, service) for spans in found[max(0, len(found) - most) :]]

    def _part(self, spans: list[SpanRecord], fits: Any, service: str) -> list[SpanRecord]:
        if self.behaviour.parts == "window":
            return [span for span in spans if fits(span)]
        if self.behaviour.parts == "service":
            return [span for span in spans if service_of(span) == service]
        return spans


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that do not like our certificate hang up."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeJaeger
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        sent = self.fake.answer(Request(parts.path, dict(parse_qsl(parts.query)), headers))
        if sent.held:
            self.fake.over.wait(DEADLOCK_S)
        self.send_response(sent.status)
        for key, value in sent.headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(sent.body) + (1000 if sent.cut else 0)))
        self.end_headers()
        try:
            self.wfile.write(sent.body)
        except OSError:
            pass  # the client has hung up
        self.close_connection = self.close_connection or sent.cut or sent.held

    def log_message(self, *_: object) -> None:
        pass


def service_of(span: SpanRecord) -> str:
    return str(span.resource.attributes.get("service.name") or "missing-service-name")


def _unix_ns(text: str) -> int:
    seconds, _, rest = text.removesuffix("Z").partition(".")
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) * 1_000_000_000 + int(rest.ljust(9, "0"))


# ── Jaeger's JSON ────────────────────────────────────────────────────────────────────────────────────────────────────


def _legacy_found(data: list[Any] | None) -> Reply:
    return reply({"data": data, "total": len(data or ()), "limit": 0, "offset": 0, "errors": None})


def jaeger_trace(spans: Sequence[SpanRecord]) -> dict[str, Any]:
    """A trace in Jaeger's JSON, with what that loses."""
    processes = {
        str(id(span.resource)): {
            "serviceName": span.resource.attributes.get("service.name", "OTLPResourceNoServiceName"),
            "tags": list(_tags({k: v for k, v in span.resource.attributes.items() if k != "service.name"})),
        }
        for span in spans
    }
    return {
        "traceID": spans[0].trace_id,
        "spans": [_jaeger_span(span) for span in spans],
        "processes": processes,
        "warnings": None,
    }


def _jaeger_span(span: SpanRecord) -> dict[str, Any]:
    parents = [("CHILD_OF", span.trace_id, span.parent_span_id)] if span.parent_span_id else []
    references = parents + [("FOLLOWS_FROM", link.trace_id, link.span_id) for link in span.links]
    attributes: dict[str, Any] = dict(span.attributes)
    if span.kind:
        attributes["span.kind"] = _KINDS[span.kind]
    if span.status_code:
        attributes["otel.status_code"] = "ERROR" if span.status_code == 2 else "OK"
    if span.status_code == 2:
        attributes["error"] = True
    for key, value in (
        ("otel.status_description", span.status_message),
        ("otel.scope.name", span.scope.name),
        ("otel.scope.version", span.scope.version),
        ("w3c.tracestate", span.trace_state),
    ):
        if value:
            attributes[key] = value
    ended_ns = span.start_ns if span.end_ns is None else span.end_ns
    return {
        "traceID": span.trace_id.removeprefix("0" * 16),
        "spanID": span.span_id,
        "flags": 1,
        "operationName": span.name,
        "references": [{"refType": kind, "traceID": trace, "spanID": own} for kind, trace, own in references],
        "startTime": span.start_ns // 1000,
        "duration": (ended_ns - span.start_ns) // 1000,
        "tags": list(_tags(attributes)),
        "logs": [
            {"timestamp": event.time_ns // 1000, "fields": list(_tags({"event": event.name, **event.attributes}))}
            for event in span.events
        ],
        "processID": str(id(span.resource)),
        "warnings": None,
    }


def _tags(attributes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, value in attributes.items():
        kind, shown = _tag(value)
        yield {"key": key, "type": kind, "value": shown}


def _tag(value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return "int64", value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return "float64", int(value) if value.is_integer() else value
    if isinstance(value, bytes):
        return "binary", base64.b64encode(value).decode()
    return "string", value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
