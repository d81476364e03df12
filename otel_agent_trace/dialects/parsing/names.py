"""Parse names of spans, which are often those of a class, a method, or both."""

from __future__ import annotations

import re

_METHOD = re.compile(r"\._{0,2}[a-z][a-z0-9_]*$")


def without_method(name: str) -> str:
    """Return a span's name without the method that instrumentations append to the agent's name or class.

    OpenInference writes ``weather_agent.run`` for LlamaIndex's workflows, MLflow ``ReAct.forward`` for DSPy's modules.
    """
    return _METHOD.sub("", name)
