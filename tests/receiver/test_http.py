"""The receiver over HTTP: what it takes, how it answers, and what is then in the store."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_agent_trace.receiver import Limits
from otel_agent_trace.span import LogRecord
from tests.support.own_receiver import JSON, PROTOBUF, TRACE, Receiver, a_span, json_of, proto_of, receiving

GZIP = {"content-encoding": "gzip"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "t.jsonl") as started:
        yield started


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize("encoding", [None, "identity", "gzip", "GZIP"])
def test_what_is_received_is_in_the_store(running: Receiver, encoding: str | None, is_json: bool) -> None:
    spans = [a_span(number) for number in range(3)]
    body = (json_of if is_json else proto_of)(*spans)
    headers = (JSON if is_json else PROTOBUF) | ({} if encoding is None else {"content-encoding": encoding})
    answer = running.post(
        gzip.compress(body) if headers.get("content-encoding", "").lower() == "gzip" else body, headers
    )
    assert (answer.status, answer.body) == (200, b"{}" if is_json else b"")
    assert answer.headers["content-type"] == headers["content-type"]
    assert running.spans() == spans


def test_logs_are_in_the_store(running: Receiver) -> None:
    record = {"timeUnixNano": "5", "severityNumber": 17, "body": {"stringValue": "it failed"}, "traceId": TRACE}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    assert running.post(body, JSON, "/v1/logs").status == 200
    assert running.logs() == [LogRecord(TRACE, "", "", 5, {}, "it failed", 17)]


def test_a_content_type_may_have_parameters(running: Receiver) -> None:
    answer = running.post(json_of(a_span(1)), {"content-type": "Application/JSON; charset=utf-8"})
    assert (answer.status, len(running.spans())) == (200, 1)


@pytest.mark.parametrize("body", [b"{}", b'{"resourceSpans":[]}'])
def test_a_request_may_be_empty(running: Receiver, body: bytes) -> None:
    assert running.post(body, JSON).status == 200
    assert running.post(b"", PROTOBUF).status == 200


# ── partial success ──────────────────────────────────────────────────────────────────────────────────────────────────

BAD_IDS = [("", "b7ad6b7169203331"), (TRACE, ""), ("0" * 32, "b7ad6b7169203331"), (TRACE, "0" * 16), (TRACE, "zz" * 8)]


@pytest.mark.parametrize(("trace_id", "span_id"), BAD_IDS)
def test_bad_spans_of_json_are_rejected_and_counted(running: Receiver, trace_id: str, span_id: str) -> None:
    request = json.loads(json_of(a_span(1), a_span(2)))
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= {"traceId": trace_id, "spanId": span_id}
    answer = running.post(json.dumps(request).encode(), JSON)
    partial = json.loads(answer.body)["partialSuccess"]
    assert (answer.status, partial["rejectedSpans"]) == (200, "1")
    assert partial["errorMessage"].startswith("a span: ")
    assert running.spans() == [a_span(2)]
    assert running.sink.stats()["rejected"] == 1


@pytest.mark.parametrize("field", ["trace_id", "span_id"])
@pytest.mark.parametrize("digits", ["", "00" * 16, "00" * 8, "0102"])
def test_bad_spans_of_protobuf_are_rejected_and_counted(running: Receiver, field: str, digits: str) -> None:
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    request = TracesData.FromString(proto_of(a_span(1), a_span(2), a_span(3)))
    setattr(request.resource_spans[0].scope_spans[0].spans[1], field, bytes.fromhex(digits))
    answer = running.post(request.SerializeToString(), PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, partial.rejected_spans) == (200, 1)
    assert "id" in partial.error_message
    assert running.spans() == [a_span(1), a_span(3)]


def test_bad_values_cost_themselves_and_are_a_warning(running: Receiver) -> None:
    request = json.loads(json_of(a_span(1)))
    span = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["attributes"] += [{"key": "bad", "value": {"intValue": "many"}}]
    partial = json.loads(running.post(json.dumps(request).encode(), JSON).body)["partialSuccess"]
    assert partial["rejectedSpans"] == "0"
    assert "intValue" in partial["errorMessage"]
    assert running.spans()[0].attributes["number"] == 1


@pytest.mark.parametrize("is_json", [True, False])
def test_bad_log_records_are_rejected_and_counted(running: Receiver, is_json: bool) -> None:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData

    if is_json:
        records = [{"body": {"stringValue": "a"}, "traceId": "12"}, {"body": {"stringValue": "b"}}]
        body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()
        answer = running.post(body, JSON, "/v1/logs")
        assert json.loads(answer.body)["partialSuccess"]["rejectedLogRecords"] == "1"
    else:
        data = LogsData()
        part = data.resource_logs.add().scope_logs.add()
        part.log_records.add(trace_id=b"12").body.string_value = "a"
        part.log_records.add().body.string_value = "b"
        answer = running.post(data.SerializeToString(), PROTOBUF, "/v1/logs")
        assert ExportLogsServiceResponse.FromString(answer.body).partial_success.rejected_log_records == 1
    assert [log.body for log in running.logs()] == ["b"]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────

UNREADABLE = {
    "no JSON": (b"resourceSpans", JSON),
    "half of an object": (b'{"resourceSpans":[{', JSON),
    "an array": (b"[]", JSON),
    "another object": (b'{"spans":[]}', JSON),
    "not UTF-8": (b'{"resourceSpans":[{"schemaUrl":"\xff"}]}', JSON),
    "nested too deeply": (b'{"resourceSpans":' + b"[" * 1_000_000, JSON),
    "nested too deeply, and closed": (b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", JSON),
    "no protobuf": (b"\xff\xff\xff", PROTOBUF),
    "half of a message": (proto_of(a_span(1))[:-3], PROTOBUF),
    "no gzip": (b"{}", JSON | GZIP),
    "half of gzip": (gzip.compress(b"{}" * 100)[:-9], JSON | GZIP),
    "many members of gzip": (gzip.compress(b"") * 1000 + gzip.compress(b"{}"), JSON | GZIP),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_400(running: Receiver, name: str) -> None:
    body, headers = UNREADABLE[name]
    answer = running.post(body, headers)
    assert answer.status == 400
    assert message_of(answer.body, headers)
    assert running.spans() == []


def message_of(body: bytes, headers: dict[str, str]) -> str:
    """The message of a `google.rpc.Status` in the encoding of the request."""
    if headers == PROTOBUF:
        return Status.FromString(body).message
    return json.loads(body)["message"]


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_the_other_signal_is_refused(running: Receiver, path: str) -> None:
    other = {"/v1/logs": b'{"resourceSpans":[]}', "/v1/traces": b'{"resourceLogs":[]}'}[path]
    assert running.post(other, JSON, path).status == 400


@pytest.mark.parametrize("path", ["/", "/v1/metrics", "/v1/traces/", "/v1", "/../etc/passwd", "/v1/traces/../../x"])
def test_other_paths_are_404(running: Receiver, path: str) -> None:
    answer = running.post(b"{}", JSON, path)
    assert answer.status == 404
    assert "/v1/traces" in json.loads(answer.body)["message"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_405(running: Receiver, method: str) -> None:
    answer = running.post(b"", {}, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"])
def test_other_content_types_are_415(running: Receiver, kind: str | None) -> None:
    assert running.post(json_of(a_span(1)), {} if kind is None else {"content-type": kind}).status == 415
    assert running.spans() == []


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_other_encodings_are_415(running: Receiver, encoding: str) -> None:
    assert running.post(b"{}", JSON | {"content-encoding": encoding}).status == 415


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SMALL = Limits(
    packed_bytes=1_000_000, unpacked_bytes=4_000_000, ratio=50, small_bytes=1_000_000, waiting_bytes=2_000_000
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "t.jsonl", limits=SMALL) as started:
        yield started


def test_too_large_and_announced_is_413_before_the_body_is_sent(small: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 9999999999999999999\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_too_large_and_sent_whole_is_413(small: Receiver) -> None:
    answer = small.post(b" " * 30_000_000, JSON)
    assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_too_large_and_streamed_is_413(small: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(200):
            connection.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("size", [4_000_001, 300_000_000])
def test_too_large_after_decompression_is_413(small: Receiver, size: int) -> None:
    assert small.post(gzip.compress(bytes(size), 9), JSON | GZIP).status == 413


def test_a_ratio_that_texts_do_not_have_is_413(small: Receiver) -> None:
    assert small.post(gzip.compress(b" " * 1_100_000, 9), JSON | GZIP).status == 413
    assert small.post(gzip.compress(b" " * 900_000 + b"{}", 9), JSON | GZIP).status == 200


def test_several_members_of_gzip_are_one_body(small: Receiver) -> None:
    body = json_of(a_span(1))
    assert small.post(gzip.compress(body[:40]) + gzip.compress(body[40:]), JSON | GZIP).status == 200
    assert small.post(gzip.compress(b" " * 800_000) * 3, JSON | GZIP).status == 413
    assert small.spans() == [a_span(1)]


def test_a_span_that_readers_would_refuse_is_rejected(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", limits=Limits(packed_bytes=80 << 20), redact=False) as running:
        body = json_of(a_span(1, attributes={"long": "a b " * (17 << 20)}), a_span(2))
        assert json.loads(running.post(body, JSON).body)["partialSuccess"]["rejectedSpans"] == "1"
        assert running.spans() == [a_span(2)]


def test_a_body_that_does_not_arrive_in_time_is_408(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", limits=Limits(body_timeout_s=0.05)) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
            connection.sendall(
                b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: 100\r\n\r\n{"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert running.post(json_of(a_span(1)), JSON).status == 200


def test_an_incomplete_body_is_not_written(small: Receiver) -> None:
    body = json_of(a_span(1))
    with socket.create_connection(("127.0.0.1", small.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body) + 1, body)
        )
    assert small.post(json_of(a_span(2)), JSON).status == 200
    assert small.spans() == [a_span(2)]


def test_all_bodies_together_are_bounded_and_clients_may_send_again(small: Receiver) -> None:
    waiting = [socket.create_connection(("127.0.0.1", small.port), timeout=60) for _ in range(2)]
    try:
        for connection in waiting:  # each announces as much as is allowed
            connection.sendall(
                b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"expect: 100-continue\r\ncontent-length: 1000000\r\n\r\n"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        answer = small.post(json_of(a_span(1)), JSON)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    finally:
        for connection in waiting:
            connection.close()


# ── many clients ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_clients_at_once(running: Receiver) -> None:
    failures = list[int]()

    def send(client: int) -> None:
        for number in range(20):
            status = running.post(proto_of(a_span(client * 1000 + number)), PROTOBUF).status
            failures.extend([status] * (status != 200))

    threads = [threading.Thread(target=send, args=(client,)) for client in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = {f"span {client * 1000 + number}" for client in range(20) for number in range(20)}
    assert sorted(span.name for span in running.spans()) == sorted(expected)
    assert running.sink.stats()["requests: traces"] == 400


def test_requests_follow_each_other_on_one_connection(running: Receiver) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    for number in range(5):
        connection.request("POST", "/v1/traces", proto_of(a_span(number)), PROTOBUF)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.will_close) == (200, False)
    connection.close()
    assert len(running.spans()) == 5
