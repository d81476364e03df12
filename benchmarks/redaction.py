"""What it costs to look for secrets in what is recorded.

    python benchmarks/redaction.py [--seconds 20]

Values: CPU time of a redactor that finds nothing, over that of `json.dumps` of the same, for the ten values of a span and
for long texts; and the time that texts take which are made to be slow, a second a megabyte being the most.
Runs: CPU time of whole runs with redaction, over the same runs without, in blocks that take turns as in `overhead.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable

import model_calls
import overhead

from otel_agent_trace import AgentTracer, FileBackend, Redactor

SPAN = [
    "execute_tool search",
    "answer",
    "s1",
    "hmac:00000000:" + "0" * 64,
    "0123456789abcdef0123456789abcdef",
    "search",
    "function",
    json.dumps({"query": "weather", "limit": 3}),
    json.dumps({"results": overhead.ROWS[:1], "total": 3}),
    "gpt-4",
]
LONG = " ".join(f"Paragraph {number}: the weather in Łódź will be mild, and mostly dry." for number in range(200))
HOSTILE = {
    "names": "password=token:secret-",
    "quotes": 'password="\\"',
    "addresses": "https://user:x@",
    "begins of keys": "-----BEGIN PRIVATE KEY-----",
    "nested JSON": '{"password":[',
    "digits": "4111 1111 ",
    "base64": "eyJhbGciOiJ9",
}


def cpu_us(call: Callable[[], object], times: int) -> float:
    """The least CPU time of a call, in microseconds."""
    best = float("inf")
    for _ in range(9):
        started = time.process_time_ns()
        for _ in range(times):
            call()
        best = min(best, (time.process_time_ns() - started) / times / 1000)
    return best


def values() -> None:
    redactor = Redactor()
    for name, texts, times in (("a span of ten values", SPAN, 5000), ("12,000 characters", [LONG], 500)):
        cost = cpu_us(lambda texts=texts: redactor.may_change(texts), times)
        reference = cpu_us(lambda texts=texts: json.dumps(texts), times)
        size = sum(len(text.encode()) for text in texts)
        print(f"{name:24} {cost:8.2f} us {cost / reference:6.2f} x json.dumps {size / cost:8.0f} MB/s")
    for name, part in HOSTILE.items():
        text = (part * (1_000_000 // len(part) + 1))[:1_000_000]
        started = time.process_time()
        Redactor(pii=["email", "phone", "card", "iban", "ip", "ssn"])(text)
        print(f"1 MB of {name:16} {time.process_time() - started:8.2f} s")


def runs(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:

        def tracer(name: str, *, redact: bool) -> AgentTracer:
            return AgentTracer(backend=FileBackend(os.path.join(folder, name)), redact=redact)

        steps = {
            "without": overhead.traced_run(tracer("a.jsonl", redact=False)),
            "with": overhead.traced_run(tracer("b.jsonl", redact=True)),
        }
        calls = {
            "without": model_calls.traced(tracer("c.jsonl", redact=False)),
            "with": model_calls.traced(tracer("d.jsonl", redact=True)),
        }
        for name, kinds, block in (("10 tool calls", steps, overhead.BLOCK), ("30 model calls", calls, 4)):
            best = overhead.measure(kinds, [], seconds / 2, block)
            print(f"{name:24} {best['with']:8.1f} us {best['with'] / best['without']:6.2f} x the run without redaction")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    values()
    runs(seconds)


if __name__ == "__main__":
    main()
