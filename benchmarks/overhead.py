"""What tracing one run costs, against hand-written spans of the bare SDK.

    python benchmarks/overhead.py [--seconds 20]

One process rotates blocks of runs: untraced, bare SDK (SimpleSpanProcessor + InMemorySpanExporter, the same spans and
attributes written by hand), and each subject. The figure of a kind is its best block (CPU time a run); a ratio is the
subject's cost on top of the untraced run over the bare SDK's. A run is 10 tool calls with about 1 KB of JSON as result,
the seventh raises.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OTEL_AGENT_TRACE_USER_KEY", "benchmark")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend

QUESTION = "What is the weather like in the cities that I am going to visit in the next week, and what to pack? " * 1
ANSWER = "It will be mild and mostly dry. " * 10
ROWS = [
    {"title": f"Result {i}", "url": f"https://example.org/{i}", "score": i / 7, "snippet": "lorem ipsum " * 12}
    for i in range(5)
]
BLOCK = 40


def work(index: int) -> dict[str, object]:
    """The tool itself."""
    if index == 6:
        msg = "the seventh call fails"
        raise ValueError(msg)
    return {"results": ROWS, "total": index}


def untraced() -> str:
    for index in range(10):
        try:
            work(index)
        except ValueError:
            pass
    return ANSWER


def bare(exporter: SpanExporter) -> Callable[[], object]:
    """Spans written by hand, each exported as it ends."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return bare_run(provider)


def bare_run(provider: TracerProvider) -> Callable[[], object]:
    """Spans written by hand, with the attributes that the library writes."""
    tracer = provider.get_tracer("bare")

    def call(index: int, run_id: str) -> dict[str, object]:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "search",
            "gen_ai.tool.type": "function",
            "agent_trace.run.id": run_id,
            "agent_trace.step.index": index,
            "gen_ai.agent.name": "answer",
            "gen_ai.conversation.id": "s1",
            "gen_ai.tool.call.arguments": json.dumps({"query": "weather", "index": index}),
        }
        with tracer.start_as_current_span("execute_tool search", attributes=attributes) as span:
            try:
                result = work(index)
            except ValueError as error:
                span.set_attributes(
                    {"error.type": type(error).__qualname__, "agent_trace.error.category": "validation"}
                )
                raise
            span.set_attribute("gen_ai.tool.call.result", json.dumps(result))
            return result

    def run() -> str:
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "answer",
            "gen_ai.request.model": "gpt-4",
            "gen_ai.conversation.id": "s1",
            "enduser.pseudo.id": "hmac:00000000:" + "0" * 64,
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]),
        }
        with tracer.start_as_current_span("invoke_agent answer", attributes=attributes) as span:
            run_id = format(span.get_span_context().trace_id, "032x")
            span.set_attribute("agent_trace.run.id", run_id)
            for index in range(10):
                try:
                    call(index, run_id)
                except ValueError:
                    pass
            messages = [{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}]}]
            span.set_attribute("gen_ai.output.messages", json.dumps(messages))
            return ANSWER

    return run


def traced(backend: object) -> Callable[[], object]:
    return traced_run(AgentTracer(backend=backend))


def traced_run(tracer: AgentTracer) -> Callable[[], object]:
    @tracer.tool
    def search(query: str, index: int) -> dict[str, object]:
        return work(index)

    @tracer.agent
    def answer(question: str) -> str:
        for index in range(10):
            try:
                search("weather", index)
            except ValueError:
                pass
        return ANSWER

    def run() -> object:
        with tracer.bind(user_id="u1", session_id="s1", model="gpt-4"):
            return answer(QUESTION)

    return run


def measure(
    kinds: dict[str, Callable[[], object]], resets: list[Callable[[], object]], seconds: float, block: int = BLOCK
) -> dict[str, float]:
    """The best block of each kind, in CPU microseconds a run."""
    best = dict.fromkeys(kinds, float("inf"))
    names = list(kinds)
    until = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until:
        for name in names[turn:] + names[:turn]:
            gc.collect()
            started = time.process_time_ns()
            for _ in range(block):
                kinds[name]()
            best[name] = min(best[name], (time.process_time_ns() - started) / block / 1000)
            for reset in resets:
                reset()
        turn = (turn + 1) % len(names)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        exporter, memory, measured = InMemorySpanExporter(), InMemoryBackend(), InMemoryBackend()
        meter_provider = MeterProvider([InMemoryMetricReader()])
        kinds = {
            "untraced": untraced,
            "bare SDK": bare(exporter),
            "InMemoryBackend": traced(memory),
            "InMemoryBackend, metrics": traced_run(AgentTracer(backend=measured, meter_provider=meter_provider)),
            "FileBackend": traced(FileBackend(os.path.join(folder, "traces.jsonl"))),
        }
        try:
            from opentelemetry.exporter.otlp.json.file import FileSpanExporter

            kinds["SDK + official JSON file"] = bare(FileSpanExporter(os.path.join(folder, "official.jsonl")))
        except ImportError:
            pass
        best = measure(kinds, [exporter.clear, memory.clear, measured.clear], seconds)
    base = best["untraced"]
    reference = best["bare SDK"] - base
    for name, cost in best.items():
        print(f"{name:26} {cost:9.1f} us a run   {(cost - base) / reference:5.2f} x the bare SDK")


if __name__ == "__main__":
    main()
