"""The Collector keeps the traces that `otel-agent-trace sampling-config` describes, and how likely that was is read back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from otel_agent_trace import AgentRun, AgentTracer, RunStatus, configure, load_runs
from otel_agent_trace.sampling import randomness_of, threshold_of
from tests.support.processes import ROOT
from tests.support.running_servers import WITH_TRACE_STATE, RunningCollector
from tests.support.server_fixtures import StartCollector

BASE = """\
extensions:
  health_check: {endpoint: "${env:COLLECTOR_HEALTH}"}
receivers:
  otlp: {protocols: {http: {endpoint: "${env:COLLECTOR_OTLP_HTTP}"}}}
exporters:
  file: {path: "${env:COLLECTOR_FILE}", create_directory: true}
service:
  extensions: [health_check]
  telemetry:
    metrics:
      readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: "${env:COLLECTOR_METRICS_PORT}"}}}}]
  pipelines:
    traces: {receivers: [otlp], processors: [tail_sampling], exporters: [file]}
"""
REST = 0.1
ONE_IN_FAILS, ONE_IN_FAILS_IN_A_TOOL, ONE_IN_IS_FOR_VIPS = 50, 20, 100
AGENT, VIP = "weather", 'vip\'s $HOME "gold" é'


def policy_file(folder: Path, *options: str, policy: str = "") -> Path:
    """What the command writes."""
    file = folder / "policy.yaml"
    command = [sys.executable, "-m", "otel_agent_trace.cli", "sampling-config", *options]
    env = {**os.environ, "OTEL_AGENT_TRACE_SAMPLING": policy}
    file.write_bytes(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=env).stdout)
    return file


class Sampled(NamedTuple):
    """Runs that were sent to a Collector, by id, and those that it kept."""

    sent: dict[str, AgentRun]
    kept: list[AgentRun]


def sampled(start: StartCollector, folder: Path, policy: Path, runs: int, *options: str) -> Sampled:
    base = folder / "base.yaml"
    base.write_text(BASE, encoding="utf-8")
    collector = start(base, options=["--config", str(policy), *options])
    record(folder / "sent.jsonl", collector, runs)
    collector.stop()  # it decides about all that it has
    sent = {run.run_id: run for run in load_runs(folder / "sent.jsonl")}
    assert len(sent) == runs
    return Sampled(sent, [*load_runs(collector.file)])


def record(file: Path, collector: RunningCollector, runs: int) -> None:
    provider = configure(file=file, otlp=collector.url("otlp_http"))
    tracer = AgentTracer(tracer_provider=provider)
    for number in range(runs):
        name = VIP if number % ONE_IN_IS_FOR_VIPS == 0 else AGENT
        with suppress(LookupError), tracer.run(agent_name=name, user_input="Which way?") as run:
            with run.step("search", {"n": number}) as step:
                step.output = "north"
                if number % ONE_IN_FAILS_IN_A_TOOL == 1:
                    step.error = LookupError("no such way")
            if number % ONE_IN_FAILS == 2:
                raise LookupError
    provider.shutdown()


def is_of_the_rest(run: AgentRun, rest: float) -> bool:
    assert run.trace_id is not None
    return randomness_of(int(run.trace_id, 16)) >= threshold_of(rest)


def probabilities(runs: Iterable[AgentRun]) -> dict[str, float | None]:
    return {run.run_id: run.sampling_probability for run in runs}


@pytest.mark.slow
def test_the_collector_chooses_as_the_policy_does(start_collector: StartCollector, tmp_path: Path) -> None:
    sent, kept = sampled(
        start_collector, tmp_path, policy_file(tmp_path, "--decision-wait", "3s"), 1_000, WITH_TRACE_STATE
    )
    failed = {run_id for run_id, run in sent.items() if run.status is RunStatus.ERROR}
    by_chance = {run_id for run_id, run in sent.items() if is_of_the_rest(run, REST)}
    assert len(failed) == len(sent) // ONE_IN_FAILS
    assert len(kept) == len(failed | by_chance)
    assert probabilities(kept) == {
        **dict.fromkeys(by_chance, REST),
        **dict.fromkeys(failed),  # a threshold of 0, as that of all spans before
    }
    assert all(len(run.steps) == 1 for run in kept)


@pytest.mark.slow
def test_the_collector_keeps_what_any_rule_keeps(start_collector: StartCollector, tmp_path: Path) -> None:
    policy = f"keep_errors=false,keep_tool_errors=true,keep_agents={quote(VIP)},rest=0.25,keep_slower_than_s=3600"
    sent, kept = sampled(start_collector, tmp_path, policy_file(tmp_path, policy=policy), 400, WITH_TRACE_STATE)
    by_rule = {run_id for run_id, run in sent.items() if run.agent_name == VIP or run.steps[0].error is not None}
    by_chance = {run_id for run_id, run in sent.items() if is_of_the_rest(run, 0.25)}
    assert len(by_rule) == 400 // ONE_IN_IS_FOR_VIPS + 400 // ONE_IN_FAILS_IN_A_TOOL
    assert probabilities(kept) == {**dict.fromkeys(by_chance, 0.25), **dict.fromkeys(by_rule)}


@pytest.mark.slow
def test_without_the_gate_kept_traces_claim_to_be_all(start_collector: StartCollector, tmp_path: Path) -> None:
    """So the gate is needed: nothing shows that these are a tenth."""
    sent, kept = sampled(start_collector, tmp_path, policy_file(tmp_path), 400)
    assert len(sent) // ONE_IN_FAILS < len(kept) < len(sent) // 2
    assert set(probabilities(kept).values()) == {None}
