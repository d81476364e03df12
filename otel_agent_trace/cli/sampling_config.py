"""Define ``otel-agent-trace sampling-config``: the policy of tail sampling for the OpenTelemetry Collector."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import click

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.policies.tail_sampling import SAMPLING_VARIABLE, TailSampling, sampling_in
from otel_agent_trace.query import duration_ns

_TIMES = ("wait_s", "keep_slower_than_s")
_HEAD = """\
# Keeps whole traces, by the policy
#   {policy}
# for a pipeline of traces in base.yaml that has the processor tail_sampling:
#
#   otelcol --config base.yaml --config this.yaml --feature-gates=+processor.tailsamplingprocessor.usetracestate
#
# Without the feature gate, kept traces claim that they were kept with probability 1, and what is computed from them is wrong;
# nor are they those that a program with this policy keeps.
processors:
  tail_sampling:
    # From the first span of a trace to its decision, which knows the spans that are there by then.
    decision_wait: {wait}
    # A trace is kept if any of these keeps it.
    policies:
"""
_FAILED = "span.status.code == STATUS_CODE_ERROR"


@click.command("sampling-config")
@click.option("--decision-wait", "wait_s", metavar="TIME", help="Time from the first span of a trace to its decision.")
@click.option("--rest", type=click.FloatRange(0, 1), metavar="P", help="Probability with which other traces are kept.")
@click.option("--keep-errors/--no-keep-errors", default=None, help="Keep traces whose root span failed.")
@click.option("--keep-tool-errors/--no-keep-tool-errors", default=None, help="Keep traces in which a tool failed.")
@click.option("--keep-slower-than", "keep_slower_than_s", metavar="TIME", help="Keep traces that took longer.")
@click.option("--keep-agent", "keep_agents", multiple=True, metavar="NAME", help="Keep traces of this agent.")
def command(**given: Any) -> None:
    """Print a policy of tail sampling as configuration of the OpenTelemetry Collector, for a --config of its own.

    The policy is that of $OTEL_AGENT_TRACE_SAMPLING, or the default one, changed by the options. TIME is seconds, or 200ms,
    1.5s, 2m.
    """
    policy = _policy_of_environment()
    changes = {name: value for name, value in given.items() if value not in (None, ())}
    for name in _TIMES:
        if name in changes:
            changes[name] = float(duration_ns(name.removesuffix("_s"), changes[name]) / 10**9)
    fields = {name: getattr(policy, name) for name in policy.__struct_fields__}
    print(config_of(_decided_in_time(TailSampling(**{**fields, **changes}))), end="")  # noqa: T201


def _policy_of_environment() -> TailSampling:
    """Return the policy of the environment, or the default one.

    Raises:
        ConfigurationError: the variable is not valid, or is for no sampling.
    """
    policy, text = sampling_in(os.environ), os.environ.get(SAMPLING_VARIABLE, "").strip()
    if policy is None and text:
        msg = f"{SAMPLING_VARIABLE}={text}: no sampling; a Collector without tail_sampling keeps all traces"
        raise ConfigurationError(msg)
    return policy or TailSampling()


def _decided_in_time(policy: TailSampling) -> TailSampling:
    """Return a policy by which the Collector can decide.

    Raises:
        ConfigurationError: it decides about a trace at once.
    """
    if policy.wait_s == 0:
        msg = "the time from the first span of a trace to its decision is 0, before it can have failed; see --decision-wait"
        raise ConfigurationError(msg)
    return policy


def config_of(policy: TailSampling) -> str:
    """Return the YAML of the Collector's processor ``tail_sampling`` with a policy."""
    head = _HEAD.format(policy=policy, wait=f"{_plain(_exact(policy.wait_s))}s")
    return head + "".join(_entry(*each) for each in _policies(policy))


def _policies(policy: TailSampling) -> Iterator[tuple[str, str, str, str]]:
    """Yield the name and type of each of the Collector's policies, and the name and value of its setting."""
    if policy.keep_errors:
        yield "errors", *_condition(f"IsRootSpan() and {_FAILED}")
    if policy.keep_tool_errors:
        yield "tool-errors", *_condition(f"{_is(semconv.OPERATION_NAME, semconv.OPERATION_EXECUTE_TOOL)} and {_FAILED}")
    if policy.keep_slower_than_s is not None:
        threshold_ms = (_exact(policy.keep_slower_than_s) * 1000).to_integral_value(ROUND_FLOOR)
        yield "slow", "latency", "threshold_ms", _plain(threshold_ms)
    if policy.keep_agents:
        names = " or ".join(_is(semconv.AGENT_NAME, name) for name in policy.keep_agents)
        yield "agents", *_condition(f"{_is(semconv.OPERATION_NAME, semconv.OPERATION_INVOKE_AGENT)} and ({names})")
    yield "rest", "probabilistic", "sampling_percentage", _plain(_exact(policy.rest) * 100)


def _condition(condition: str) -> tuple[str, str, str]:
    """Return type, name and value of the setting of a policy by a condition on any span, where a ``$`` begins a variable."""
    escaped = condition.replace("$", "$$").replace("'", "''")
    return "ottl_condition", "span", f"['{escaped}']"


def _is(attribute: str, value: str) -> str:
    return f"span.attributes[{_quoted(attribute)}] == {_quoted(value)}"


def _quoted(text: str) -> str:
    """Return a text in quotes, as the conditions of the Collector read it, of printable characters only."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in quoted)


def _exact(number: float) -> Decimal:
    """Return a number as it is written: 0.07 is seven hundredths."""
    return Decimal(repr(number))


def _plain(number: Decimal) -> str:
    """Return a number without an exponent, and without zeros at its end."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _entry(name: str, kind: str, setting: str, value: str) -> str:
    return f"      - name: {name}\n        type: {kind}\n        {kind}:\n          {setting}: {value}\n"
