"""How fast files of runs are read into `AgentRun`s, every field of every step read.

    python benchmarks/reading.py [--megabytes 200] [--rounds 5]

Writes the same spans (11 of about 2 KB a run) as three files: as `FileBackend` does (one span a line), and as the
Collector's file exporter does (100 spans a line of JSON, or a message of protobuf). Reads each with `iter_runs`, in turns
with a bare read of the lines and a plain `msgspec.json.decode` of each line, and prints of the best round the megabytes
by CPU second: of each file's own, and of the JSON lines that hold the same spans.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import operator
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("OTEL_AGENT_TRACE_USER_KEY", "benchmark")

import msgspec

from otel_agent_trace import AgentTracer, FileBackend, SpanRecord, iter_runs
from otel_agent_trace.formats import otlp_json, otlp_proto

ROWS = [
    {"title": f"Result {i}", "url": f"https://example.org/{i}", "score": i / 7, "snippet": "lorem ipsum " * 12}
    for i in range(5)
]
BATCH_SPANS = 100


def write(path: str, megabytes: float) -> None:
    """Runs until the file is that large; few are traced, their lines are repeated under other ids."""
    sample = path + ".sample"
    tracer = AgentTracer(backend=FileBackend(sample))
    for _ in range(200):
        with tracer.run(user_input="What is the weather?" * 5, user_id="u1", session_id="s1", model="gpt-4") as run:
            for index in range(10):
                try:
                    with run.step("search", {"query": "weather", "limit": index}) as step:
                        if index == 6:
                            raise ValueError("the seventh call fails")
                        step.output = {"results": ROWS, "total": index}
                except ValueError:
                    pass
            run.final_output = "It will be mild and mostly dry. " * 10
    with open(sample, "rb") as file:
        lines = file.read()
    os.remove(sample)
    with open(path, "wb") as file:
        generation = 0
        while file.tell() < megabytes * 1e6:
            prefix = b'"traceId":"%08x' % generation
            file.write(_renamed(lines, prefix))
            generation += 1


def _renamed(lines: bytes, prefix: bytes) -> bytes:
    parts = lines.split(b'"traceId":"')
    return parts[0] + b"".join(prefix + part[8:] for part in parts[1:])


def _batches(path: str) -> Iterator[list[SpanRecord]]:
    decode = otlp_json.Decoder().decode
    with open(path, "rb") as file:
        while lines := list(itertools.islice(file, BATCH_SPANS)):
            yield [span for line in lines for span in decode(line)]


def write_collector_json(path: str, spans_path: str) -> None:
    with open(path, "wb") as file:
        file.writelines(otlp_json.encode(spans) + b"\n" for spans in _batches(spans_path))


def write_collector_protobuf(path: str, spans_path: str) -> None:
    with open(path, "wb") as file:
        for spans in _batches(spans_path):
            message = otlp_proto.encode(spans)
            file.write(len(message).to_bytes(4, "big") + message)


@functools.cache
def _fields_of(model: Any) -> Callable[[Any], tuple[Any, ...]]:
    return operator.attrgetter(*model.__struct_fields__)


def read_every_field(path: str) -> int:
    """Touch all that a run holds."""
    seen = 0
    for run in iter_runs(path):
        seen += len(_fields_of(type(run))(run))
        for step in run.steps:
            seen += len(_fields_of(type(step))(step))
    return seen


def lines_only(path: str) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def decoded_only(path: str) -> int:
    with open(path, "rb") as file:
        return sum(bool(msgspec.json.decode(line)) for line in file)


class Case(NamedTuple):
    """What is read, and how."""

    name: str
    path: str
    read: Callable[[str], int]


def best_cpu_s(cases: list[Case], rounds: int) -> list[float]:
    """CPU seconds of each case, the least of several rounds in which they take turns."""
    best = [float("inf")] * len(cases)
    for _ in range(rounds):
        for place, case in enumerate(cases):
            started = time.process_time()
            case.read(case.path)
            best[place] = min(best[place], time.process_time() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines, batches, messages = (os.path.join(folder, name) for name in ("lines.jsonl", "batches.jsonl", "otlp.pb"))
        write(lines, arguments.megabytes)
        write_collector_json(batches, lines)
        write_collector_protobuf(messages, lines)
        cases = [
            Case("bare read of lines", lines, lines_only),
            Case("plain msgspec decode of lines", lines, decoded_only),
            Case("runs of lines", lines, read_every_field),
            Case("runs of the Collector's JSON", batches, read_every_field),
            Case("runs of the Collector's protobuf", messages, read_every_field),
        ]
        best = best_cpu_s(cases, arguments.rounds)
        same_data = os.path.getsize(lines) / 1e6
        print(f"{'':34} own MB/s   MB/s as lines   of a plain decode")
        for case, seconds in zip(cases, best, strict=True):
            own = os.path.getsize(case.path) / 1e6 / seconds
            print(f"{case.name:34} {own:8.1f} {same_data / seconds:15.1f} {best[1] / seconds:19.3f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
