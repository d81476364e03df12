"""Define the command ``otel-agent-trace``: the table of its commands, each imported when it is called, and its exit status.

Data goes to standard output, everything else to standard error. The exit status is 0, or what the command returns (1 when
``export`` had spans refused, or the runs of ``diff`` differ), or 2 for bad usage or input (with one line ``error: ...``
that names what, where and what to do), or 130 after Ctrl-C. A closed standard output, as in ``| head``, is no error.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from otel_agent_trace.cli.streams import prepare_streams, write_message
from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.version import __version__

PROGRAM = "otel-agent-trace"
OK, FAILED, INTERRUPTED = 0, 2, 130

COMMANDS = {
    "list": ("otel_agent_trace.cli.list", "List the runs of a source, newest first."),
    "show": ("otel_agent_trace.cli.show", "Show one run as a tree of steps, or one session as a conversation."),
    "explain": ("otel_agent_trace.cli.explain", "Show which span and attribute each fact of a run was read from."),
    "replay": ("otel_agent_trace.cli.replay", "Walk through one run step by step, plan its replay, or run it again."),
    "diff": ("otel_agent_trace.cli.diff", "Compare two runs side by side."),
    "sessions": ("otel_agent_trace.cli.sessions", "List the sessions of a source: conversations of several runs."),
    "score": ("otel_agent_trace.cli.score", "Add a score to a run of a local file."),
    "metrics": (
        "otel_agent_trace.cli.metrics",
        "Measure success rate, tools, errors, latency and tokens of many runs.",
    ),
    "view": ("otel_agent_trace.cli.view", "Show the runs of a source on a local page, as they go on."),
    "export": (
        "otel_agent_trace.cli.export",
        "Send runs to an OTLP endpoint (a Collector, Jaeger, others), or write them to a file.",
    ),
    "mcp": ("otel_agent_trace.cli.mcp", "Serve the runs of a source to coding agents (MCP)."),
    "scan": ("otel_agent_trace.cli.scan", "Look for secrets and personal data in a source."),
    "tail": ("otel_agent_trace.cli.tail", "Show runs and steps as they start and end."),
    "status": ("otel_agent_trace.cli.status", "Show what a store has: segments, runs, journals, index, damage."),
    "verify": ("otel_agent_trace.cli.verify", "Look for damage in every line and compressed frame of local files."),
    "forget": (
        "otel_agent_trace.cli.forget",
        "Remove the runs of a user or of a session from local files.",
    ),
    "prune": ("otel_agent_trace.cli.prune", "Remove old runs, or others that are not needed, from local files."),
    "compact": (
        "otel_agent_trace.cli.compact",
        "Put a local store in order: repair, compress, remove what is not kept.",
    ),
    "index": ("otel_agent_trace.cli.index", "Index a local store, so that its runs are found at once."),
    "sampling-config": (
        "otel_agent_trace.cli.sampling_config",
        "Print a policy of tail sampling as configuration of the OpenTelemetry Collector.",
    ),
    "run": ("otel_agent_trace.cli.run", "Run any program of Python, and record what it does in a local file."),
    "demo": ("otel_agent_trace.cli.demo", "Trace an example agent, then list, show and measure its runs."),
}
"""Name of a command → the module that defines its `command`, and its summary in the help."""


class _Commands(click.Group):
    """Import a command when it is called, so that ``--help`` and errors of usage need none of their imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"unknown command {args[0]!r}; the commands are: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"See '{PROGRAM} COMMAND --help' for the options of a command. To begin: {PROGRAM} demo",
)
@click.version_option(__version__, message=f"{PROGRAM} %(version)s")
@click.pass_context
def _command(context: click.Context) -> None:
    """Read the traces of agents: list their runs, show them, walk through them, measure them.

    SOURCE is a file, a directory or a glob of traces, or the address of a Jaeger (http://HOST:16686) or ClickHouse server (clickhouse://HOST:8123/DATABASE); by default $OTEL_AGENT_TRACE_FILE, else traces.jsonl.
    RUN is a run id, the beginning of one, or "last"; SOURCE#RUN names both in one word.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: the arguments after the program's name; by default those of this process.
    """
    prepare_streams()
    arguments = None if argv is None else list(argv)
    try:
        code = _command.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click and rich raise SystemExit when standard output is closed
        return _discard_output()
    except click.ClickException as error:
        return _report_failure(_usage_text(error))
    except AgentTraceError as error:
        return _report_failure(str(error))
    except OSError as error:
        return _report_failure(f"{error.filename or 'standard output'}: {error.strerror or error}")
    except RecursionError:
        return _report_failure("the sub-agents of this run are nested too deeply to be written")
    return code if isinstance(code, int) else OK


def _report_failure(message: str) -> int:
    write_message(f"error: {message}")
    return FAILED


def _usage_text(error: click.ClickException) -> str:
    """Return click's message, with where to look for help when a command was called wrongly."""
    text = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text} (see '{context.command_path} --help')" if context is not None else text


def _discard_output() -> int:
    """Redirect standard output to the null device, so that the interpreter's last flush does not fail either."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK
