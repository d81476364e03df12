"""The journal of a receiver: its size is known before it is written, and what is too large is left as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from otel_agent_trace import TailSampling, open_source
from otel_agent_trace.formats import otlp_json_encoding
from otel_agent_trace.pipeline.line_sizes import log_line_bytes, span_line_bytes
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.store import adopting
from tests.receiver.test_sampling import HALF, as_after_a_kill, child_of, sent
from tests.support.own_receiver import receiving
from tests.support.span_strategies import records


@given(records())
def test_no_line_is_larger_than_its_estimate(record: SpanRecord) -> None:
    assert len(otlp_json_encoding.encode([record])) <= span_line_bytes(record)
    attributes, resource = record.attributes, record.resource
    log = LogRecord(record.trace_id, record.span_id, record.name, 1, attributes, body=attributes, resource=resource)
    assert len(otlp_json_encoding.encode_log(log)) <= log_line_bytes(log)


@pytest.mark.parametrize(
    "attributes",
    [
        {f"app.metric.number_{n}": n for n in range(50)},
        {f"k{n}": "漢" * 200 for n in range(40)},
        {f"http.request.header.name-{n}": "value" for n in range(30)},
        {"values": [*range(1000)]},
        {"text": 'a "text"\n' * 500},
    ],
)
def test_the_estimate_is_not_much_larger_than_the_line(attributes: dict[str, object]) -> None:
    record = child_of(1, attributes=attributes)
    size = len(otlp_json_encoding.encode([record]))
    assert size <= span_line_bytes(record) <= 1.5 * size


def spans_in(file: Path) -> int:
    return sum(map(len, open_source(file).traces(lambda problem: None)))


def test_a_journal_that_is_too_large_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "first" / "t.jsonl"
    with receiving(file, sampling=TailSampling(rest=1.0)) as running:
        sent(running, *map(child_of, range(50)))
        killed = as_after_a_kill(file)
    (journal,) = (killed.parent / "t.jsonl.open").iterdir()
    size = journal.stat().st_size
    for bound, is_left in ((size - 1, True), (size, False)):
        monkeypatch.setattr(adopting, "MAX_JOURNAL_BYTES", bound)
        with receiving(killed, sampling=TailSampling(rest=1.0)):
            assert journal.exists() == is_left
            assert spans_in(killed) == 50


def test_spans_that_a_policy_drops_take_no_room_and_fail_nowhere(tmp_path: Path) -> None:
    """More than are counted at once, of a trace that is not decided."""
    with receiving(tmp_path / "t.jsonl", sampling=HALF, policies=[lambda record: None]) as running:
        sent(running, *(child_of(1, place, attributes={"text": "x" * 1000}) for place in range(2, 200)))
        assert not [reason for reason in running.sink.stats() if reason.startswith("failed")]
        held = running.sink._pipeline._held
        assert held is not None
        assert held._room.bytes < 1000 * 198
