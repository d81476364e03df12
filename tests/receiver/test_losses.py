"""What was answered with 200 is in the store: after a kill, on a full disk, and at the end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_agent_trace.receiver.deliveries import Delivery
from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.sink import StoreSink
from otel_agent_trace.store.lines import LineFile
from tests.support.own_receiver import (
    JSON,
    PROGRAM,
    PROTOBUF,
    a_span,
    json_of,
    proto_of,
    receiving,
    request,
    stored_spans,
)
from tests.support.processes import environment
from tests.support.waiting import DEADLOCK_S, wait_until


@contextmanager
def program(file: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A receiver in a process of its own, and its ports."""
    command = [sys.executable, "-c", PROGRAM, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        http_port, grpc_port = map(int, process.stdout.readline().split())
        try:
            yield process, http_port, grpc_port
        finally:
            process.kill()


def sending_http(port: int, acknowledged: set[str], first: int) -> None:
    number = first
    try:
        while True:
            spans = [a_span(number + place) for place in range(5)]
            if request(port, proto_of(*spans), PROTOBUF).status == 200:
                acknowledged.update(span.name for span in spans)
            number += 5
    except (OSError, EOFError):
        return


def sending_grpc(port: int, acknowledged: set[str], first: int) -> None:
    number = first
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        try:
            while True:
                export(proto_of(a_span(number)), timeout=DEADLOCK_S)
                acknowledged.add(f"span {number}")
                number += 1
        except grpc.RpcError:
            return


@pytest.mark.parametrize("kill", range(3))
def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path, kill: int) -> None:
    """Clients send without a pause, over both protocols, while the process is killed."""
    file, acknowledged = tmp_path / "t.jsonl", set[str]()
    with program(file) as (process, http_port, grpc_port):
        threads = [
            threading.Thread(target=sending_http, args=(http_port, acknowledged, client * 1_000_000))
            for client in range(3)
        ]
        threads.append(threading.Thread(target=sending_grpc, args=(grpc_port, acknowledged, 9_000_000)))
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) > 200 * (kill + 1), "spans are acknowledged")
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert any(int(name.split()[1]) >= 9_000_000 for name in acknowledged)
    lines = file.read_bytes().split(b"\n")
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"\n".join(lines[:-1]) + b"\n")  # the last line may be torn
    assert acknowledged - {span.name for span in stored_spans(whole)} == set()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A disk that is full as long as the list is not empty."""
    full = [True]
    append = LineFile.append

    def fails(file: LineFile, *arguments: Any) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(file, *arguments)

    monkeypatch.setattr(LineFile, "append", fails)
    return full


def test_on_a_full_disk_clients_are_asked_to_send_again(tmp_path: Path, full_disk: list[bool]) -> None:
    with receiving(tmp_path / "t.jsonl") as running:
        answer = running.post(json_of(a_span(1)), JSON)
        assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)
        assert b"No space left" in answer.body
        full_disk.clear()
        assert running.post(json_of(a_span(1)), JSON).status == 200
        assert running.spans() == [a_span(1)]
        assert running.sink.stats()["not written: No space left on device"] == 1


def test_the_official_exporter_sends_again_when_there_is_room(tmp_path: Path, full_disk: list[bool]) -> None:
    with receiving(tmp_path / "t.jsonl") as running:
        provider = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{running.addresses.http}/v1/traces", timeout=int(DEADLOCK_S))
        provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=DEADLOCK_S * 1000))
        provider.get_tracer("").start_span("kept").end()
        flushing = threading.Thread(target=provider.force_flush, args=(int(DEADLOCK_S) * 1000,))
        flushing.start()
        wait_until(lambda: "not written: No space left on device" in running.sink.stats(), "it is refused")
        full_disk.clear()
        flushing.join()
        assert [span.name for span in running.spans()] == ["kept"]
        provider.shutdown()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs Linux")
def test_a_limit_of_the_file_size_loses_nothing_either(tmp_path: Path) -> None:
    """The kernel writes a part of a line, and refuses the rest: the program of the receiver has a real limit."""
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n{PROGRAM}"
    command = [sys.executable, "-c", code, str(tmp_path / "t.jsonl")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as it:
        assert it.stdout is not None
        port = int(it.stdout.readline().split()[0])
        statuses = {number: request(port, proto_of(a_span(number)), PROTOBUF).status for number in range(100)}
        it.kill()
    assert set(statuses.values()) == {200, 503}
    stored = {span.name for span in stored_spans(tmp_path / "t.jsonl")}
    assert stored == {f"span {number}" for number, status in statuses.items() if status == 200}


def test_several_requests_are_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a write takes its time, further requests wait, and are written together."""
    sizes, may_go_on, append = list[int](), threading.Event(), LineFile.append

    def slow(file: LineFile, lines: bytes, records: int, sync: bool) -> None:
        sizes.append(records)
        may_go_on.wait(DEADLOCK_S)
        append(file, lines, records, sync)

    monkeypatch.setattr(LineFile, "append", slow)
    sink = StoreSink(tmp_path / "t.jsonl")
    first = sink.submit(Delivery("traces", proto_of(a_span(0))))
    wait_until(lambda: sizes, "the first is being written")
    others = [sink.submit(Delivery("traces", proto_of(a_span(number)))) for number in range(1, 10)]
    assert not first.done()
    may_go_on.set()
    assert [each.result(DEADLOCK_S).rejected for each in (first, *others)] == [0] * 10
    assert sizes == [1, 9]
    sink.close()


def test_a_slow_write_keeps_nobody_else_from_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are received, and refused, while the disk takes its time."""
    is_writing, may_go_on, append = threading.Event(), threading.Event(), LineFile.append

    def slow(file: LineFile, *arguments: Any) -> None:
        is_writing.set()
        may_go_on.wait(DEADLOCK_S)
        append(file, *arguments)

    monkeypatch.setattr(LineFile, "append", slow)
    with receiving(tmp_path / "t.jsonl") as running:
        statuses = list[int]()
        waiting = threading.Thread(target=lambda: statuses.append(running.post(json_of(a_span(1)), JSON).status))
        waiting.start()
        assert is_writing.wait(DEADLOCK_S)
        assert running.post(b"", {}, "/").status == 404
        assert running.post(b"", {"content-type": "text/plain"}).status == 415
        assert statuses == []
        may_go_on.set()
        waiting.join()
        assert statuses == [200]


def test_one_bad_request_costs_no_other_of_the_same_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otel_agent_trace.receiver import sink as module

    def content_of(delivery: Delivery, limits: Any) -> Any:
        if delivery.body == b"fails":
            raise ZeroDivisionError
        return real(delivery, limits)

    real = module.content_of
    monkeypatch.setattr(module, "content_of", content_of)
    sink = StoreSink(tmp_path / "t.jsonl")
    given = [proto_of(a_span(1)), b"fails", b"\xff", proto_of(a_span(2))]
    receipts = [sink.submit(Delivery("traces", body)) for body in given]
    errors = [receipt.exception(DEADLOCK_S) for receipt in receipts]
    assert [type(error) for error in errors] == [type(None), RefusedError, RefusedError, type(None)]
    assert [error.reason for error in errors if error] == [Reason.FAILED, Reason.UNREADABLE]
    sink.close()
    assert len(stored_spans(tmp_path / "t.jsonl")) == 2


def test_what_waits_is_written_at_the_end_and_what_comes_later_is_refused(tmp_path: Path) -> None:
    sink = StoreSink(tmp_path / "t.jsonl")
    receipts = [sink.submit(Delivery("traces", proto_of(a_span(number)))) for number in range(50)]
    sink.close()
    assert all(receipt.done() for receipt in receipts)
    assert len(stored_spans(tmp_path / "t.jsonl")) == 50
    late = sink.submit(Delivery("traces", proto_of(a_span(99)))).exception(DEADLOCK_S)
    assert isinstance(late, RefusedError)
    assert (late.reason, late.retry_after_s is not None) == (Reason.UNAVAILABLE, True)


@pytest.mark.parametrize("durability", ["run", "span"])
def test_with_durability_the_disk_has_it_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    synced, sync = list[int](), os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (synced.append(descriptor), sync(descriptor)))
    with receiving(tmp_path / "t.jsonl", durability=durability) as running:
        assert running.post(json_of(a_span(1)), JSON).status == 200
        assert len(synced) == 1
