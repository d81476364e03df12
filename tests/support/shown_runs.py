"""Runs as a small company has them in two days: what pictures of the page show, and what its tests look at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from otel_agent_trace.model import AgentRun, AgentStep, LogEntry, Message, RunStatus, Score, StepError, StepKind, Usage

_SECOND_NS = 1_000_000_000
_MODEL = {"gen_ai.provider.name": "openai"}
_QUESTIONS = {
    "support": (
        "Where is my order 48213?",
        "I was charged twice in October, please refund one.",
        "Can I change the delivery address of order 50117?",
        "The blue kettle leaks. What are my options?",
        "ฉันจะคืนสินค้าได้อย่างไร",
        "How long do you keep my invoices? 🧾",
    ),
    "researcher": (
        "Which of our three suppliers was late most often this year?",
        "Summarise what changed in the EU battery regulation since June.",
        "Compare heat pumps of 8 kW by noise and price.",
    ),
    "coder": (
        "Fix the failing test in test_rates.py",
        "Why does the import job run out of memory?",
        "Add a --dry-run option to the exporter",
    ),
}
_TOOLS = {
    "support": ("find_order", "read_policy", "issue_refund"),
    "researcher": ("search", "fetch_page", "query_table"),
    "coder": ("read_file", "run_tests", "edit_file"),
}
_SYSTEM = "You answer customers of a shop for kitchen goods.\nBe short, name dates, and never promise a refund."


class _Steps:
    """Collect the steps of a run, one after another from a start on."""

    def __init__(self, began_ns: int, first_id: int = 1) -> None:
        self.at_ns = began_ns
        self.steps: list[AgentStep] = []

    def add(self, seconds: float, **fields: Any) -> AgentStep:
        """Add a step that takes so long."""
        number, end_ns = len(self.steps) + 1, self.at_ns + round(seconds * _SECOND_NS)
        span_id = f"{self.at_ns % 2**40:010x}{number:06x}"
        known: dict[str, Any] = {"step_id": number, "index": number - 1, "span_id": span_id}
        step = AgentStep(started_at_ns=self.at_ns, ended_at_ns=end_ns, **{**known, **fields})
        self.steps.append(step)
        self.at_ns = end_ns + 4_000_000
        return step

    def call_model(self, seconds: float, tokens: tuple[int, int], messages: tuple[Message, ...]) -> None:
        """Add a call of a model, with its input and output tokens and its messages."""
        usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
        fields = {"model": "gpt-4o-mini", "name": "gpt-4o-mini", "usage": usage, "messages": messages}
        self.add(seconds, kind=StepKind.MODEL, attributes=_MODEL, **fields)


def text(role: str, content: str) -> Message:
    """A message of one text."""
    return Message(role=role, parts=({"type": "text", "content": content},))


def calls(name: str, arguments: dict[str, Any], call_id: str) -> Message:
    """A message by which a model calls a tool."""
    return Message(
        role="assistant", parts=({"type": "tool_call", "id": call_id, "name": name, "arguments": arguments},)
    )


def returned(result: Any, call_id: str) -> Message:
    """A message with what a tool returned."""
    return Message(role="tool", parts=({"type": "tool_call_response", "id": call_id, "response": result},))


def shown_runs(now_ns: int, count: int = 240) -> Iterator[AgentRun]:
    """Yield runs of the two days before a moment, the oldest first; the last ones are worth a picture."""
    chance = random.Random(19)
    for number in range(count):
        ago_s = (count - number) * 172_800 // count + chance.randrange(400)
        yield _usual_run(chance, number, now_ns - ago_s * _SECOND_NS)
    yield refund_run("refund-before", now_ns - 900 * _SECOND_NS, limit=200)
    yield refund_run("refund-after", now_ns - 500 * _SECOND_NS, limit=50)
    yield report_run(now_ns - 240 * _SECOND_NS)


def _usual_run(chance: random.Random, number: int, began_ns: int) -> AgentRun:
    agent = chance.choices(tuple(_QUESTIONS), (6, 2, 3))[0]
    question, name = chance.choice(_QUESTIONS[agent]), chance.choice(_TOOLS[agent])
    steps, rounds = _Steps(began_ns), chance.randrange(1, 5)
    asked: tuple[Message, ...] = (text("system", _SYSTEM), text("user", question))
    failure = None
    for turn in range(rounds):
        call = calls(name, {"query": question[:24], "page": turn}, f"call-{turn}")
        steps.call_model(chance.uniform(0.4, 2.5), (800 + 450 * turn, chance.randrange(40, 200)), (*asked, call))
        failure = _failure(chance)
        steps.add(chance.uniform(0.05, 1.4), name=name, input={"query": question[:24], "page": turn}, error=failure)
        asked = (*asked, call, returned({"found": turn}, f"call-{turn}"))
    answer = None if failure else "Done: the details are in your account, and a colleague will write to you today."
    if answer:
        steps.call_model(chance.uniform(0.5, 3), (900 + 450 * rounds, 180), (*asked, text("assistant", answer)))
    good = chance.random() < 0.8
    score = Score(name="helpful", value=good, source="HUMAN", at_ns=steps.at_ns)
    fields: dict[str, Any] = {"scores": (score,)} if chance.random() < 0.3 else {}
    return _run(f"{number + 1:032x}", agent, question, steps, answer=answer, error=failure, **fields)


def _failure(chance: random.Random) -> StepError | None:
    if chance.random() < 0.94:
        return None
    return chance.choice(
        (
            StepError(type="TimeoutError", message="no answer within 10 s", category="timeout"),
            StepError(type="openai.RateLimitError", message="429: slow down", category="rate_limit"),
            StepError(type="KeyError", message="'order_id'", category="other"),
        )
    )


def _run(run_id: str, agent: str, question: str, steps: _Steps, **fields: Any) -> AgentRun:
    error = fields.pop("error", None)
    known: dict[str, Any] = {
        "agent_name": agent,
        "user_input": question,
        "final_output": fields.pop("answer", None),
        "status": RunStatus.ERROR if error else RunStatus.SUCCESS,
        "error": error,
        "started_at_ns": steps.steps[0].started_at_ns,
        "ended_at_ns": steps.at_ns,
        "session_id": f"chat-{int(run_id[-4:], 16) // 4:03d}" if run_id.isalnum() else None,
        "trace_id": run_id if run_id.isalnum() else f"{sum(run_id.encode()):032x}",
        "span_id": f"{steps.steps[0].started_at_ns % 2**60:016x}",
        "tags": ("production",),
        "steps": tuple(steps.steps),
    }
    return AgentRun(run_id=run_id, **{**known, **fields})


def refund_run(run_id: str, began_ns: int, limit: int) -> AgentRun:
    """A run that looks at thirty orders, and refunds up to a limit."""
    question = "Refund every order of October that came late."
    steps, asked = _Steps(began_ns), (text("system", _SYSTEM), text("user", question))
    call = calls("list_orders", {"month": "2026-10", "late": True}, "call-0")
    steps.call_model(1.2, (840, 60), (*asked, call))
    steps.add(0.4, name="list_orders", input={"month": "2026-10", "late": True}, output={"orders": 30})
    for number in range(28):
        steps.add(0.03 + number % 3 / 100, name="find_order", input={"order": 48200 + number}, output={"days_late": 2})
    rules = f"Refunds above {limit} EUR need a colleague. Customers get a voucher of 5 EUR in any case."
    steps.add(0.12, name="read_policy", input={"topic": "late delivery"}, output=rules)
    order = {"order": 48213, "amount_eur": min(120, limit), "reason": "late by 2 days"}
    steps.call_model(1.9, (2210, 140), (*asked, call, returned({"orders": 30}, "call-0"), text("assistant", rules)))
    steps.add(0.35, name="issue_refund", input=order, output={"ok": True})
    if limit < 120:
        steps.add(0.5, name="ask_colleague", input={"order": 48213, "amount_eur": 120 - limit}, output={"ticket": 771})
    answer = f"Refunded {order['amount_eur']} EUR for order 48213."
    steps.call_model(0.9, (2380, 60), (*asked, text("assistant", answer)))
    return _run(run_id, "support", question, steps, answer=answer)


def report_run(began_ns: int) -> AgentRun:
    """A run with a sub-agent, a pause in which nothing happened, an error that was handled, and one that ended it."""
    question = "Which of our three suppliers was late most often this year?"
    steps, asked = _Steps(began_ns), (text("system", "You are a careful analyst."), text("user", question))
    search = calls("search", {"query": "late deliveries 2026"}, "call-0")
    steps.call_model(1.4, (640, 80), (*asked, search))
    late = StepError(type="TimeoutError", message="no answer within 5 s", category="timeout")
    steps.add(5.0, name="search", input={"query": "late deliveries 2026"}, error=late)
    steps.add(0.8, name="search", input={"query": "late deliveries", "year": 2026}, output=["Nordwind", "Balt", "Ost"])
    helper = _helper_run(steps.at_ns)
    steps.add(9.3, kind=StepKind.AGENT, name="reader", input="Read the three contracts.", output="Read.", run=helper)
    steps.at_ns += 95 * _SECOND_NS
    steps.add(
        0.7, kind=StepKind.RETRIEVAL, name="contracts", input={"query": "penalty for lateness"}, output=["§4", "§9"]
    )
    found = {"suppliers": [{"name": "Nordwind", "late": 14}, {"name": "Balt", "late": 9}], "unit": "deliveries"}
    steps.call_model(3.1, (5400, 420), (*asked, search, returned(found, "call-0"), calls("query_table", {}, "call-1")))
    log = LogEntry(at_ns=steps.at_ns + 9_000_000, severity="WARNING", body="table deliveries has no column year")
    stack = 'Traceback (most recent call last):\n  File "tables.py", line 41, in query\n    raise KeyError(column)\nKeyError'
    broken = StepError(type="KeyError", message="'year'", category="other", stacktrace=stack)
    query = {"table": "deliveries", "where": {"year": 2026}, "group_by": ["supplier"], "limit": 10}
    steps.add(0.2, name="query_table", input=query, error=broken, logs=(log,))
    fields: dict[str, Any] = {"session_id": "board-report", "tags": ("nightly", "production"), "user_id": "mara"}
    return _run("supplier-report", "researcher", question, steps, error=broken, **fields)


def _helper_run(began_ns: int) -> AgentRun:
    steps = _Steps(began_ns + 50_000_000)
    asked: tuple[Message, ...] = (text("user", "Read the three contracts."),)
    for number, supplier in enumerate(("Nordwind", "Balt", "Ost")):
        call = calls("fetch_page", {"contract": supplier}, f"in-{number}")
        steps.call_model(1.1, (900 + 700 * number, 50), (*asked, call))
        steps.add(1.6, name="fetch_page", input={"contract": supplier}, output=f"Contract with {supplier}: §4 …")
        asked = (*asked, call, returned(f"Contract with {supplier}: §4 …", f"in-{number}"))
    return _run("supplier-report-reader", "reader", "Read the three contracts.", steps, answer="Read.")
