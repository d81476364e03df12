"""What tracing a run of model calls costs that are each sent the whole, growing conversation.

    python benchmarks/model_calls.py [--seconds 20]

A run is 30 model calls; each adds a question and an answer of 600 characters to the conversation that the next one is sent.
As in `overhead.py`, one process rotates blocks of runs: untraced, the bare SDK with the standard attributes written by hand
(by `msgspec`, the fastest encoder), and each subject. A ratio is the subject's CPU time on top of the untraced run over the
bare SDK's. "size" is what one run takes in a file, over the characters of its conversation.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from typing import Any

import msgspec
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from overhead import measure

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend

TURNS = 30
QUESTIONS = [f"{turn} " + "what about the naïve approach? " * 19 for turn in range(TURNS)]
ANSWERS = [f"{turn} " + 'it is "slow", and costs memory.\n' * 18 for turn in range(TURNS)]
Complete = Callable[..., dict[str, Any]]


def complete(messages: list[Any]) -> dict[str, Any]:
    """Answer, as the body of the model call."""
    return {"role": "assistant", "content": ANSWERS[len(messages) // 2]}


def talk(call: Complete) -> str:
    """Hold the whole conversation, as an agent does."""
    messages: list[Any] = []
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        messages.append(call(list(messages)))
    return str(messages[-1]["content"])


def bare(exporter: InMemorySpanExporter) -> Callable[[], object]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bare")

    def text(messages: list[Any]) -> str:
        shown = [{"role": m["role"], "parts": [{"type": "text", "content": m["content"]}]} for m in messages]
        return msgspec.json.encode(shown).decode()

    def call(messages: list[Any]) -> dict[str, Any]:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4",
            "gen_ai.provider.name": "openai",
            "gen_ai.input.messages": text(messages),
        }
        with tracer.start_as_current_span("chat gpt-4", attributes=attributes) as span:
            answer = complete(messages)
            span.set_attribute("gen_ai.output.messages", text([answer]))
            return answer

    def run() -> str:
        attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "talker"}
        with tracer.start_as_current_span("invoke_agent talker", attributes=attributes):
            return talk(call)

    return run


def traced(tracer: AgentTracer) -> Callable[[], object]:
    call = tracer.model(model="gpt-4", provider="openai")(complete)

    @tracer.agent("talker")
    def run() -> str:
        return talk(call)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        exporter, memory = InMemorySpanExporter(), InMemoryBackend()
        paths = {mode: os.path.join(folder, f"{mode}.jsonl") for mode in ("full", "new")}
        kinds: dict[str, Callable[[], object]] = {
            "untraced": lambda: talk(complete),
            "bare SDK": bare(exporter),
            "InMemoryBackend": traced(AgentTracer(backend=memory)),
            "InMemoryBackend, history=new": traced(AgentTracer(backend=memory, history="new")),
            "FileBackend": traced(AgentTracer(backend=FileBackend(paths["full"]))),
            "FileBackend, history=new": traced(AgentTracer(backend=FileBackend(paths["new"]), history="new")),
        }
        sizes = {}
        for mode, path in paths.items():
            kinds["FileBackend" if mode == "full" else "FileBackend, history=new"]()
            sizes[mode] = os.path.getsize(path)
        best = measure(kinds, [exporter.clear, memory.clear], seconds, block=5)
    base = best["untraced"]
    reference = best["bare SDK"] - base
    for name, cost in best.items():
        print(f"{name:30} {cost:9.1f} us a run   {(cost - base) / reference:5.2f} x the bare SDK")
    content = sum(map(len, QUESTIONS + ANSWERS))
    for mode, size in sizes.items():
        print(f"size, history={mode:4} {size:9} bytes a run   {size / content:5.1f} x the {content} characters")


if __name__ == "__main__":
    main()
