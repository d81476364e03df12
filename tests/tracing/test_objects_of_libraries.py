"""Objects of pydantic, SQLAlchemy, Django and others: recording them sends no query, warns of nothing, loses nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pydantic
import pytest

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, Opaque
from tests.support.processes import RunPython
from tests.support.requirements import need_package

Inputs = Callable[[object], list[Any]]


@pytest.fixture
def inputs_with(tracer: AgentTracer, memory: InMemoryBackend) -> Inputs:
    """Give an object as an argument of tools, agents and models, beside others; return what was recorded for it."""

    @tracer.tool
    def ship(order: Any, city: Any = None) -> Any:
        return order

    @tracer.agent
    def answer(request: Any) -> Any:
        return request

    @tracer.model
    def ask(messages: Any, city: Any = None) -> Any:
        return messages

    def use(value: object) -> list[Any]:
        assert ship(value, "Lyon") is value
        assert ship(order=value, city="Lyon") is value
        assert answer(value) is value
        assert ask(value, city="Lyon") is value
        ask([value, {"role": "user", "content": value}, {"role": "user", "content": "hello"}], city="Lyon")
        first, second, third, fourth, fifth = memory.runs()[-5:]
        inputs = [run.steps[0].input for run in (first, second, fourth, fifth)]
        assert [given["city"] for given in inputs] == ["Lyon"] * 4
        assert fifth.steps[0].messages[2].text == "hello"
        assert not [reason for reason in tracer.stats() if reason.startswith("failed: arguments")]
        return [inputs[0]["order"], inputs[1]["order"], third.user_input]

    return use


# ── pydantic ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Order(pydantic.BaseModel):
    item: str


def test_a_model_as_the_first_argument(inputs_with: Inputs) -> None:
    recorded = Opaque(f"{__name__}.Order", {"item": "tea"})
    assert inputs_with(Order(item="tea")) == [recorded] * 3


def test_values_that_do_not_fit_warn_of_nothing(inputs_with: Inputs) -> None:
    """Pydantic warns while it dumps a value of another type, as OpenAI's results of ``parse()`` hold one."""
    order = Order(item="tea")
    order.__dict__["item"] = 5
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert [one.data for one in inputs_with(order)] == [{"item": 5}] * 3
    assert not seen


def test_a_result_of_parse(tracer: AgentTracer, the_run: Callable[[], AgentRun]) -> None:
    from openai.lib._parsing._completions import parse_chat_completion
    from openai.types.chat import ChatCompletion

    message = {"role": "assistant", "content": '{"item": "tea"}'}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    data = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    completion = ChatCompletion.model_validate(data)
    result: Any = parse_chat_completion(response_format=Order, input_tools=[], chat_completion=completion)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracer.model(lambda messages: result)([])
    (step,) = the_run().steps
    assert (step.model, step.usage.input_tokens, step.messages[-1].text) == ("m", 3, '{"item": "tea"}')
    (choice,) = step.output.data["choices"]
    assert choice.data["message"].data["parsed"] == Opaque(f"{__name__}.Order", {"item": "tea"})


class Hiding(pydantic.BaseModel):
    item: str
    secret: pydantic.SecretStr = pydantic.SecretStr("hunter2")
    hidden: str = pydantic.Field("hidden", exclude=True)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def price(self) -> int:
        raise AssertionError("recording must not compute it")


class Raising(Hiding):
    @pydantic.field_serializer("item")
    def serialized(self, item: str) -> str:
        raise RuntimeError


@pytest.mark.parametrize("cls", [Hiding, Raising])
def test_what_a_model_hides_and_computes(inputs_with: Inputs, cls: type[Hiding]) -> None:
    """Excluded fields are recorded as all others, no computed field runs, and no serializer."""
    for recorded in inputs_with(cls.model_validate({"item": "tea"})):
        assert set(recorded.data) == {"item", "secret", "hidden"}
        assert (recorded.data["item"], recorded.data["secret"].data) == ("tea", "SecretStr('**********')")


# ── classes that answer everything, or nothing ───────────────────────────────────────────────────────────────────────


class Loud:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class LoudMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError

    def __hash__(cls) -> int:
        raise RuntimeError


class WithLoudMembers:
    loud, mock = Loud(), mock.MagicMock()

    @property
    def read(self) -> Any:
        raise AssertionError("recording must not read it")


class WithoutClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError


@dataclass
class HalfReadable:
    item: str
    city: str = "Lyon"

    def __getattribute__(self, name: str) -> Any:
        if name == "item":
            raise DeprecationWarning(name)
        return object.__getattribute__(self, name)


ODD: dict[str, Callable[[], object]] = {
    "members that raise": WithLoudMembers,
    "attributes that raise": Loud,
    "a metaclass that raises": lambda: LoudMeta("Made", (), {})(),
    "a class of such a metaclass": lambda: LoudMeta("Made", (), {}),
    "no __class__": WithoutClass,
    "a mock": mock.Mock,
    "an async mock": mock.AsyncMock,
    "no hash": lambda: type("Made", (), {"__hash__": None})(),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_argument_costs_only_itself(inputs_with: Inputs, name: str) -> None:
    inputs_with(ODD[name]())


def test_a_field_that_raises_costs_only_itself(inputs_with: Inputs) -> None:
    data = {"item": "<HalfReadable whose item raised DeprecationWarning>", "city": "Lyon"}
    assert [one.data for one in inputs_with(HalfReadable("tea"))] == [data] * 3


# ── mapped objects ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_objects_of_sqlalchemy(run_python: RunPython) -> None:
    """New, stored, expired, deleted and detached objects, in sync and async sessions, are recorded as they are loaded."""
    need_package("sqlalchemy", "test")
    need_package("aiosqlite", "test")
    result = run_python(
        """
        import asyncio, warnings
        warnings.simplefilter("error")
        from sqlalchemy import ForeignKey, create_engine, event, inspect
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
        from sqlalchemy.orm import (
            DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column, relationship, selectinload,
        )
        from otel_agent_trace import AgentTracer, InMemoryBackend

        class Base(DeclarativeBase):
            pass

        class User(Base):
            __tablename__ = "users"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str]
            content: Mapped[str] = mapped_column(deferred=True)
            posts: Mapped[list["Post"]] = relationship(back_populates="user")
            def __repr__(self):
                return f"{self.name} {self.content} {self.posts}"

        class Post(MappedAsDataclass, Base):
            __tablename__ = "posts"
            id: Mapped[int] = mapped_column(primary_key=True, init=False)
            title: Mapped[str]
            user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), init=False)
            user: Mapped[User] = relationship(back_populates="posts", default=None)

        statements = []
        def count(engine):
            event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

        memory = InMemoryBackend()
        tracer = AgentTracer(backend=memory)
        tool = tracer.tool(lambda user, other=None: user)
        ask = tracer.model(lambda messages: messages)

        def state(one):
            about = inspect(one)
            return set(about.expired_attributes), set(about.unloaded), about.detached, about.modified, dict(vars(one))

        def record(one):
            statements.clear()
            before = state(one)
            tool(one, other={"user": [one]})
            ask(one), ask([one, {"role": "user", "content": one}])
            with tracer.run(user_input=one, config=one, metadata={"user": one}) as run:
                run.final_output = run.usage = one
            assert not statements, statements
            assert state(one) == before
            recorded = memory.runs()[-4].steps[0].input
            assert recorded["other"]["user"][0].data == recorded["user"].data
            return recorded["user"].data

        engine = create_engine("sqlite://")
        count(engine)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            user = User(name="ann", content="hello", posts=[Post(title="a")])
            print(sorted(record(user)))
            session.add(user)
            session.commit()
            print(record(user))
            session.refresh(user)
            print(record(user))
            post = session.get(Post, 1)
            print(sorted(record(post)))
            user = session.get(User, 1, options=[selectinload(User.posts)], populate_existing=True)
            print(sorted(record(user)))
            session.delete(post)
            session.flush()
            record(post)
            session.rollback()
        print(record(user))

        async def main():
            engine = create_async_engine("sqlite+aiosqlite://")
            count(engine.sync_engine)
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            async with AsyncSession(engine) as session:
                user = User(name="zoe", content="hello")
                session.add(user)
                await session.commit()
                print(record(user))
            await engine.dispose()

        asyncio.run(main())
        print([reason for reason in tracer.stats() if "failed" in reason])
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "['content', 'name', 'posts']",
        "{'id': 1}",
        "{'id': 1, 'name': 'ann'}",
        "['id', 'title', 'user_id']",
        "['id', 'name', 'posts']",
        "{'id': 1}",
        "{'id': 1}",
        "[]",
    ]


def test_objects_of_django(run_python: RunPython) -> None:
    """A model is recorded as far as it is loaded, a query set if it was evaluated, a lazy object if it was loaded."""
    need_package("django", "test")
    result = run_python(
        """
        import django
        from django.conf import settings
        databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        settings.configure(INSTALLED_APPS=[], DATABASES=databases, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
        django.setup()
        from django.db import connection, models
        from django.test.utils import CaptureQueriesContext
        from django.utils.functional import SimpleLazyObject
        from otel_agent_trace import AgentTracer, InMemoryBackend

        class Note(models.Model):
            text = models.TextField()
            class Meta:
                app_label = "notes"
            def __str__(self):
                return self.text

        with connection.schema_editor() as editor:
            editor.create_model(Note)
        Note.objects.create(text="hello")
        memory = InMemoryBackend()
        tracer = AgentTracer(backend=memory)
        tool = tracer.tool(lambda note: note)
        ask = tracer.model(lambda messages: messages)
        evaluated = Note.objects.all()
        list(evaluated)
        lazy = SimpleLazyObject(lambda: Note.objects.get())
        for one in (Note.objects.get(), Note.objects.defer("text").get(), Note.objects.all(), evaluated, lazy):
            with CaptureQueriesContext(connection) as queries:
                tool(one), ask(one), ask([one, {"role": "user", "content": one}])
            print(len(queries), memory.runs()[-3].steps[0].input["note"].data)
        """
    )
    assert result.returncode == 0, result.stderr
    first, deferred, unevaluated, listed, lazy = result.stdout.splitlines()
    assert (first, deferred) == ("0 {'id': 1, 'text': 'hello'}", "0 {'id': 1}")
    assert (unevaluated, lazy) == ("0 <QuerySet of Note, not evaluated>", "0 <SimpleLazyObject, not evaluated>")
    assert listed.startswith("0 [Opaque(")
