"""The colours of the command, by what they mean."""

from __future__ import annotations

from otel_agent_trace.model import AgentRun, RunStatus, StepKind

LABEL = "dim"
FAINT = "dim"
FAILED = "red"
STATUS_FAILED = "bold red"
STRONG = "bold"
ID = "yellow"

STATUS = {
    RunStatus.SUCCESS: "green",
    RunStatus.ERROR: "bold red",
    RunStatus.TIMEOUT: "bold yellow",
    RunStatus.RUNNING: "cyan",
}
KIND = {
    StepKind.TOOL: "cyan",
    StepKind.MODEL: "magenta",
    StepKind.AGENT: "bold blue",
    StepKind.RETRIEVAL: "green",
    StepKind.OTHER: "default",
}


def status_word(run: AgentRun) -> tuple[str, str]:
    """What became of a run, and in which colour to say it."""
    if run.status is RunStatus.RUNNING and run.interrupted:
        return "interrupted", "bold yellow"
    return run.status.value, STATUS[run.status]
