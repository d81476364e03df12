"""Write a store with one run of each kind; run once with each version of the library, to make the files beside it.

git worktree add /tmp/version COMMIT
PYTHONPATH=/tmp/version python tests/store/golden/program.py tests/store/golden/DATE-COMMIT.jsonl
"""

from __future__ import annotations

import datetime
import sys

from otel_agent_trace import AgentTracer, FileBackend

tracer = AgentTracer(backend=FileBackend(sys.argv[1]), agent_name="weather")

run_id = tracer.start_run(user_input="Rain in Lyon?", user_id="u1", session_id="s1")
tracer.log_step(run_id, {"tool_name": "search", "tool_input": {"q": "rain"}, "tool_output": {"rain": "no"}})
tracer.end_run(run_id, "No.")

with tracer.run(user_input={"city": "Łódź", "days": (1, 2)}, metadata={"tenant": "acme"}, model="gpt-4") as run:
    with run.model_call(model="gpt-4", messages=[{"role": "user", "content": "Forecast?"}]) as call:
        call.output, call.usage = "Call the tool.", {"input_tokens": 100, "output_tokens": 20}
    with run.step("forecast", {"day": datetime.date(2026, 5, 1)}) as step:
        step.output = {"high": 21.5, "icon": b"\x89PNG"}
    with tracer.run(agent_name="checker", user_input="Is 21.5 plausible?") as inner:
        with inner.step("compare", {"value": 21.5}) as step:
            step.output = True
        inner.final_output = "Yes."
    run.final_output = "21.5 degrees."

try:
    with tracer.run(user_input="Snow?") as run, run.step("search", {"q": "snow"}):
        raise TimeoutError("no answer")
except TimeoutError:
    pass

run = tracer.run(user_input="Wind?").__enter__()
with run.step("search", {"q": "wind"}) as step:
    step.output = "strong"
sys.stdout.flush()
