"""Types of what callers give, each named once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict


class RunFields(TypedDict, total=False):
    """Fields of a run that a caller gives; None is as good as nothing."""

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
    """Fields of a step that is logged when it is over; None is as good as nothing."""

    step_id: int | str | None
    kind: str | None
    name: str | None
    tool_name: str | None
    input: Any
    tool_input: Any
    output: Any
    tool_output: Any
    error: object
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
