"""Name what to install where the packages of an extra are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from otel_agent_trace.errors import ConfigurationError


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Import packages of an extra in a block, for what a message names.

    Raises:
        ConfigurationError: one of them cannot be imported; the message has the command that installs the extra.
    """
    try:
        yield
    except ImportError as error:
        msg = f"{what} needs packages: pip install 'otel-agent-trace[{extra}]' ({error})"
        raise ConfigurationError(msg) from error
