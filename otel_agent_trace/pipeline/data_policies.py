"""Collect the policies about data: user ids, content, masks and redaction, wherever they are given."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypedDict

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import warn
from otel_agent_trace.keywords import shown
from otel_agent_trace.pipeline.spans import Policy
from otel_agent_trace.policies.content import ContentMode, ContentPolicy, check_content, content_of_environment
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.policies.masking import Mask, MaskPolicy, is_asynchronous
from otel_agent_trace.policies.redaction import RedactionPolicy
from otel_agent_trace.policies.user_ids import UserIdPolicy, UserIds
from otel_agent_trace.redaction.redactor import Redactor


class DataOptions(TypedDict, total=False):
    """Define the arguments about data of `configure`, `AgentTracer`, processors and backends; None: not given."""

    user_ids: UserIds | None
    """Mode of recording user ids: ``"pseudonym"`` (keyed HMAC, the default), ``"plain"``, or ``"none"``."""
    content: ContentMode | None
    """Content to record: ``"all"`` (the default), ``"no_inputs"``, ``"no_outputs"``, or ``"none"``."""
    mask: Mask | None
    """Function ``(value, where) -> value`` that is called with each value; it drops the value if it raises."""
    redact: Redactor | bool | None
    """`Redactor` that masks secrets; True (the default) for one with the usual rules, False for none."""


class DataPolicies(NamedTuple):
    """Hold these arguments, after a check."""

    user_ids: UserIdPolicy | None = None
    content: ContentMode | None = None
    mask: Mask | None = None
    redact: Redactor | bool | None = None

    def over(self, others: DataPolicies) -> DataPolicies:
        """Return these, and the others for what is not given here."""
        return self._replace(**{name: other for name, other in others._asdict().items() if getattr(self, name) is None})

    def with_all(self, change: Callable[[Any], Any]) -> DataPolicies:
        """Return these with the objects of the program changed by a function."""
        return self._replace(
            mask=None if self.mask is None else change(self.mask),
            redact=self.redact if self.redact is None or isinstance(self.redact, bool) else change(self.redact),
        )

    def options(self) -> DataOptions:
        """Return the arguments that these were made from."""
        mode = None if self.user_ids is None else self.user_ids.mode
        return {"user_ids": mode, "content": self.content, "mask": self.mask, "redact": self.redact}

    def in_order(self, further: Iterable[Policy | Gate] = ()) -> tuple[Policy | Gate, ...]:
        """Return all policies: for user ids, those of the program, then what removes and masks, then the gate.

        What is not given has its default. Redaction is the last that changes anything, so that nothing that another
        policy adds goes past it; before a function of the program it is applied as well, which might pass a secret on,
        or leave a half of it that has no shape any more.
        """
        given = tuple(further)
        redactor = self.redactor
        return (
            self.user_ids or UserIdPolicy(),
            *(policy for policy in given if not isinstance(policy, Gate)),
            ContentPolicy(self.content or content_of_environment()),
            *(() if self.mask is None else _redaction(redactor)),
            *(() if self.mask is None else (MaskPolicy(self.mask),)),
            *_redaction(redactor),
            *(policy for policy in given if isinstance(policy, Gate)),
        )

    @property
    def redactor(self) -> Redactor | None:
        """Return the redactor, None if nothing is redacted."""
        if isinstance(self.redact, Redactor):
            return self.redact
        is_on = _redact_of_environment() if self.redact is None else self.redact
        return default_redactor() if is_on else None


def data_policies(
    user_ids: UserIds | UserIdPolicy | None = None,
    content: ContentMode | None = None,
    mask: Mask | None = None,
    redact: Redactor | bool | None = None,
) -> DataPolicies:
    """Return arguments about data after a check.

    Raises:
        ConfigurationError: one of them is not valid.
    """
    if mask is not None and not callable(mask):
        msg = f"mask={shown(mask)} must be a function (value, where) -> value"
        raise ConfigurationError(msg)
    if is_asynchronous(mask):
        msg = f"mask={shown(mask)} must not be asynchronous: a span cannot wait for it"
        raise ConfigurationError(msg)
    if redact is not None and not isinstance(redact, Redactor | bool):
        msg = f"redact={shown(redact)} must be a Redactor, True or False"
        raise ConfigurationError(msg)
    return DataPolicies(
        None if user_ids is None else UserIdPolicy.of(user_ids),
        None if content is None else check_content(content),
        mask,
        redact,
    )


@functools.lru_cache(maxsize=1)
def default_redactor() -> Redactor:
    """Return the redactor with the usual rules, one for the process."""
    return Redactor()


def _redaction(redactor: Redactor | None) -> tuple[RedactionPolicy, ...]:
    return () if redactor is None else (RedactionPolicy(redactor),)


_REDACT_VARIABLE = "OTEL_AGENT_TRACE_REDACT"


def _redact_of_environment() -> bool:
    given = os.environ.get(_REDACT_VARIABLE, "").strip().lower()
    if given not in ("", "true", "false", "1", "0"):
        warn("%s=%s is neither true nor false: secrets are masked", _REDACT_VARIABLE, given)
    return given not in ("false", "0")
