"""The command ``otel-agent-trace``; everything is in its modules, since `list` here is a command."""

from otel_agent_trace.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
