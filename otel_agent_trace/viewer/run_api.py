"""Answer what the page of a run asks for: outline, previews, details, conversation, copies, media, and new scores."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from otel_agent_trace.errors import ConfigurationError, RunNotFoundError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.runs.step_names import StepNames
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.sources.search import Found
from otel_agent_trace.tracing.file_scores import score_in_file, scored_file
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.list_api import number_in
from otel_agent_trace.viewer.replies import data_reply, error_reply, posted, text_reply
from otel_agent_trace.viewer.work import Stop, Work
from otel_agent_trace.views.run_page import RunPage

_BUDGET_TOKENS, _MOST_BUDGET_TOKENS = 8000, 1_000_000
_MOST_ROWS = 500
_GIVEN_BY = "HUMAN"
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"})
"""Types of media that browsers show and that hold no script."""
_ANY_TYPE = "application/octet-stream"
_WHOLE_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


class OpenRun(NamedTuple):
    """Hold a run that was read: what its page shows, and the outermost run that it is part of."""

    page: RunPage
    outermost_id: str


class GivenScore(msgspec.Struct, forbid_unknown_fields=True):
    """Hold a score as a page sends it; `step` is the span of the step that it is about."""

    name: str
    value: bool | int | float | None = None
    label: str | None = None
    explanation: str | None = None
    step: str | None = None


class RunApi:
    """Answer requests about one run.

    Args:
        library: what the source has.
        work: runs what blocks.
        announce: called with the id of an outermost run that was changed here.
    """

    def __init__(self, library: Library, work: Work, announce: Callable[[str], None]) -> None:
        self._library = library
        self._work = work
        self._announce = announce

    async def outline(self, request: Request) -> Response:
        """Return the head and the columns of a run as the source has it now; `step` selects an item by its span."""
        step = request.query_params.get("step")

        def read(stop: Stop) -> Response:
            opened = self._opened(_run_id(request), stop, is_new=True)
            outline = opened.page.outline(step)
            return data_reply(request, {**outline, "outermost_id": opened.outermost_id})

        return await self._work.run(request, read)

    async def rows(self, request: Request) -> Response:
        """Return previews of some items."""
        begin = number_in(request.query_params, "from", 0)
        end = number_in(request.query_params, "to", begin + _MOST_ROWS)
        return await self._reply(request, lambda page: data_reply(request, page.rows(begin, end)))

    async def step(self, request: Request) -> Response:
        """Return the details of an item."""
        number = _number(request.path_params["number"])
        return await self._reply(request, lambda page: data_reply(request, page.step(number)))

    async def conversation(self, request: Request) -> Response:
        """Return blocks of the conversation of an item."""
        step = number_in(request.query_params, "step", 0)
        begin = number_in(request.query_params, "from", 0)
        return await self._reply(request, lambda page: data_reply(request, page.conversation(step, begin)))

    async def find(self, request: Request) -> Response:
        """Return the number of the next item in which a text occurs, from one on."""
        text, begin = request.query_params.get("text", ""), number_in(request.query_params, "from", 0)
        return await self._reply(request, lambda page: data_reply(request, {"number": page.find(text, begin)}))

    async def copy(self, request: Request) -> Response:
        """Return the run, or an item of it, as text: JSON, Markdown, or the command that replays it."""
        query = request.query_params
        form = query.get("format", "markdown")
        step = number_in(query, "step", 0) if query.get("step") else None
        budget = number_in(query, "budget", _BUDGET_TOKENS, _MOST_BUDGET_TOKENS)
        return await self._reply(request, lambda page: text_reply(request, page.copy(form, step, budget)))

    async def value(self, request: Request) -> Response:
        """Return a value of an item whole, as text."""
        step, path = number_in(request.query_params, "step", 0), request.query_params.get("path", "")
        return await self._reply(request, lambda page: text_reply(request, page.value(step, path)))

    async def media(self, request: Request) -> Response:
        """Return a picture or other content of the run; what is no picture is only to be saved."""
        digest = request.path_params["digest"]
        return await self._reply(request, lambda page: _media_reply(page, digest))

    async def score(self, request: Request) -> Response:
        """Add a score to the run, or to a step of it, as `tracer.score` keeps it."""
        given = _score_of(await posted(request))

        def write(stop: Stop) -> OpenRun:
            opened = self._opened(_run_id(request), stop, is_new=True)
            path = scored_file(str(self._library.source))
            run_id, step_id = _place_of(opened.page.run, given.step)
            about: dict[str, Any] = {"label": given.label, "explanation": given.explanation, "step_id": step_id}
            score_in_file(path, run_id, given.name, given.value, source=_GIVEN_BY, **about)
            return opened

        opened = await self._work.run(request, write)
        self._library.runs.forget(_run_id(request))
        self._library.touch(opened.outermost_id)
        self._announce(opened.outermost_id)
        return data_reply(request, {**msgspec.structs.asdict(given), "source": _GIVEN_BY}, 201)

    async def _reply(self, request: Request, answer: Callable[[RunPage], Response]) -> Response:
        """Return the answer that is made of the page of a run, in a thread."""

        def read(stop: Stop) -> Response:
            page = self._opened(_run_id(request), stop, is_new=False).page
            try:
                return answer(page)
            except LookupError:
                return error_reply(404, "the run has no such step, or the step no such value")
            except ValueError as error:
                raise ConfigurationError(str(error)) from error

        return await self._work.run(request, read)

    def _opened(self, run_id: str, stop: Stop, *, is_new: bool) -> OpenRun:
        """Return a run: as it was read last, or with `is_new` as the source has it now."""
        return open_run(self._library, run_id, stop, is_new=is_new)


def open_run(library: Library, run_id: str, stop: Stop, *, is_new: bool = False) -> OpenRun:
    """Return a run of a source: as it was read last, or with `is_new` as the source has it now.

    Raises:
        RunNotFoundError: there is none with that id.
    """
    revision = library.changes.revision(run_id)

    def read() -> tuple[OpenRun, int]:
        found = library.read(run_id, stop)
        library.changes.know(found.whole.run)
        opened = OpenRun(_page_of(library, found, revision), found.whole.run.run_id)
        return opened, sum(len(part.steps) for part in found.run.walk())

    opened: OpenRun = library.runs.get(run_id, (library.state(), revision) if is_new else None, read)
    return opened


def _page_of(library: Library, found: Found, revision: str) -> RunPage:
    whole = found.whole
    return RunPage(
        found.run,
        library.prices,
        lambda: whole.spans or run_to_spans(whole.run),
        revision=revision,
        command=command_of(library, found.run),
    )


def command_of(library: Library, run: AgentRun) -> str:
    """Return the command that replays a run."""
    return f"otel-agent-trace replay {shlex.quote(library.name)} {shlex.quote(run.run_id)}"


def _run_id(request: Request) -> str:
    return unquote(request.path_params["id"])


def _number(text: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ConfigurationError("a step is named by its number")
    return int(text)


def _media_reply(page: RunPage, digest: str) -> Response:
    media = page.media(digest)
    if media is None:
        return error_reply(404, "the run has no such content")
    kind = media.media_type.partition(";")[0].strip().lower()
    headers = {"content-disposition": "attachment", "content-security-policy": "default-src 'none'; sandbox"}
    return Response(media.content, media_type=kind if kind in _PICTURES else _ANY_TYPE, headers=headers)


def _score_of(data: dict[str, object]) -> GivenScore:
    try:
        return msgspec.convert(data, GivenScore)
    except msgspec.ValidationError as error:
        raise ConfigurationError(str(error)) from error


def _place_of(run: AgentRun, name: str | None) -> tuple[str, int | str | None]:
    """Return the id of the run, or of the sub-agent's, and what names the step in it that has a name or a span id."""
    if name is None or name == run.span_id:
        return run.run_id, None
    found = StepNames(run).find(name)
    if found is None:
        raise RunNotFoundError(f"run {run.run_id!r} has no step {name!r}")
    part, step = found
    return part.run_id, step.span_id or step.step_id
