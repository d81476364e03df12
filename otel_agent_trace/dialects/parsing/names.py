"""Names out of the names of spans, which are often those of a class, a method, or both."""

from __future__ import annotations

import re

_METHOD = re.compile(r"\._{0,2}[a-z][a-z0-9_]*$")


def without_method(name: str) -> str:
    """What a span that is called by an agent and the method is about: ``weather_agent.run``."""
    return _METHOD.sub("", name)
