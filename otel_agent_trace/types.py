"""Define the types of values that callers pass in, each named once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict


class RunFields(TypedDict, total=False):
    """Define the fields of a run that a caller may pass; None counts as not passed."""

    user_input: Any
    model: str | None
    agent_name: str | None
    user_id: object
    session_id: object
    config: Any
    metadata: Mapping[Any, Any] | None
    run_id: str | None
    tags: Iterable[str] | None
    prompt_name: str | None
    prompt_version: str | None


class StepFields(TypedDict, total=False):
    """Define the fields of a step that is logged after it ended; None counts as not passed.

    Times are datetimes or Unix seconds.
    """

    step_id: int | str | None
    kind: str | None
    name: str | None
    tool_name: str | None
    input: Any
    tool_input: Any
    output: Any
    tool_output: Any
    error: object
    tool_error: object
    messages: Any
    model: str | None
    usage: Any
    metadata: Mapping[Any, Any] | None
    prompt_name: str | None
    prompt_version: str | None
    parent_step_id: int | str | None
    started_at: datetime | float | None
    ended_at: datetime | float | None
    duration_s: float | None
