"""Find the policy by which traces are sampled: the argument `sampling`, else ``OTEL_AGENT_TRACE_SAMPLING``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.pipeline.pipeline import checked_policies
from otel_agent_trace.pipeline.spans import Policy
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.policies.tail_sampling import TailSampling, sampling_in

Sampling = TailSampling | Literal[False] | None
"""Policy by which traces are sampled; False for none, None for that of the environment."""


def with_sampling(policies: Iterable[Policy | Gate], sampling: Sampling) -> tuple[Policy | Gate, ...]:
    """Return policies with that by which traces are sampled as the last one.

    A gate among them takes precedence over the environment.

    Raises:
        ConfigurationError: an argument or the variable is not valid, or there is a gate as well.
    """
    given = checked_policies(policies)
    has_gate = bool(given) and isinstance(given[-1], Gate)
    if sampling is None:
        policy = None if has_gate else sampling_in(os.environ)
    elif sampling is False:
        policy = None
    elif not isinstance(sampling, TailSampling):
        msg = f"sampling={shown(sampling)} must be a TailSampling, or False for none"
        raise ConfigurationError(msg)
    elif has_gate:
        msg = "sampling: there is a Gate among the policies already, which decides about traces"
        raise ConfigurationError(msg)
    else:
        policy = sampling
    return given if policy is None else (*given, policy)
