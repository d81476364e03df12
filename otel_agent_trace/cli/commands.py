"""The command ``otel-agent-trace``: a table of commands, each imported when it is called, and how any of them ends.

Data goes to standard output, everything else to standard error. The exit status is 0, or what the command says (1 when
``export`` was refused spans), or 2 for bad usage or input (one line ``error: ...`` says what, where and what to do), or
130 after Ctrl-C. Whoever reads our output may stop at any time.
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
    "list": ("otel_agent_trace.cli.list", "The runs of a source, newest first."),
    "show": ("otel_agent_trace.cli.show", "One run as a tree: what it did, with which inputs and outputs."),
    "explain": ("otel_agent_trace.cli.explain", "One run, fact by fact: which span and attribute each came from."),
    "replay": ("otel_agent_trace.cli.replay", "Walk through one run step by step, as it happened."),
    "metrics": ("otel_agent_trace.cli.metrics", "Success rate, tools, errors, latency and tokens of many runs."),
    "export": (
        "otel_agent_trace.cli.export",
        "Send runs to an OTLP endpoint (a Collector, Jaeger, others), or write them.",
    ),
    "demo": ("otel_agent_trace.cli.demo", "Trace an example agent, then list, show and measure its runs."),
}
"""Each command: the module whose `command` it is, and what it does."""


class _Commands(click.Group):
    """A group that imports a command when it is called, not when it is named."""

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
            raise click.UsageError(f"there is no command {args[0]!r}; there are: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"'{PROGRAM} COMMAND --help' tells more. To begin: {PROGRAM} demo",
)
@click.version_option(__version__, message=f"{PROGRAM} %(version)s")
@click.pass_context
def _command(context: click.Context) -> None:
    """Read the traces of agents: list their runs, show them, walk through them, measure them.

    SOURCE is a file, a directory or a glob of traces, or the address of a Jaeger (http://HOST:16686); by default $OTEL_AGENT_TRACE_FILE, else traces.jsonl.
    RUN is a run id, the beginning of one, or "last"; SOURCE#RUN names both in one word.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (by default the program's own) and give its exit status."""
    prepare_streams()
    arguments = None if argv is None else list(argv)
    try:
        code = _command.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click and rich leave by SystemExit when the reader of our output has gone
        return _quiet_end()
    except click.ClickException as error:
        return _failure(_usage_text(error))
    except AgentTraceError as error:
        return _failure(str(error))
    except OSError as error:
        return _failure(f"{error.filename or 'standard output'}: {error.strerror or error}")
    except RecursionError:
        return _failure("this run nests its sub-agents too deeply to be written")
    return code if isinstance(code, int) else OK


def _failure(message: str) -> int:
    write_message(f"error: {message}")
    return FAILED


def _usage_text(error: click.ClickException) -> str:
    """Return click's message, with where to look for help when a command was called wrongly."""
    text = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text} (see '{context.command_path} --help')" if context is not None else text


def _quiet_end() -> int:
    """Nobody reads our output any more (``| head``): leave without a word, at the interpreter's last flush too."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK
