"""Provide the command ``otel-agent-trace``.

Its parts are imported from their modules and not named here, since one of them, `list`, would hide the built-in.
"""

from otel_agent_trace.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
