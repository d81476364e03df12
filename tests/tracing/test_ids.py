"""Ids of traces, spans, runs and steps: the sequence of `random` is the host's, and no two processes share one."""

from __future__ import annotations

import json

import pytest

from tests.support.processes import RunPython
from tests.support.requirements import needs_fork

SEEDED = """
import json, os, random
from otel_agent_trace import *
{seed}
def ids():
    with tracer.run(user_id="u") as run, run.step("s") as step:
        pass
    by_id = tracer.start_run()
    tracer.log_step(by_id, name="s")
    tracer.end_run(by_id)
    return [run.run_id, run.trace_id, run.span_id, step.span_id, by_id]
"""


def test_seeded_processes_have_ids_of_their_own(run_python: RunPython) -> None:
    """Four processes with the same seed have no id in common, and the numbers that the seed promises."""
    code = SEEDED.format(seed="random.seed(42)\ntracer = AgentTracer(backend=InMemoryBackend())")
    printed = [json.loads(run_python(f"{code}print(json.dumps([ids(), random.random()]))").stdout) for _ in range(4)]
    assert {number for _, number in printed} == {0.6394267984578837}
    # The run id of a run without a parent is its trace id.
    assert len({some for ids, _ in printed for some in ids}) == 4 * 4


@needs_fork
@pytest.mark.parametrize("maker", ["InMemoryBackend()", "None"], ids=["recorded", "not recorded"])
def test_forked_children_have_ids_of_their_own(run_python: RunPython, maker: str) -> None:
    """A child goes on neither with the ids of its parent nor with those of another child."""
    code = SEEDED.format(seed=f"tracer = AgentTracer(backend={maker})")
    result = run_python(
        code
        + """
ids()
for _ in range(3):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(ids()).encode())
        os._exit(0)
    print(os.read(read, 10_000).decode())
    os.wait()
print(json.dumps(ids()))
"""
    )
    printed = [set(json.loads(line)) - {"0" * 32, "0" * 16} for line in result.stdout.splitlines()]
    assert len(printed) == 4, result.stderr
    assert len(set().union(*printed)) == sum(map(len, printed))
    assert min(map(len, printed)) >= 2


def test_a_provider_of_the_hosts_has_its_own_ids(run_python: RunPython) -> None:
    """They come from the generator of the provider that the tracer is given, and run ids from them."""
    code = SEEDED.format(
        seed="from opentelemetry.sdk.trace import TracerProvider\n"
        "random.seed(42)\n"
        "tracer = AgentTracer(tracer_provider=TracerProvider())"
    )
    printed = [json.loads(run_python(f"{code}print(json.dumps(ids()))").stdout) for _ in range(2)]
    assert printed[0] == printed[1]
