"""Parse names of spans, which are often those of a class, a method, or both."""

from __future__ import annotations

import re

_METHOD = re.compile(r"\._{0,2}[a-z][a-z0-9_]*$")


def without_method(name: str) -> str:
    """Return a span's name without the method that instrumentations append to it (``weather_agent.run``)."""
    return _METHOD.sub("", name)
