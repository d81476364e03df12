"""Spans out of Jaeger: its HTTP API v3, or the older one where that is missing.

The API has no pages, so all is read in windows of time, the newest first, each as narrow as it takes for its answer to be
whole. In memory are the traces of one window, and about 100 bytes for each trace that was read. A trace comes once, as it
is when it is first met: of what arrives later, whole traces may come, parts of traces do not.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.formats import jaeger_json, otlp_json
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import by_trace
from otel_agent_trace.sources.addresses import Address, parse_address
from otel_agent_trace.sources.http import Answer, HttpReader, TooLargeError
from otel_agent_trace.sources.windows import NS_PER_S, Found, TooMuchError, Traces, Windows
from otel_agent_trace.span import Capabilities, Problem, SpanRecord

HEADERS_VARIABLE = "OTEL_AGENT_TRACE_JAEGER_HEADERS"
SEARCH_DEPTH = 100
"""What Jaeger itself takes where it does not understand how many are asked for."""
MAX_ANSWER_BYTES = 32 << 20
"""Of all answers to one window. A trace by itself may have eight times as much."""

_HOUR_NS, _DAY_NS = 3600 * NS_PER_S, 86400 * NS_PER_S
_END_OF_TIME_NS = 9_190_000_000 * NS_PER_S  # in 2261: Jaeger counts nanoseconds in 63 bits
_BRIEF_NS = NS_PER_S // 1000
_LARGE = 8
_FIRST_CHECKS, _CHECKS = 3, 8
_TRACE_DIGITS = 32
_HEX = frozenset("0123456789abcdef")
_ADVICE = "Jaeger answers at the port of its page, by default 16686"
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class JaegerSource:
    """A `SpanSource` over a Jaeger.

    Args:
        url: where it is: ``http(s)://[USER:PASSWORD@]HOST:PORT[/BASE]``, with ``?service=NAME`` for traces in which that
            service takes part (otherwise all), or a link to one trace in its page or API, and then it is just that trace.
        service: as in the address.
        headers: go with every request, beside those of ``OTEL_AGENT_TRACE_JAEGER_HEADERS`` (``k=v,k2=v2``,
            percent-encoded), over which these go.
        timeout_s: for one answer, and for trying again while the server is busy.
        verify: False: the certificate is not checked; a path: the CA's file that it is checked with.
        search_depth: how many traces to ask for at once.
        max_answer_bytes: of the answers that are held in memory at once; larger ones are asked for in parts.
        on_progress: is told how many traces were read.

    Raises:
        SourceError: `url` is no such address.
        ConfigurationError: an argument that cannot be meant.
    """

    capabilities = Capabilities(filters=frozenset({"since", "until", "service", "run_id"}), newest_first=True)

    def __init__(
        self,
        url: str,
        *,
        service: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        verify: bool | str | os.PathLike[str] = True,
        search_depth: int = SEARCH_DEPTH,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        on_progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        if not timeout_s > 0 or search_depth < 1 or max_answer_bytes < 1:
            msg = "timeout_s, search_depth and max_answer_bytes must be greater than 0"
            raise ConfigurationError(msg)
        self._address = parse_address(url)
        self._services = self._address.services if service is None else (service,)
        self._headers = _environment_headers() | {key.lower(): value for key, value in (headers or {}).items()}
        if "authorization" in self._headers:
            self._address = self._address._replace(login=None)
        self._timeout_s, self._verify = timeout_s, verify if isinstance(verify, bool) else os.fspath(verify)
        self._depth, self._max_bytes = search_depth, max_answer_bytes
        self._on_progress = on_progress
        self._query = RunQuery()

    @property
    def name(self) -> str:
        """The address without user, password and query."""
        return self._address.name

    def narrowed(self, query: RunQuery) -> JaegerSource:
        """Return the same source, which leaves out what Jaeger can tell to be of no use."""
        services = self._services or (() if query.service is None else (query.service,))
        narrow = copy.copy(self)
        narrow.__dict__.update(_query=query, _services=services)
        return narrow

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, those with the latest start first.

        Raises:
            SourceError: there is no Jaeger, it does not let us in, or it does not answer.
        """
        http = _reader(self._address, self._headers, self._timeout_s, self._verify)
        try:
            api = _find_api(http, lambda reason: on_problem(Problem(self.name, 0, reason)))
            limits = _Limits(self._depth, self._max_bytes)
            reading = _Reading(self.name, api, self._services, limits, on_problem)
            for count, spans in enumerate(self._chosen(reading), 1):
                if self._on_progress is not None:
                    self._on_progress(count, None)
                yield spans
        finally:
            http.close()

    def _chosen(self, reading: _Reading) -> Iterator[list[SpanRecord]]:
        """Yield what is asked for, by the shortest way there is."""
        query = self._query
        trace_id = self._address.trace_id
        if trace_id is not None:
            yield from reading.one(trace_id)
            return
        begin_ns, end_ns = query.since_ns or 0, query.until_ns
        if not query.run_id:
            yield from reading.all(begin_ns, end_ns)
            return
        found = list(reading.one(query.run_id[:_TRACE_DIGITS])) if _begins_with_trace_id(query.run_id) else []
        yield from found or reading.of_run(query.run_id, begin_ns, end_ns)


def _begins_with_trace_id(run_id: str) -> bool:
    """Whether it is a trace id, or one followed by that of a span, as runs below others have it."""
    return (
        len(run_id) >= _TRACE_DIGITS
        and _HEX.issuperset(run_id[:_TRACE_DIGITS])
        and run_id[_TRACE_DIGITS : _TRACE_DIGITS + 1] in {"", "-"}
    )


def _environment_headers() -> dict[str, str]:
    pairs = (pair.partition("=") for pair in os.environ.get(HEADERS_VARIABLE, "").split(",") if pair.strip())
    return {unquote(key).strip().lower(): unquote(value).strip() for key, _, value in pairs}


def _reader(address: Address, headers: Mapping[str, str], timeout_s: float, verify: bool | str) -> HttpReader:
    return HttpReader(
        address.name,
        address.base_url,
        login=address.login,
        headers=headers,
        timeout_s=timeout_s,
        verify=verify,
        advice=_ADVICE,
    )


# ── the two interfaces ───────────────────────────────────────────────────────────────────────────────────────────────


class _Query(NamedTuple):
    """One search: traces with a span of a service that started between two times (Unix nanoseconds)."""

    service: str
    begin_ns: int
    end_ns: int
    depth: int
    attributes: Mapping[str, str]


class _Received(NamedTuple):
    traces: Traces
    size: int


class _RefusedError(SourceError):
    """It understood the question, and does not answer it."""


class _Api(Protocol):
    """One of Jaeger's interfaces."""

    smallest_ns: int
    services: tuple[str, ...]

    def trace(self, trace_id: str, most_bytes: int) -> _Received: ...

    def search(self, query: _Query, most_bytes: int) -> _Received: ...


def _find_api(http: HttpReader, on_bad: Callable[[str], None]) -> _Api:
    """The newest interface that is there. Both say which services they know."""
    answer = http.get("/api/v3/services", {}, MAX_ANSWER_BYTES)
    services = _listed(answer, "services")
    if services:
        return _V3(http, services, on_bad)
    older = http.get("/api/services", {}, MAX_ANSWER_BYTES)
    older_services = _listed(older, "data")
    if services is not None and (older_services is not None or older.status != _OK or older.is_page):
        return _V3(http, services, on_bad)  # empty; what answers everything with {} is something else
    if older_services is not None:
        return _Legacy(http, older_services, on_bad)
    raise _no_jaeger(http, older if older.status == _OK else answer)


_OK, _NOT_FOUND, _FIRST_ERROR = 200, 404, 400


def _listed(answer: Answer, key: str) -> tuple[str, ...] | None:
    """The names of services, if that is what it is."""
    if answer.status != _OK:
        return None
    try:
        document = msgspec.json.decode(answer.body, type=dict[str, Any])
    except _REFUSALS:
        return None
    names = document.get(key)
    if names is None and (key in document or document == _EMPTY[key]):  # as Go writes an empty list, or does not
        return ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(dict.fromkeys(names))


_EMPTY: dict[str, dict[str, Any] | None] = {"services": {}, "data": None}


def _no_jaeger(http: HttpReader, answer: Answer) -> SourceError:
    if answer.status >= 500:
        return http.error(f"it fails ({answer.status}): {_words(http, answer)}")
    if answer.status != _OK:
        return http.error(f"there is no Jaeger ({answer.status} where its API should be); {_ADVICE}")
    if answer.is_page:
        return http.error(
            "it answers with a web page, where Jaeger's API should be: one to log in "
            f"(set {HEADERS_VARIABLE}), or the address lacks its base path; {_ADVICE}"
        )
    return http.error(f"it answers, but not as Jaeger does; {_ADVICE}")


class _V3:
    """`/api/v3`: OTLP, every nanosecond. Old and new names of its parameters go together: each version knows one."""

    smallest_ns = 1

    def __init__(self, http: HttpReader, services: tuple[str, ...], on_bad: Callable[[str], None]) -> None:
        self._http, self.services, self._on_bad = http, services, on_bad

    def trace(self, trace_id: str, most_bytes: int) -> _Received:
        raw = {"raw_traces": "true", "rawTraces": "true"}
        return self._received(self._http.get(f"/api/v3/traces/{trace_id}", raw, most_bytes))

    def search(self, query: _Query, most_bytes: int) -> _Received:
        begin, end, depth = _rfc3339(query.begin_ns), _rfc3339(query.end_ns), str(query.depth)
        parameters = {
            "query.service_name": query.service,
            "query.serviceName": query.service,
            "query.start_time_min": begin,
            "query.startTimeMin": begin,
            "query.start_time_max": end,
            "query.startTimeMax": end,
            "query.num_traces": depth,
            "query.search_depth": depth,
            "query.searchDepth": depth,
            "query.raw_traces": "true",
            "query.rawTraces": "true",
        }
        if query.attributes:
            parameters["query.attributes"] = _json(query.attributes)
        return self._received(self._http.get("/api/v3/traces", parameters, most_bytes))

    def _received(self, answer: Answer) -> _Received:
        body = _body(self._http, answer)
        try:
            records = [record for part in _results(self._http, body) for record in self._records(part)]
        except (*_REFUSALS, otlp_json.OtlpJsonError):
            raise _unreadable(self._http, answer) from None
        return _Received(by_trace(_own_attributes(record) for record in records), len(body))

    def _records(self, data: bytes) -> list[SpanRecord]:
        try:
            return otlp_json.decode(data)
        except otlp_json.OtlpJsonError:
            return otlp_json.decode_each(data, lambda reason: self._on_bad(f"a span that is no OTLP: {reason}"))


class _Legacy:
    """`/api`: Jaeger's own JSON, every microsecond."""

    smallest_ns = 1000

    def __init__(self, http: HttpReader, services: tuple[str, ...], on_bad: Callable[[str], None]) -> None:
        self._http, self.services, self._on_bad = http, services, on_bad

    def trace(self, trace_id: str, most_bytes: int) -> _Received:
        return self._received(self._http.get(f"/api/traces/{trace_id}", {"raw": "true"}, most_bytes))

    def search(self, query: _Query, most_bytes: int) -> _Received:
        parameters = {
            "service": query.service,
            "start": str(query.begin_ns // 1000),
            "end": str(-(-query.end_ns // 1000)),
            "limit": str(query.depth),
            "raw": "true",
        }
        if query.attributes:
            parameters["tags"] = _json(query.attributes)
        answer = self._http.get("/api/traces", parameters, most_bytes)
        received = self._received(answer)
        for trace_id in self._adjusted(answer):
            received.traces.update(self.trace(trace_id, most_bytes).traces)
        return received

    def _adjusted(self, answer: Answer) -> set[str]:
        """The traces of which a search does not give the times that were sent, whatever `raw` says; one by one it does."""
        if answer.status != _OK:
            return set()
        try:
            return jaeger_json.adjusted(answer.body)
        except jaeger_json.NotJaegerError:
            return set()  # traces that cannot be read as a whole have been reported

    def _received(self, answer: Answer) -> _Received:
        body = _body(self._http, answer)
        try:
            records = jaeger_json.decode(body, self._on_bad) if body else []
        except jaeger_json.NotJaegerError:
            raise _unreadable(self._http, answer) from None
        return _Received(by_trace(records), len(body))


def _body(http: HttpReader, answer: Answer) -> bytes:
    """What was found, or nothing."""
    if answer.status == _NOT_FOUND and answer.body.lstrip().startswith(b"{"):
        return b""
    if answer.status >= _FIRST_ERROR:
        raise _RefusedError(str(http.error(f"it refuses ({answer.status}): {_words(http, answer)}")))
    return answer.body


def _unreadable(http: HttpReader, answer: Answer) -> SourceError:
    if answer.is_page:
        return http.error(f"it answers with a web page now, maybe one to log in; set {HEADERS_VARIABLE}")
    return http.error("an answer that is not Jaeger's, or not whole")


def _json(attributes: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(attributes)).decode()


def _rfc3339(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, NS_PER_S)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Error(msgspec.Struct):
    message: str = ""
    msg: str = ""


class _Result(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None
    errors: list[_Error] | None = None


_result_decoder = msgspec.json.Decoder(_Result)


def _results(http: HttpReader, body: bytes) -> Iterator[bytes]:
    """The OTLP objects of an answer: one, or one a line (older versions), or none."""
    try:
        parts = [_result_decoder.decode(body)] if body.strip() else []
    except msgspec.DecodeError:
        parts = [_result_decoder.decode(line) for line in body.splitlines() if line.strip()]
    for part in parts:
        if part.error is not None:
            raise _RefusedError(str(http.error(f"it breaks off: {http.shown(part.error.message)}")))
        if not bytes(part.result):
            raise msgspec.DecodeError
        if bytes(part.result) not in _NOTHING:
            yield bytes(part.result)


_NOTHING = (b"{}", b"null", b'{"resourceSpans":null}')


def _own_attributes(record: SpanRecord) -> SpanRecord:
    """Without what Jaeger adds."""
    if _FORMAT not in record.attributes:
        return record
    own = {key: value for key, value in record.attributes.items() if key != _FORMAT}
    return msgspec.structs.replace(record, attributes=own)


_FORMAT = "internal.span.format"


def _words(http: HttpReader, answer: Answer) -> str:
    """What an answer says of an error, in either interface's way, or as it stands there."""
    try:
        result = _result_decoder.decode(answer.body)
    except _REFUSALS:
        return "a web page" if answer.is_page else http.shown(answer.body[:_WORDS_BYTES].decode("utf-8", "replace"))
    errors = [result.error] if result.error is not None else result.errors or []
    return http.shown("; ".join(error.message or error.msg for error in errors)) or "it does not say why"


_WORDS_BYTES = 1000


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Limits(NamedTuple):
    """How many traces to ask for at once, and how many bytes they may be."""

    depth: int
    most_bytes: int


class _Reading:
    """One reading of a Jaeger, which remembers what it has given."""

    def __init__(
        self,
        name: str,
        api: _Api,
        services: tuple[str, ...],
        limits: _Limits,
        on_problem: Callable[[Problem], None],
    ) -> None:
        self._name, self._api, self._on_problem = name, api, on_problem
        self._asked_services, self._services = services, services or api.services
        self._depth, self._max_bytes = limits
        self._attributes: dict[str, str] = {}
        self._given: set[int] = set()
        self._checks_left, self._searches_left = _FIRST_CHECKS, _CHECKS

    def one(self, trace_id: str) -> Iterator[list[SpanRecord]]:
        """The trace of that id, if it is there."""
        spans = self._whole(trace_id)
        if spans:
            yield spans

    def of_run(self, run_id: str, begin_ns: int, end_ns: int | None) -> Iterator[list[SpanRecord]]:
        """The traces that the run may be in; all of them if Jaeger does not look at attributes, or finds nothing."""
        self._attributes = {semconv.RUN_ID: run_id}
        fits = others = False
        try:
            for spans in self.all(begin_ns, end_ns):
                names_it = any(span.attributes.get(semconv.RUN_ID) == run_id for span in spans)
                fits, others = fits or names_it, others or not names_it
                yield spans
        except _RefusedError:
            fits = others = False
        self._attributes = {}
        if not fits and not others:
            yield from self.all(begin_ns, end_ns)

    def all(self, begin_ns: int, end_ns: int | None) -> Iterator[list[SpanRecord]]:
        """Every trace that has a span between these times, those with the latest start first."""
        windows = Windows(self._ask, self._depth, self._api.smallest_ns, self._cut)
        now_ns = min(time.time_ns(), _END_OF_TIME_NS)
        end_ns = _END_OF_TIME_NS if end_ns is None else min(end_ns, _END_OF_TIME_NS)
        begin_ns = max(begin_ns, 0)
        yield from self._new(self._ahead(windows, max(begin_ns, now_ns), end_ns, now_ns))
        yield from self._new(windows.back(begin_ns, min(now_ns, end_ns)))

    def _ahead(self, windows: Windows, begin_ns: int, end_ns: int, now_ns: int) -> Iterator[Traces]:
        """What is in the future: clocks differ, and some are wrong. Stores may refuse to look that far."""
        try:
            yield from windows.back(begin_ns, end_ns, max(1, end_ns - begin_ns))
        except _RefusedError:
            yield from windows.back(begin_ns, min(end_ns, now_ns + _DAY_NS))

    def _ask(self, begin_ns: int, end_ns: int, depth: int) -> Found:
        """What all services together have in a window."""
        traces: Traces = {}
        most = size = 0
        budget = self._max_bytes * (_LARGE if end_ns - begin_ns <= _BRIEF_NS else 1)
        for service in self._services:
            query = _Query(service, begin_ns, end_ns, depth, self._attributes)
            received = self._searched(query, budget - size)
            most, size = max(most, len(received.traces)), size + received.size
            for trace_id, spans in received.traces.items():
                _add(traces.setdefault(trace_id, []), spans)
        return Found(traces, most, size / self._max_bytes)

    def _searched(self, query: _Query, most_bytes: int) -> _Received:
        try:
            return self._api.search(query, most_bytes)
        except TooLargeError:
            raise TooMuchError from None
        except _RefusedError:
            if query.end_ns - query.begin_ns <= _DAY_NS or query.begin_ns > time.time_ns():
                raise
            raise TooMuchError from None  # some stores have a limit to the time that they look through

    def _cut(self, begin_ns: int, end_ns: int) -> None:
        reason = (
            f"between {_rfc3339(begin_ns)} and {_rfc3339(end_ns)} there is more than it gives at once; "
            "some traces are missing"
        )
        self._on_problem(Problem(self._name, 0, reason))

    def _new(self, windows: Iterator[Traces]) -> Iterator[list[SpanRecord]]:
        """The traces that were not given before, whole."""
        for traces in windows:
            new = {trace_id: spans for trace_id, spans in traces.items() if int(trace_id, 16) not in self._given}
            traces.clear()
            for trace_id in sorted(new, key=lambda trace_id: _latest_start(new[trace_id]), reverse=True):
                spans = new.pop(trace_id)
                self._given.add(int(trace_id, 16))
                if self._takes_part(spans):
                    yield self._completed(trace_id, spans)

    def _takes_part(self, spans: list[SpanRecord]) -> bool:
        """Whether one of the services that were asked for does; Jaeger gives names of its own to those without one."""
        asked = self._asked_services
        return not asked or any(span.resource.attributes.get(semconv.SERVICE_NAME) in (*asked, None) for span in spans)

    def _completed(self, trace_id: str, spans: list[SpanRecord]) -> list[SpanRecord]:
        """Fetch the trace itself if it may be a part only: the first ones, all as long as that helps, and where a parent
        is missing, unless that never helps (Jaeger gives whole traces; parents may be missing there as well).
        """
        lacks_parents = self._searches_left > 0 and _lacks_parents(spans)
        if self._checks_left > 0 or lacks_parents:
            known = len(spans)
            _add(spans, self._whole(trace_id))
            if len(spans) > known:
                self._checks_left = self._searches_left = _CHECKS
            else:
                self._checks_left -= 1
                self._searches_left -= lacks_parents
        return spans

    def _whole(self, trace_id: str) -> list[SpanRecord]:
        try:
            return self._api.trace(trace_id, self._max_bytes * _LARGE).traces.get(trace_id, [])
        except TooLargeError:
            size = self._max_bytes * _LARGE >> 20
            self._on_problem(Problem(self._name, 0, f"trace {trace_id} has more than {size} MiB"))
            return []


def _add(spans: list[SpanRecord], more: list[SpanRecord]) -> None:
    """Add what is new."""
    known = {span.span_id for span in spans}
    spans.extend(span for span in more if span.span_id not in known)


def _latest_start(spans: list[SpanRecord]) -> int:
    return max(span.start_ns for span in spans)


def _lacks_parents(spans: list[SpanRecord]) -> bool:
    known = {span.span_id for span in spans}
    return any(span.parent_span_id not in known for span in spans if span.parent_span_id is not None)
