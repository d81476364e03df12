"""Features that Windows lacks, taken away from Python, so that the library runs here as it would there."""

from __future__ import annotations

import os
import sys

_OF_FORK = ("fork", "forkpty", "register_at_fork")


def take_away(features: str) -> None:
    """Take away ``fcntl`` and ``fork``, or those of them that are named, with commas between.

    Libraries that were imported before keep what they have. A name that is neither is an error: a run that takes
    nothing away would prove nothing.
    """
    for feature in filter(None, features.split(",")):
        if feature == "fcntl":
            sys.modules["fcntl"] = None  # type: ignore[assignment]  # as importlib documents it: an import fails
        elif feature == "fork":
            for name in _OF_FORK:
                if hasattr(os, name):
                    delattr(os, name)
        else:
            msg = f"OTEL_AGENT_TRACE_TEST_WITHOUT: {feature!r} is neither fcntl nor fork"
            raise ValueError(msg)
