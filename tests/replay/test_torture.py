"""What breaks the replays of others: each case is recorded, and replayed without one call being made."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pydantic
import pytest

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    ReplayDivergence,
    register_type,
    replay_run,
)
from otel_agent_trace.values import same

Recorded = Callable[[], list[AgentRun]]


class RateLimited(Exception):
    """As of a client: it has fields of its own, and a constructor that needs keywords."""

    def __init__(self, message: str, *, status_code: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after


class Counted:
    """Count the calls that are made."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, value: Any) -> None:
        self.calls.append(value)


@pytest.fixture
def made() -> Counted:
    return Counted()


def replayed_equal(agent: Callable[[], Any], recorded: Recorded, made: Counted) -> Any:
    """Run an agent twice, the second time replayed, and return what it returned both times."""
    first = agent()
    count, runs = len(made.calls), recorded()
    before = [run.to_dict() for run in runs]
    with replay_run(runs) as session:
        second = agent()
    assert same(second, first) or repr(second) == repr(first)  # there are objects without fields of their own
    assert len(made.calls) == count, "a call was made"
    assert session.live == []
    assert [run.to_dict() for run in runs] == before, "the recording has changed"
    return first


class Unit(enum.Enum):
    CELSIUS = "C"


@dataclasses.dataclass
class City:
    name: str
    found: datetime.date


class Forecast(pydantic.BaseModel):
    city: str
    degrees: list[float]
    _secret: str = pydantic.PrivateAttr("x")


register_type(City)
register_type(Forecast)
register_type(Unit)
VALUES = [
    (1, 2),
    {"b", "a"},
    frozenset({1}),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    decimal.Decimal("1.10"),
    float("nan"),
    -0.0,
    {1: "a", (1, 2): "b", None: 0},
    b"\x00\xff",
    uuid.UUID(int=1),
    Path("a/b"),
    City("Rome", datetime.date(2020, 1, 1)),
    Forecast(city="Oslo", degrees=[1.5]),
    Unit.CELSIUS,
    2**80,
    "\ud800",
    None,
    {"deep": [{"x": (1, {2})}]},
    collections.deque([1, 2], maxlen=3),
    collections.OrderedDict(b=1, a=(2,)),
    collections.Counter("aab"),
]


def test_values_keep_their_types(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def fetch(number: int) -> Any:
        made(number)
        return VALUES[number]

    @tracer.agent
    def bot() -> Any:
        return [fetch(number) for number in range(len(VALUES))]

    first = replayed_equal(bot, recorded, made)
    with replay_run(recorded()[:1]):
        assert [type(value) for value in bot()] == [type(value) for value in first]


def test_arguments_of_every_type_are_found(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def keep(value: Any) -> int:
        made(value)
        return len(made.calls)

    @tracer.agent
    def bot() -> Any:
        return [keep(value) for value in VALUES]

    replayed_equal(bot, recorded, made)


def test_an_answer_is_a_fresh_copy(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def rows() -> list[int]:
        made(0)
        return [1]

    @tracer.agent
    def bot() -> Any:
        found = rows()
        found.append(2)
        return found, rows()

    assert replayed_equal(bot, recorded, made) == ([1, 2], [1])


def test_identical_calls_side_by_side_answer_in_the_order_of_their_start(
    tracer: AgentTracer, recorded: Recorded, made: Counted
) -> None:
    @tracer.tool
    async def poll(key: str) -> int:
        made(key)
        number = len(made.calls)
        await asyncio.sleep(0.02 / number)  # the later ones end first
        return number

    @tracer.agent
    async def bot() -> Any:
        return await asyncio.gather(*(poll("same") for _ in range(5)))

    replayed_equal(lambda: asyncio.run(bot()), recorded, made)


def test_who_wins_wins_again(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    turns: dict[str, asyncio.Event] = {}

    @tracer.tool
    async def ask(name: str) -> str:
        made(name)
        await turns[name].wait()
        return name

    @tracer.agent
    async def bot() -> Any:
        turns.update((name, asyncio.Event()) for name in ("slow", "fast", "middle"))
        pending = {asyncio.ensure_future(ask(name)) for name in turns}
        order = []
        for name in ("fast", "middle", "slow"):
            turns[name].set()  # which a replay does not wait for
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            order += [task.result() for task in done]
        return order

    assert replayed_equal(lambda: asyncio.run(bot()), recorded, made) == ["fast", "middle", "slow"]


def test_a_cancelled_call_is_cancelled_again(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    async def hang() -> None:
        made("hang")
        await asyncio.sleep(60)

    @tracer.agent
    async def bot() -> Any:
        try:
            await asyncio.wait_for(hang(), 0.02)
        except asyncio.TimeoutError:
            return "timed out"

    assert replayed_equal(lambda: asyncio.run(bot()), recorded, made) == "timed out"


def test_exceptions_are_of_their_class_with_all_they_hold(
    tracer: AgentTracer, recorded: Recorded, made: Counted
) -> None:
    @tracer.tool
    def fail(kind: str) -> None:
        made(kind)
        if kind == "own":
            raise RateLimited("slow down", status_code=429, retry_after=1.5)
        if kind == "key":
            raise KeyError("k")
        if kind == "os":
            raise FileNotFoundError(2, "No such file", "a.txt")
        if kind == "cause":
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("outer") from error
        b"\xff".decode()

    @tracer.agent
    def bot() -> Any:
        seen: list[Any] = []
        for kind in ("own", "key", "os", "cause", "unicode"):
            try:
                fail(kind)
            except RateLimited as error:
                seen.append((error.status_code, error.retry_after, str(error)))
            except OSError as error:
                seen.append((error.errno, error.filename))
            except UnicodeDecodeError as error:
                seen.append((error.start, error.reason))
            except (KeyError, ValueError) as error:
                seen.append((type(error), error.args, repr(error.__cause__)))
        return seen

    assert len(replayed_equal(bot, recorded, made)) == 5


def test_generators_give_their_items(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def count(to: int) -> Iterator[int]:
        made(to)
        yield from range(to)
        if to == 3:
            raise TimeoutError("too slow")

    @tracer.tool
    async def later(to: int) -> AsyncIterator[int]:
        made(to)
        for number in range(to):
            yield number

    @tracer.agent
    def bot() -> Any:
        seen: list[Any] = list(count(2))
        try:
            for number in count(3):
                seen.append(number)
        except TimeoutError as error:
            seen.append(str(error))
        for number in count(9):
            if number == 1:
                break
        seen.append(number)

        async def collect() -> list[int]:
            return [number async for number in later(2)]

        return seen + asyncio.run(collect())

    assert replayed_equal(bot, recorded, made) == [0, 1, 0, 1, 2, "too slow", 1, 0, 1]


def test_a_generator_that_returns_a_value(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def steps() -> Any:
        made(0)
        yield 1
        yield 2
        return "done"

    @tracer.agent
    def bot() -> Any:
        seen = []

        def outer() -> Any:
            seen.append((yield from steps()))

        return list(outer()), seen

    assert replayed_equal(bot, recorded, made) == ([1, 2], ["done"])


def test_arguments_that_are_changed_in_place(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def fill(rows: list[int], seen: dict[str, int]) -> int:
        made(len(rows))
        rows.append(7)
        seen["n"] = len(rows)
        return len(rows)

    @tracer.agent
    def bot() -> Any:
        rows: list[int] = []
        seen: dict[str, int] = {}
        return fill(rows, seen), fill(rows, seen), rows, seen

    assert replayed_equal(bot, recorded, made) == (1, 2, [7, 7], {"n": 2})


def test_methods_and_inline_wrappers(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    class Client:
        @tracer.tool
        def get(self, path: str) -> str:
            made(path)
            return f"got {path}"

        @staticmethod
        @tracer.tool
        def fixed(path: str) -> str:
            made(path)
            return path

    @tracer.agent
    def bot() -> Any:
        client = Client()
        return client.get("/a"), Client().get("/b"), Client.fixed("c"), tracer.tool(uuid.uuid4)()

    replayed_equal(bot, recorded, made)


def test_nested_tools_and_sub_agents(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def inner(number: int) -> int:
        made(number)
        return number * 2

    @tracer.tool
    def outer(number: int) -> int:
        made(number)
        return inner(number) + 1

    @tracer.agent
    def helper(number: int) -> int:
        return outer(number)

    @tracer.agent
    def bot() -> Any:
        return [outer(1), helper(2), helper(2), inner(3)]

    replayed_equal(bot, recorded, made)


def test_threads_that_carry_the_context(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    @tracer.tool
    def double(number: int) -> int:
        made(number)
        return 2 * number

    @tracer.agent
    def bot() -> Any:
        with tracer.executor(ThreadPoolExecutor(4)) as pool:
            return list(pool.map(double, range(6)))

    replayed_equal(bot, recorded, made)


def test_a_bare_pool_is_answered_from_all_runs(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    """Its threads know of no run, so that each call was recorded as a run of its own."""

    @tracer.tool
    def double(number: int) -> int:
        made(number)
        return 2 * number

    @tracer.agent
    def bot() -> Any:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(double, range(6)))

    replayed_equal(bot, recorded, made)


def test_a_bare_thread_is_refused_where_it_cannot_be_placed(
    tracer: AgentTracer, memory: InMemoryBackend, made: Counted
) -> None:
    @tracer.tool
    def double(number: int) -> int:
        made(number)
        return 2 * number

    @tracer.agent
    def bot() -> Any:
        failed: list[BaseException] = []

        def work() -> None:
            try:
                double(2)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return double(1), failed

    bot()
    run = next(run for run in memory.runs() if run.agent_name == "bot")
    made.calls.clear()
    with pytest.raises(ReplayDivergence, match="cannot be placed"), replay_run(run) as session:
        _, failed = bot()
        assert isinstance(failed[0], ReplayDivergence)
    assert made.calls == []
    assert session.answered == ["double"]


def test_masked_values_match(memory: InMemoryBackend, made: Counted) -> None:
    """The recording has masks, under a key that the laptop does not have."""
    from otel_agent_trace import Redactor

    tracer = AgentTracer(backend=memory, redact=Redactor(pii=["email"]))

    @tracer.tool
    def mail(to: str, text: str) -> str:
        made(to)
        return f"sent to {to}"

    @tracer.agent
    def bot(who: str) -> Any:
        first = mail(who, f"Hello {who}!")
        return mail(who, first)

    bot("ann@example.org")
    (run,) = memory.runs()
    assert "ann@" not in str(run.to_dict())
    data = run.to_dict()
    elsewhere = AgentRun.from_dict(_with_other_digits(data))
    made.calls.clear()
    with replay_run(elsewhere) as session:
        bot("bob@example.org")  # a mask stands for any one address
    assert made.calls == []
    assert session.answered == ["mail", "mail"]
    with pytest.raises(ReplayDivergence), replay_run(elsewhere):
        bot("no address")


def _with_other_digits(data: Any) -> Any:
    import json
    import re

    return json.loads(re.sub(r"<email:[0-9a-f]{4}>", "<email:0a1b>", json.dumps(data)))


def test_changed_arguments_are_named(tracer: AgentTracer, memory: InMemoryBackend, made: Counted) -> None:
    prompts = ["rain in Rome"]

    @tracer.tool
    def search(query: str) -> str:
        made(query)
        return "wet"

    @tracer.tool
    def store(text: str) -> None:
        made(text)

    @tracer.agent
    def bot() -> Any:
        store(search(prompts[0]))

    bot()
    (run,) = memory.runs()
    prompts[0] = "rain in Oslo"
    made.calls.clear()
    with pytest.raises(ReplayDivergence) as caught, replay_run(run):
        bot()
    divergence = caught.value
    assert (divergence.kind, divergence.name, divergence.step) == ("tool", "search", "1")
    assert '-  "query": "rain in Rome"' in divergence.diff
    assert '+  "query": "rain in Oslo"' in divergence.diff
    assert "search" in divergence.expected
    assert made.calls == []


def test_work_that_plain_functions_return(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    """A coroutine, a generator, a task, and the manager of a context."""
    import contextlib

    async def later(value: int) -> int:
        made(value)
        await asyncio.sleep(0)
        return value + 1

    def pieces(value: int) -> Iterator[int]:
        made(value)
        yield value
        yield value + 1

    @tracer.tool
    def coroutine(value: int) -> Any:
        return later(value)

    @tracer.tool
    def generator(value: int) -> Any:
        return pieces(value)

    @tracer.tool
    def task(value: int) -> Any:
        return asyncio.ensure_future(later(value))

    @contextlib.contextmanager
    def manager(value: int) -> Iterator[int]:
        made(value)
        yield value

    @tracer.tool
    def managed(value: int) -> Any:
        return manager(value)

    @tracer.agent
    async def bot() -> Any:
        started = task(3)
        assert isinstance(started, asyncio.Task)
        with managed(4) as inside:
            pass
        stream = generator(2)
        return await coroutine(1), next(stream), list(stream), await started, inside

    assert replayed_equal(lambda: asyncio.run(bot()), recorded, made) == (2, 2, [3], 4, 4)


def test_answers_and_streams_of_a_client(tracer: AgentTracer, recorded: Recorded, made: Counted) -> None:
    """They are of the client's classes, which nobody has registered."""
    openai = pytest.importorskip("openai", reason="openai is not installed: pip install --group test")
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    whole: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "extra": {"vendor": 1},
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    }
    piece: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "h"}, "finish_reason": None}],
    }

    class Response:
        def close(self) -> None:
            pass

    @tracer.model
    def create(messages: list[dict[str, str]], stream: bool = False) -> Any:
        made(stream)
        if not stream:
            return ChatCompletion.construct(**whole)
        answer = object.__new__(openai.Stream)
        answer._iterator = (ChatCompletionChunk.construct(**piece) for _ in range(3))
        answer.response = Response()
        return answer

    @tracer.agent
    def bot() -> Any:
        messages = [{"role": "user", "content": "?"}]
        answer = create(messages)
        with create(messages, stream=True) as stream:
            assert isinstance(stream, openai.Stream)
            first = next(stream)
            rest = list(stream)
        return [
            (type(answer), answer.choices[0].message.content, answer.usage.total_tokens, answer.extra),
            (type(first), first.choices[0].delta.content, len(rest)),
        ]

    replayed_equal(bot, recorded, made)


def test_tags_of_a_text_are_no_masks(tracer: AgentTracer, memory: InMemoryBackend, made: Counted) -> None:
    from otel_agent_trace.replay.matching import Bindings, Match

    match = Match(Bindings(), is_lossless=True)
    for text in ("<title>", "<think>", "(none)", "<table>", "[x]", "<EMAIL> of <b>"):
        assert match.fits(text, text)
    for recorded, current in (
        ("<title>", "<body>"),
        ("a <think> b", "a <x> b"),
        ("(word)", "(other)"),
        ("<Lyon>", "Oslo"),
    ):
        assert not match.fits(recorded, current), recorded
    for recorded, current in (
        *(("[REDACTED]", "k"), ("key=***", "key=x"), ("<EMAIL_ADDRESS> wrote", "ann@example.org wrote")),
        *(("[redacted_token]", "t"), ("[PERSON]", "Ann"), ("{{REDACTED}}", "v")),
    ):
        assert match.fits(recorded, current), recorded
