"""Write the page that lists the documents of a folder, with a search and filters that need no server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from otel_agent_trace.model import FAILED_STATUSES
from otel_agent_trace.query import status_of
from otel_agent_trace.viewer.html_file import document
from otel_agent_trace.views.escape import escaped
from otel_agent_trace.views.figures import cost_text, count_text, duration_text, plural, second_text
from otel_agent_trace.views.summaries import RunSummary
from otel_agent_trace.views.values_text import shortened

_ERROR_CHARS = 200
_TITLES = ("Status", "Started", "Agent", "Question", "Steps", "Errors", "Duration", "Tokens", "Cost")
_SCRIPT = """
const form = document.querySelector("form"), title = document.querySelector("h1");
const { text, status, agent } = form.elements;
const rows = [...document.querySelectorAll("tbody tr")].map((row) => {
  const [status, , agent, question] = [...row.cells].map((cell) => cell.textContent), link = row.querySelector("a");
  return { row, link, status, agent, text: [status, agent, question, link.title].join("\\n").toLowerCase() };
});
const all = title.textContent;

function show() {
  const wanted = text.value.toLowerCase();
  for (const each of rows) {
    const isOfFilters = [status, agent].every(({ name, value }) => !value || value === each[name]);
    each.row.hidden = !isOfFilters || !each.text.includes(wanted);
  }
  const shown = rows.filter(({ row }) => !row.hidden).length;
  title.textContent = shown === rows.length ? all : `${shown.toLocaleString("en")} of ${all}`;
  const given = [...new FormData(form)].filter(([, value]) => value);
  history.replaceState(null, "", `#${new URLSearchParams(given)}`);
}

const asked = new URLSearchParams(location.hash.slice(1));
for (const control of [text, status, agent]) control.value = asked.get(control.name) ?? "";
form.addEventListener("input", show);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  rows.find(({ row }) => !row.hidden)?.link.focus();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target === text) return;
  event.preventDefault();
  text.focus();
});
form.hidden = false;
show();
"""


def index_document(runs: Iterable[tuple[RunSummary, str]]) -> str:
    """Return the page that lists documents of runs, each with the name of its file.

    It is searched for texts of agents, questions, statuses, errors and ids of runs.
    """
    listed = list(runs)
    title = plural(len(listed), "run")
    statuses, agents = (Counter(fact(summary) for summary, _ in listed) for fact in (_status_of, _agent_of))
    search = '<input type="search" name="text" placeholder="Search  /" aria-label="Search" aria-keyshortcuts="/">'
    form = f"<form hidden autocomplete=off>{search}{_select('status', statuses)}{_select('agent', agents)}</form>"
    head = "".join(f"<th scope=col>{each}" for each in _TITLES)
    rows = "".join(_row(summary, name) for summary, name in listed)
    table = f"<table><thead><tr>{head}</thead><tbody>{rows}</tbody></table>"
    body = f'<main class="index" tabindex="0"><h1 aria-live="polite">{title}</h1>{form}{table}</main>'
    return document(title, body, _SCRIPT)


def _select(name: str, counts: Counter[str]) -> str:
    """Return a choice among the values that runs have, with the number of runs of each."""
    options = (
        f'<option value="{_escaped(value)}">{_escaped(value)} ({count:,})' for value, count in counts.most_common()
    )
    return f'<select name="{name}" aria-label="{name.title()}"><option value="">any {name}{"".join(options)}</select>'


def _row(summary: RunSummary, name: str) -> str:
    run, usage = summary.run, summary.run.usage
    question = summary.user_input or run.run_id
    status = _status_of(summary)
    cells = (
        second_text(run.started_at_ns),
        _agent_of(summary),
        str(summary.steps),
        str(summary.errors or ""),
        duration_text(run.duration_s),
        count_text(usage.total_tokens if usage else None),
        cost_text(summary.cost),
    )
    first, last = (["<td>" + _escaped(cell) for cell in part] for part in (cells[:2], cells[2:]))
    message = "" if run.error is None else shortened(str(run.error), _ERROR_CHARS)
    error = f' <span class="error-text">{_escaped(message)}</span>' if message else ""
    link = f'<td><a href="{escape(quote(name))}" title="{_escaped(run.run_id)}">{_escaped(question)}</a>{error}'
    is_failed = ' class="failed"' if status in FAILED_STATUSES else ""
    return f"<tr><td{is_failed}>{''.join([status, *first, link, *last])}"


def _status_of(summary: RunSummary) -> str:
    return status_of(summary.run)


def _agent_of(summary: RunSummary) -> str:
    return summary.run.agent_name or "(unnamed agent)"


def _escaped(text: str) -> str:
    return escape(escaped(text))
