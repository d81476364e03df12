"""Received traces are sampled: whole traces, by the rules and shares of a policy, with exact counts, also after kills."""

from __future__ import annotations

import errno
import http.client
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from otel_agent_trace import TailSampling, load_runs, open_source
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats import otlp_json, otlp_json_encoding
from otel_agent_trace.pipeline import Gate
from otel_agent_trace.receiver.sink import StoreSink
from otel_agent_trace.sampling import NEVER, threshold_in, threshold_of
from otel_agent_trace.span import FLAG_REMOTE_PARENT, LogRecord, SpanRecord
from otel_agent_trace.store.lines import LineFile
from tests.support.own_receiver import JSON, PROGRAM, PROTOBUF, Receiver, proto_of, receiving, request, stored_spans
from tests.support.processes import environment
from tests.support.viewed import viewing
from tests.support.waiting import wait_until

HALF = TailSampling(rest=0.5)
_AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}

_TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}


def trace_id_of(number: int) -> str:
    return f"{random.Random(number).getrandbits(128) or 1:032x}"


def randomness_of(number: int) -> int:
    return int(trace_id_of(number), 16) % NEVER


def is_of_half(number: int) -> bool:
    return randomness_of(number) >= threshold_of(0.5)


def child_of(number: int, place: int = 2, **fields: Any) -> SpanRecord:
    """A step of a trace, below its root span."""
    given: dict[str, Any] = {"flags": 0x101, "attributes": _TOOL, **fields}
    start_ns = 1_764_000_000_000_000_000 + place
    return SpanRecord(trace_id_of(number), f"{place:016x}", f"{1:016x}", "step", start_ns, start_ns + 5, **given)


def root_of(number: int, **fields: Any) -> SpanRecord:
    """The root span of a trace, an agent's."""
    given: dict[str, Any] = {"flags": 0x101, "attributes": _AGENT, **fields}
    start_ns = 1_764_000_000_000_000_000
    return SpanRecord(trace_id_of(number), f"{1:016x}", None, "agent", start_ns, start_ns + 1_000, **given)


def failed_root_of(number: int) -> SpanRecord:
    return root_of(number, status_code=2, attributes={**_AGENT, "error.type": "timeout"})


def sent(running: Receiver, *spans: SpanRecord) -> None:
    assert running.post(proto_of(*spans), PROTOBUF).status == 200


def numbers_in(path: Path, numbers: range) -> Counter[int]:
    """How many different spans of each trace the store has."""
    by_id = {trace_id_of(number): number for number in numbers}
    spans = {(span.trace_id, span.span_id) for span in stored_spans(path)}
    return Counter(by_id[trace_id] for trace_id, _ in spans)


def dropped_in(path: Path) -> dict[tuple[str | None, str], int]:
    counts = open_source(path).dropped()
    assert counts is not None
    return {(one.agent, one.status): one.traces for one in counts}


def test_a_share_of_the_traces_is_kept_and_the_rest_is_counted(tmp_path: Path) -> None:
    """Traces in one request, in two, and span by span, with root spans anywhere within a request; every tenth has failed."""
    file, numbers = tmp_path / "t.jsonl", range(60)
    with receiving(file, sampling=HALF) as running:
        for number in numbers:
            root = failed_root_of(number) if number % 10 == 0 else root_of(number)
            spans = [root, child_of(number), child_of(number, 3)]
            cut = number % 3
            for part in (spans[cut:], spans[:cut]) if cut else (spans,):
                if part:
                    sent(running, *part)
    kept = numbers_in(file, numbers)
    assert kept == {number: 3 for number in numbers if number % 10 == 0 or is_of_half(number)}
    for span in stored_spans(file):
        expected = 0 if span.trace_id in {trace_id_of(number) for number in numbers[::10]} else threshold_of(0.5)
        assert threshold_in(span.trace_state) == expected
        assert span.attributes["agent_trace.sampling_probability"] == (0.5 if expected else 1.0)
    assert dropped_in(file) == {("helper", "success"): len(numbers) - len(kept)}


def test_the_variable_of_the_environment_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.jsonl"
    monkeypatch.setenv("OTEL_AGENT_TRACE_SAMPLING", "keep_errors=true,rest=0")
    with receiving(file) as running:
        sent(running, root_of(1), failed_root_of(2))
    assert numbers_in(file, range(3)) == {2: 1}
    with receiving(tmp_path / "all.jsonl", sampling=False) as running:
        sent(running, root_of(1))
        assert len(running.spans()) == 1
    monkeypatch.setenv("OTEL_AGENT_TRACE_SAMPLING", "rest=2")
    with pytest.raises(ConfigurationError, match="OTEL_AGENT_TRACE_SAMPLING"):
        StoreSink(file)


def test_the_command_takes_the_settings_of_the_environment_and_names_its_sampling(tmp_path: Path) -> None:
    variables: dict[str, str | None] = {
        "OTEL_AGENT_TRACE_SAMPLING": "rest=0",
        "OTEL_AGENT_TRACE_REDACT": "false",
        "OTEL_AGENT_TRACE_ROTATE_BYTES": "1024",
        "OTEL_AGENT_TRACE_USER_KEY": "key of a test",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "false",
    }
    ports = ("--port", 0, "--otlp-http-port", 0, "--otlp-grpc-port", 0)
    secret = "sk-" + "a1B2c3D4" * 4
    with viewing(tmp_path / "t.jsonl", "--receive", "--no-open", *ports, env=variables) as viewed:
        assert viewed.process.stderr is not None
        lines = [viewed.process.stderr.readline() for _ in range(2)]
        port = int(lines[0].split("http://127.0.0.1:")[1].split()[0])
        for number in range(4):
            more = {"gen_ai.input.messages": "question", "user.id": "ann", "server.address": secret + "x" * 1000}
            failed = failed_root_of(number)
            spans = (structs.replace(failed, attributes={**failed.attributes, **more}), root_of(number + 10))
            assert request(port, proto_of(*spans), PROTOBUF).status == 200
        viewed.end()
    assert "sampled: keep_errors=true" in lines[1]
    assert "rest=0.0" in lines[1]
    text = b"".join(path.read_bytes() for path in tmp_path.glob("t*.jsonl")).decode()
    assert len(list(tmp_path.glob("t-*.jsonl"))) > 1
    assert text.count(secret) == 4
    assert "question" not in text
    assert '"ann"' not in text


def test_a_rule_about_a_step_counts_that_comes_in_the_same_request_as_the_root_span(tmp_path: Path) -> None:
    failed = {"status_code": 2}
    with receiving(tmp_path / "t.jsonl", sampling=TailSampling(keep_tool_errors=True, rest=0)) as running:
        sent(running, root_of(1), child_of(1, **failed))
        sent(running, child_of(2, **failed))
        sent(running, child_of(2, 3), root_of(2))
        sent(running, child_of(3), root_of(3))
    assert numbers_in(tmp_path / "t.jsonl", range(4)) == {1: 2, 2: 3}


def test_late_spans_follow_the_decision_about_their_trace(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", sampling=TailSampling(rest=0)) as running:
        sent(running, failed_root_of(1), root_of(2))
        sent(running, child_of(1), child_of(2))
    assert numbers_in(tmp_path / "t.jsonl", range(4)) == {1: 2}
    assert dropped_in(tmp_path / "t.jsonl") == {("helper", "success"): 1}
    with receiving(tmp_path / "t.jsonl", sampling=TailSampling(rest=0)) as running:  # another process may be it
        sent(running, child_of(1, 3), child_of(2, 3))
    assert numbers_in(tmp_path / "t.jsonl", range(4)) == {1: 3}
    assert dropped_in(tmp_path / "t.jsonl") == {("helper", "success"): 1}


@pytest.mark.parametrize("upstream", ["th:c", "th:4"])
def test_the_threshold_of_an_earlier_sampler_only_rises(tmp_path: Path, upstream: str) -> None:
    """Each span has its own, of the sampler of its program, where that is higher."""
    kept_by_both = next(number for number in range(1000) if randomness_of(number) >= 0xC << 52)
    failed = kept_by_both + 1000
    with receiving(tmp_path / "t.jsonl", sampling=HALF) as running:
        sent(running, child_of(kept_by_both), root_of(kept_by_both, trace_state=f"x=1,ot={upstream}"))
        sent(running, child_of(failed, trace_state="ot=th:c"), failed_root_of(failed))
    spans = {(span.trace_id, span.name): threshold_in(span.trace_state) for span in stored_spans(tmp_path / "t.jsonl")}
    own = max(threshold_of(0.5), int(upstream[3:], 16) << 52)
    assert spans == {
        (trace_id_of(kept_by_both), "step"): own,
        (trace_id_of(kept_by_both), "agent"): own,
        (trace_id_of(failed), "step"): 0xC << 52,
        (trace_id_of(failed), "agent"): 0,
    }


def test_a_probability_in_an_attribute_is_kept_where_the_trace_state_is_lost(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", sampling=HALF) as running:
        root = failed_root_of(1)
        sent(running, child_of(1, attributes={"agent_trace.sampling_probability": 0.25}), root)
    probabilities = {
        span.name: span.attributes["agent_trace.sampling_probability"] for span in stored_spans(tmp_path / "t.jsonl")
    }
    assert probabilities == {"step": 0.25, "agent": 1.0}


def test_a_trace_whose_root_span_does_not_come_is_decided_in_time(tmp_path: Path) -> None:
    """Its process died; unless its first span has a remote parent, which may be sent elsewhere: that one counts then."""
    file = tmp_path / "t.jsonl"
    remote = {"flags": 0x101 | FLAG_REMOTE_PARENT}
    with receiving(file, sampling=TailSampling(rest=0, wait_s=0)) as running:
        sent(running, child_of(1))
        sent(running, child_of(2, **remote), child_of(2, 3))
        sent(running, child_of(3, **remote, status_code=2), child_of(3, 3))
        wait_until(lambda: len(running.spans()) == 3, "they are decided")
        sent(running, root_of(1), root_of(2))
    assert numbers_in(file, range(4)) == {1: 2, 3: 2}
    assert dropped_in(file) == {(None, "success"): 1}


def a_log(number: int, time_ns: int = 1_764_000_000_000_000_000) -> LogRecord:
    return LogRecord(trace_id_of(number), f"{1:016x}", "event", time_ns, {"number": number})


def logs_sent(port: int, *logs: LogRecord) -> None:
    for log in logs:
        assert request(port, otlp_json_encoding.encode_log(log), JSON, "/v1/logs").status == 200


def log_numbers(running: Receiver) -> list[int]:
    return sorted(log.attributes["number"] for log in running.logs())


def test_logs_follow_the_decision_also_before_the_spans(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", sampling=TailSampling(rest=0)) as running:
        logs_sent(running.port, a_log(1), a_log(2))
        sent(running, failed_root_of(1), root_of(2))
        logs_sent(running.port, a_log(1, 5), a_log(2, 5), LogRecord("", "", "no trace", 1, {"number": 0}))
        assert log_numbers(running) == [0, 1, 1]


def test_logs_without_spans_are_kept_after_the_wait_and_decide_nothing(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", sampling=TailSampling(rest=0, wait_s=0)) as running:
        logs_sent(running.port, a_log(1))
        wait_until(lambda: log_numbers(running) == [1], "it is kept")
        sent(running, root_of(1))
        assert running.spans() == []
    assert dropped_in(tmp_path / "t.jsonl") == {("helper", "success"): 1}


class OnlyFailures(Gate):
    """Keep traces in which anything failed."""

    def decide(self, spans: Any, *, is_over: bool) -> bool | None:
        if any(span.status_code == 2 for span in spans):
            return True
        return False if is_over else None


def test_a_gate_of_the_program_decides(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", policies=[OnlyFailures()]) as running:
        sent(running, child_of(1), child_of(2), child_of(3, status_code=2))
        assert numbers_in(tmp_path / "t.jsonl", range(4)) == {3: 1}
        sent(running, failed_root_of(1), root_of(2))
        assert numbers_in(tmp_path / "t.jsonl", range(4)) == {1: 2, 3: 1}
        assert "agent_trace.sampling_probability" not in running.spans()[0].attributes
        assert running.sink.stats()["dropped: by the gate"] == 2
        sent(running, child_of(4))
    assert numbers_in(tmp_path / "t.jsonl", range(5)) == {1: 2, 3: 1}


def test_what_takes_too_much_room_is_decided_early_and_counted_once(tmp_path: Path) -> None:
    file, numbers = tmp_path / "t.jsonl", range(100)
    with receiving(file, sampling=TailSampling(rest=0.5, hold_bytes=1 << 20)) as running:
        for number in numbers:
            sent(running, child_of(number, attributes={"text": "x" * 30_000}))
        assert running.sink.stats()["decided early: hold_bytes full"] > 50
        sent(running, *(root_of(number) for number in numbers))
    kept = numbers_in(file, numbers)
    assert kept == {number: 2 for number in numbers if is_of_half(number)}
    assert dropped_in(file) == {("helper", "success"): 100 - len(kept)}


# ── kills ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def program(file: Path, sampling: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A receiver in a process of its own, and its port; it is killed at the end."""
    command = [sys.executable, "-c", PROGRAM, str(file)]
    variables = {**environment(), "OTEL_AGENT_TRACE_SAMPLING": sampling}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[0])
        try:
            yield process, port
        finally:
            process.kill()


def as_after_a_kill(file: Path) -> Path:
    """A copy of a store in use, whose journal nobody has locked: what a kill at this moment would leave."""
    shutil.copytree(file.parent, file.parent.with_name("killed"))
    return file.parent.with_name("killed") / file.name


def test_a_kill_loses_no_undecided_trace_and_the_next_receiver_goes_on(tmp_path: Path) -> None:
    file, numbers = tmp_path / "first" / "t.jsonl", range(40)
    with receiving(file, sampling=TailSampling(rest=0.5, keep_slower_than_s=1)) as running:
        sent(running, *map(child_of, numbers))
        logs_sent(running.port, a_log(0))
        assert len(load_runs(file)) == 40  # undecided, as they are
        killed = as_after_a_kill(file)
    assert len(load_runs(killed)) == 40  # interrupted, as far as anybody knows
    with receiving(killed, sampling=HALF) as running:
        assert len(list((killed.parent / "t.jsonl.open").iterdir())) == 1
        sent(running, *(failed_root_of(number) if number % 10 == 0 else root_of(number) for number in numbers))
        assert log_numbers(running) == [0]
    kept = numbers_in(killed, numbers)
    assert kept == {number: 2 for number in numbers if number % 10 == 0 or is_of_half(number)}
    assert dropped_in(killed) == {("helper", "success"): 40 - len(kept)}


@pytest.mark.parametrize("keeps_dead", [True, False])
def test_where_no_receiver_comes_the_journal_is_decided_by_its_policy(tmp_path: Path, keeps_dead: bool) -> None:
    """Whoever folds it counts as the receiver would have after its wait: a span with a remote parent counts as the root."""
    file, numbers = tmp_path / "first" / "t.jsonl", range(20)
    with receiving(file, sampling=TailSampling(rest=0.5, keep_errors=keeps_dead)) as running:
        remote = {"flags": 0x101 | FLAG_REMOTE_PARENT}
        sent(running, *(child_of(number, **(remote if number % 2 else {})) for number in numbers))
        killed = as_after_a_kill(file)
    StoreSink(killed, sampling=False).close()
    wait_until(lambda: not list((killed.parent / "t.jsonl.open").iterdir()), "the journal is folded")
    expected = {number: 1 for number in numbers if is_of_half(number) or (keeps_dead and number % 2 == 0)}
    assert numbers_in(killed, numbers) == expected
    assert sum(dropped_in(killed).values()) == 20 - len(expected)


def test_a_kill_at_any_time_leaves_exact_counts(tmp_path: Path) -> None:
    """Clients send again what was not answered, to the receiver that comes next, as exporters do."""
    file, numbers, chance = tmp_path / "t.jsonl", range(100), random.Random(19)
    in_time = dict[float, bytes]()
    for number in numbers:
        began = chance.random()
        in_time[began] = proto_of(child_of(number), child_of(number, 3))
        root = failed_root_of(number) if number % 10 == 0 else root_of(number)
        in_time[began + chance.random() * chance.choice((1e-3, 1))] = proto_of(root)
    waiting = [in_time[moment] for moment in sorted(in_time)]
    for part in (70, None):
        with program(file, "rest=0.5") as (process, port):
            is_due = threading.Event()
            killing = threading.Thread(target=lambda: (is_due.wait(), process.kill()))  # while a request is on its way
            killing.start()
            answered = 0
            while waiting:
                try:
                    assert request(port, waiting[0], PROTOBUF).status == 200
                except (OSError, EOFError, http.client.HTTPException):
                    break
                del waiting[0]
                answered += 1
                if answered == part:
                    is_due.set()
            is_due.set()
            killing.join()
    kept = numbers_in(file, numbers)
    due = {number for number in numbers if number % 10 == 0 or is_of_half(number)}
    assert (set(kept), set(kept.values())) == (due, {3})
    assert dropped_in(file) == {("helper", "success"): len(numbers) - len(due)}


def test_a_full_disk_loses_nothing_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was answered stays in the journal, and moves when there is room, also if no further request comes."""
    full, append = list[bool](), LineFile.append

    def fails(file: LineFile, *arguments: Any) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(file, *arguments)

    monkeypatch.setattr(LineFile, "append", fails)
    file = tmp_path / "t.jsonl"
    with receiving(file, sampling=TailSampling(rest=0)) as running:
        sent(running, child_of(1), child_of(2))
        full.append(True)
        for _ in range(2):
            assert running.post(proto_of(failed_root_of(1), root_of(2)), PROTOBUF).status == 503
        assert running.spans() == []
        full.clear()
        wait_until(lambda: len(running.spans()) == 1, "what waited is written")
        sent(running, failed_root_of(1), root_of(2))
        assert numbers_in(file, range(3)) == {1: 2}
    assert dropped_in(file) == {("helper", "success"): 1}


def test_on_a_journal_that_cannot_be_written_clients_are_asked_to_send_again(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl.open").write_text("no folder")
    with receiving(tmp_path / "t.jsonl", sampling=HALF) as running:
        assert running.post(otlp_json.encode([child_of(1)]), JSON).status == 503


def test_a_decision_that_cannot_be_noted_or_read_does_not_stop_others(tmp_path: Path) -> None:
    """The folder of notes cannot be made, and the journal is gone; failed writes to the live file alone refuse."""
    file = tmp_path / "t.jsonl"
    (tmp_path / "t.jsonl.sampling").write_text("no folder")
    with receiving(file, sampling=TailSampling(rest=0)) as running:
        sent(running, child_of(1), child_of(2))
        sent(running, failed_root_of(1), root_of(2))
        assert numbers_in(file, range(4)) == {1: 2}
        assert running.sink.stats()["decision not noted: Not a directory"] == 2
        sent(running, child_of(3), child_of(4))
        journal_file = running.sink._file._journal._file
        assert journal_file.descriptor is not None
        os.close(journal_file.descriptor)
        shutil.rmtree(tmp_path / "t.jsonl.open")
        sent(running, failed_root_of(3))
        assert running.sink.stats()["end not journaled: No such file or directory"] == 1
        sent(running, child_of(5), failed_root_of(5))
    assert numbers_in(file, range(6)) == {1: 2, 3: 1, 5: 2}


def test_with_durability_the_disk_has_what_waits_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = list[int](), os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (synced.append(descriptor), sync(descriptor)))
    with receiving(tmp_path / "t.jsonl", sampling=HALF, durability="run") as running:
        sent(running, child_of(1))
        assert len(synced) == 1
