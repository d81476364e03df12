"""Scripts of whole runs carried out on a tracer, and what should come back of them."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from otel_agent_trace import AgentRun, AgentTracer, pseudonymize_user_id
from otel_agent_trace.model import TOKEN_FIELDS, AgentStep, Message, RunStatus, StepKind, Usage
from otel_agent_trace.tracing import ActiveRun, ActiveStep
from tests.support.exact_comparison import assert_alike, difference
from tests.support.strategies import ErrorCase, Run, Step

# ── what should come back ────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Known:
    """What was recorded of a run or a step, as the fields that should come back."""

    fields: dict[str, Any]
    steps: list[Known] = dataclasses.field(default_factory=list)
    run: Known | None = None
    error: ErrorCase | None = None


def assert_expected(run: AgentRun, expected: Known) -> None:
    """Every field of the run, of its steps and of what is below is what was recorded."""
    assert_fields(run, expected)
    assert run.truncated == ()
    assert run.trace_id is not None
    assert run.trace_ids == (run.trace_id,)
    assert run.resource["telemetry.sdk.language"] == "python"
    assert run.service_name == run.resource["service.name"]
    assert run.span_id is not None
    by_index = {step.index: step for step in run.steps}
    assert sorted(by_index) == list(range(len(expected.steps))) == sorted(step.index for step in run.steps)
    assert list(run.steps) == sorted(run.steps, key=lambda step: (step.started_at_ns, step.index))
    for index, expected_step in enumerate(expected.steps):
        assert_step(by_index[index], expected_step)
    assert_alike(run.usage, expected.fields.get("usage") or summed(run.steps))


def assert_step(step: AgentStep, expected: Known) -> None:
    assert_fields(step, expected)
    assert step.truncated == ()
    tool = (step.name, step.input, step.output) if step.kind is StepKind.TOOL else (None, None, None)
    assert_alike((step.tool_name, step.tool_input, step.tool_output), tool)
    assert (step.run is None) == (expected.run is None)
    if step.run is not None and expected.run is not None:
        assert_expected(step.run, expected.run)


def assert_fields(item: AgentRun | AgentStep, expected: Known) -> None:
    for name, value in expected.fields.items():
        found = difference(getattr(item, name), value, name) if name != "usage" or isinstance(item, AgentStep) else None
        assert found is None, found
    if expected.error is None:
        assert item.error is None
        return
    assert item.error is not None
    assert (item.error.type, item.error.message, item.error.category) == expected.error[1:4]
    if expected.error.stacktrace is not None:
        assert item.error.stacktrace == expected.error.stacktrace


def summed(steps: tuple[AgentStep, ...]) -> Usage | None:
    """The tokens of the model calls and of the sub-agents."""
    known = [s.usage for s in steps if s.kind in (StepKind.MODEL, StepKind.AGENT) and s.usage is not None]
    if not known:
        return None
    counts: dict[str, Any] = {
        name: [count for use in known if (count := getattr(use, name)) is not None] for name in TOKEN_FIELDS
    }
    totals: dict[str, Any] = {name: sum(items) if items else None for name, items in counts.items()}
    return Usage(**totals)


# ── carrying a script out ────────────────────────────────────────────────────────────────────────────────────────────


class Stage:
    """Carries scripts out on a tracer, and keeps what should come back."""

    def __init__(self, tracer: AgentTracer) -> None:
        self.tracer = tracer
        self.expected: list[Known] = []

    def carry_out(self, script: Run) -> None:
        """An outermost run."""
        self.expected.append(self.imperative(script) if script.how == "imperative" else self.block(script, None)[0])

    # runs

    def start_fields(self, script: Run) -> dict[str, Any]:
        fields = {**script.fields, **script.unknown}
        return {**fields, "metadata": script.metadata} if script.metadata else fields

    def known_run(self, script: Run) -> dict[str, Any]:
        given = script.fields
        known = {
            "agent_name": given.get("agent_name"),
            "user_input": given.get("user_input"),
            "user_id": pseudonymize_user_id(str(given["user_id"])) if "user_id" in given else None,
            "session_id": str(given["session_id"]) if "session_id" in given else None,
            "model": given.get("model"),
            "config": given.get("config"),
            "tags": tuple(given.get("tags", ())),
            "prompt_name": given.get("prompt_name"),
            "prompt_version": given.get("prompt_version"),
            "metadata": {**script.metadata, **script.unknown},
            "attributes": {},
            "final_output": script.final_output,
            "usage": script.usage.meant,
        }
        return {**known, "run_id": given["run_id"]} if given.get("run_id") else known

    def imperative(self, script: Run) -> Known:
        run_id = self.tracer.start_run(self.start_fields(script))
        expected = Known({**self.known_run(script), "run_id": run_id}, error=script.error)
        places = Places(expected.steps)
        for event in script.events:
            assert isinstance(event, Step)
            self.logged(event, run_id, places)
        expected.fields["status"] = end_status(script.status, script.error)
        if script.error is not None and script.raises:  # the one call that has no more to say
            self.tracer.log_error(run_id, script.error.given, status=script.status)
            expected.fields.update(final_output=None, usage=None)
        elif script.error is not None:
            run = self.tracer._state.find(run_id)
            run.error = script.error.given
            self.end(script, run_id)
        else:
            self.end(script, run_id)
        return expected

    def end(self, script: Run, run_id: str) -> None:
        self.tracer.end_run(run_id, script.final_output, status=script.status, usage=script.usage.given)

    def block(self, script: Run, above: tuple[ActiveRun, Places] | None) -> tuple[Known, str]:
        """A run as a block; below another one it is a step of that as well."""
        handle = self.tracer.run(self.start_fields(script))
        expected = Known(self.known_run(script), error=script.error)
        try:
            with handle:
                if above is not None:
                    assert handle.parent_run_id == above[0].run_id
                    for name in ("session_id", "user_id"):
                        if expected.fields[name] is None:
                            expected.fields[name] = getattr(above[0], name)
                self.inside(script, handle, expected)
                if script.error is not None:
                    raise script.error.given
        except BaseException as error:
            if script.error is None or error is not script.error.given:
                raise
        expected.fields["run_id"] = handle.run_id
        expected.fields["parent_run_id"] = above[0].run_id if above else None
        return expected, expected.fields["agent_name"] if expected.fields["agent_name"] is not None else "invoke_agent"

    def inside(self, script: Run, handle: ActiveRun, expected: Known) -> None:
        for name, value in script.changed.items():
            setattr(handle, name, value)
            expected.fields[name] = value
        if "user_id" in script.changed:
            expected.fields["user_id"] = pseudonymize_user_id(script.changed["user_id"])
        if "tags" in script.changed:
            expected.fields["tags"] = tuple(script.changed["tags"])
        self.set_attributes(handle, script.attributes, expected.fields)
        places = Places(expected.steps)
        for event in script.events:
            self.event(event, handle, places, None)
        handle.final_output = script.final_output
        handle.usage = script.usage.given
        if script.status is not None:
            handle.status = script.status
        overruled = script.status == "success" and script.error is not None  # by what is raised afterwards
        expected.fields["status"] = end_status(None if overruled else script.status, script.error)

    def set_attributes(
        self, handle: ActiveRun | ActiveStep, attributes: dict[str, Any], fields: dict[str, Any]
    ) -> None:
        for key, value in attributes.items():
            handle.set_attribute(key, value)
        fields["attributes"] = {**fields.get("attributes", {}), **attributes}

    # steps

    def event(self, event: Step | Run, run: ActiveRun, places: Places, above: int | str | None) -> None:
        if isinstance(event, Run):
            position = places.reserve()
            known, name = self.block(event, (run, places))
            step = {
                "kind": StepKind.AGENT,
                "name": name,
                "step_id": places.number(position, None),
                "input": known.fields["user_input"],
                "output": known.fields["final_output"],
                "metadata": known.fields["metadata"],
                "attributes": known.fields["attributes"],
                "model": known.fields["model"],
                "prompt_name": known.fields["prompt_name"],
                "prompt_version": known.fields["prompt_version"],
                "messages": (),
                "parent_step_id": above,
            }
            places.fill(position, Known(step, run=known, error=known.error))
        elif event.how == "logged":
            self.logged(event, run.run_id, places)
        else:
            self.around(event, run, places, above)

    def around(self, script: Step, run: ActiveRun, places: Places, above: int | str | None) -> None:
        position = places.reserve()
        expected = Known(self.known_step(script, places.number(position, script.step_id)), error=script.error)
        expected.fields["parent_step_id"] = above
        step = self.step_handle(script, run, expected.fields)
        try:
            with step:
                places.started(expected.fields["step_id"])
                self.inside_step(script, run, step, expected, places)
        except BaseException as error:
            if script.error is None or error is not script.error.given:
                raise
        places.fill(position, expected)

    def step_handle(self, script: Step, run: ActiveRun, fields: dict[str, Any]) -> ActiveStep:
        common: dict[str, Any] = {"input": script.input, "step_id": script.step_id, "metadata": script.metadata}
        common.update(script.prompt)
        if script.how == "model":
            fields["name"] = script.name or script.model or "chat"
            if script.model is None and script.raises:
                common["provider"] = "someone"
                fields["attributes"] = {"gen_ai.provider.name": "someone"}
            return run.model_call(script.model, script.messages.given, name=script.name, **common)
        fields["name"] = script.name
        return run.step(script.name or "", kind=script.kind, **common)

    def inside_step(self, script: Step, run: ActiveRun, step: ActiveStep, expected: Known, places: Places) -> None:
        if script.how != "model":
            step.messages = script.messages.given
            expected.fields["model"] = None
        self.set_attributes(step, script.attributes, expected.fields)
        for event in script.inside:
            self.event(event, run, places, expected.fields["step_id"])
        step.output = script.output
        step.usage = script.usage.given
        if script.how == "model":
            answer = script.output if isinstance(script.output, str) else None
            meant = script.messages.meant
            if answer is not None and not (meant and meant[-1].role == "assistant"):
                reply = Message(role="assistant", parts=({"type": "text", "content": answer},))
                expected.fields["messages"] = (*meant, reply)
        if script.error is not None:
            if script.raises:
                raise script.error.given
            step.error = script.error.given

    def known_step(self, script: Step, step_id: int | str) -> dict[str, Any]:
        return {
            "step_id": step_id,
            "kind": script.kind,
            "input": script.input,
            "output": script.output,
            "messages": script.messages.meant,
            "model": script.model,
            "usage": script.usage.meant,
            "prompt_name": script.prompt.get("prompt_name"),
            "prompt_version": script.prompt.get("prompt_version"),
            "metadata": {**script.metadata, **script.unknown},
            "attributes": {},
            "abandoned": False,
        }

    def logged(self, script: Step, run_id: str, places: Places) -> None:
        position = places.reserve()
        expected = Known(self.known_step(script, places.number(position, script.step_id)), error=script.error)
        default = script.model or "chat" if script.kind is StepKind.MODEL else script.kind.value
        expected.fields["name"] = script.name or default
        fields = self.logged_fields(script)
        expected.fields["parent_step_id"] = None
        if script.parent_of_last is not None and places.ids:
            fields["parent_step_id"] = places.ids[-1 - script.parent_of_last % len(places.ids)]
            expected.fields["parent_step_id"] = fields["parent_step_id"]
        if script.when is not None:
            start, end = script.when
            expected.fields["started_at_ns"], expected.fields["ended_at_ns"] = start * 1000, max(start, end) * 1000
            fields.update(time_fields(start, end, script.time_form))
        assert self.tracer.log_step(run_id, fields) == expected.fields["step_id"]
        places.started(expected.fields["step_id"])
        places.fill(position, expected)

    def logged_fields(self, script: Step) -> dict[str, Any]:
        prefix = "tool_" if script.kind is StepKind.TOOL and script.raises else ""
        fields = {
            f"{prefix}name": script.name,
            f"{prefix}input": script.input,
            f"{prefix}output": script.output,
            "kind": script.kind.value if script.raises else script.kind,
            "step_id": script.step_id,
            "messages": script.messages.given,
            "model": script.model,
            "usage": script.usage.given,
            "metadata": script.metadata,
            **script.prompt,
            "error": script.error.given if script.error is not None else None,
        }
        return {**{name: value for name, value in fields.items() if value is not None}, **script.unknown}


class Places:
    """The steps of one run by their ordinal, and the ids that later steps may name as their parents."""

    def __init__(self, steps: list[Known]) -> None:
        self.steps = steps
        self.ids: list[int | str] = []
        self.largest: int | None = None

    def reserve(self) -> int:
        self.steps.append(Known({}))
        return len(self.steps) - 1

    def number(self, position: int, step_id: int | str | None) -> int | str:
        """The id of a step: the given one, else its number, from where one out of turn was given the next after all."""
        if step_id is None and self.largest is None:
            return position + 1
        if step_id is None and self.largest is not None:
            step_id = self.largest + 1
        if isinstance(step_id, int) and (self.largest is not None or step_id != position + 1):
            self.largest = max(position if self.largest is None else self.largest, step_id)
        assert step_id is not None
        return step_id

    def fill(self, position: int, expected: Known) -> None:
        self.steps[position] = expected

    def started(self, step_id: int | str) -> None:
        self.ids.append(step_id)


def end_status(chosen: str | None, error: ErrorCase | None) -> RunStatus:
    if chosen is not None:
        return RunStatus(chosen)
    if error is None:
        return RunStatus.SUCCESS
    return RunStatus.TIMEOUT if error.category == "timeout" else RunStatus.ERROR


def time_fields(start_us: int, end_us: int, form: str) -> dict[str, Any]:
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=45)) if form == "zone" else datetime.timezone.utc
    start, end = (at(moment).astimezone(zone) for moment in (start_us, end_us))
    if form == "duration" and end_us % 1_000_000 == start_us % 1_000_000:
        return {"started_at": start, "duration_s": (end_us - start_us) // 1_000_000}
    return {"started_at": start, "ended_at": end}


def at(unix_us: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=unix_us)
