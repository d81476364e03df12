"""What the programs of this folder share: what their tools know, and how they go through the questions."""

import contextlib
import sys
from collections.abc import Callable

from otel_agent_trace import AgentTracer, configure

_, INSTRUMENTATION, FILE, *QUESTIONS = sys.argv
PROVIDER = configure(file=FILE, set_global=True)
TRACER = AgentTracer(agent_name="host")
_FORECASTS = {"Lyon": {"sky": "rain", "wind": "north"}}


def forecast_of(city: str) -> dict[str, str]:
    """The weather of a city; an error for one that is not known."""
    if city not in _FORECASTS:
        raise LookupError(f"no city {city}")
    return _FORECASTS[city]


def ask_all(ask: Callable[[str], str]) -> None:
    """Ask every question, whatever comes of it; one to the host within a run of our own."""
    for question in QUESTIONS:
        with contextlib.suppress(Exception):
            if question.startswith("Host"):
                with TRACER.run(user_input=question) as run:
                    run.final_output = ask(question)
            else:
                ask(question)
    TRACER.close()
