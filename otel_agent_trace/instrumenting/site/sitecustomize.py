"""Start recording before the program, in each process of Python below ``otel-agent-trace run``.

Python imports a module of this name as it starts. One that this hides, as of the system or of the user, is imported first.
"""

import os
import signal
import sys


def _import_hidden() -> None:
    """Import the module of the same name that is further down the path, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]
    own = sys.modules.pop(__name__)
    try:
        __import__(__name__)
    except ImportError as error:
        if error.name != __name__:
            raise
    finally:
        sys.modules.setdefault(__name__, own)


def _start() -> None:
    """Start recording, or write into the report why that cannot be done."""
    try:
        from otel_agent_trace.instrumenting.bootstrap import start  # noqa: PLC0415 - after the hidden module
    except (ImportError, SyntaxError) as error:  # another environment, or a Python that is too old
        _report(error)
    else:
        start()


def _report(error: Exception) -> None:
    import json  # noqa: PLC0415 - only here

    line = json.dumps({"python": sys.executable, "error": f"{type(error).__name__}: {error}"})
    try:
        descriptor = os.open(os.environ["OTEL_AGENT_TRACE_RUN"], os.O_WRONLY | os.O_APPEND)
    except OSError:  # the command is over
        return
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


def _die_of_interrupt() -> None:
    """End as a program does that Ctrl-C interrupts; from here, Python would end with a fatal error of its own."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


if os.environ.get("OTEL_AGENT_TRACE_RUN"):
    try:
        try:
            _import_hidden()
        finally:
            _start()
    except KeyboardInterrupt:
        _die_of_interrupt()
