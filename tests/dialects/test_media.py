"""Pictures, sound and files in messages of other tracers: none disappears, whatever shape it is in."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from otel_agent_trace import AgentRun, run_to_spans, runs_from_spans
from otel_agent_trace.media import media_part
from otel_agent_trace.views.text import run_text
from otel_agent_trace.views.values_text import WHOLE, value_text
from tests.support.handwritten_spans import event, only_run, span

ASKED = "Which city is this?"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3
B64 = base64.b64encode(PICTURE).decode()
DATA = f"data:image/png;base64,{B64}"
URL = "https://example.com/paris.png"
INVOKE = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def blob(mime_type: str | None = "image/png", modality: str | None = "image", **more: Any) -> dict[str, Any]:
    known = {"modality": modality, "mime_type": mime_type}
    facts = {"content": B64, "size": len(PICTURE), "sha256": hashlib.sha256(PICTURE).hexdigest()}
    return {"type": "blob", **{key: item for key, item in known.items() if item}, **facts, **more}


def uri(address: str = URL, **more: Any) -> dict[str, Any]:
    return {"type": "uri", "uri": address, **more}


PDF = f"data:application/pdf;base64,{B64}"
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "OpenAI": ({"type": "image_url", "image_url": {"url": DATA, "detail": "low"}}, blob(detail="low")),
    "OpenAI by URL": ({"type": "image_url", "image_url": {"url": URL}}, uri(modality="image")),
    "Responses": ({"type": "input_image", "image_url": DATA}, blob()),
    "Responses by file": ({"type": "input_image", "file_id": "f1", "image_url": None}, {"type": "file", "modality": "image", "file_id": "f1"}),
    "a picture kept elsewhere": (
        {"type": "image_ref", "ref": "s3://b/k"},
        {"type": "uri", "modality": "image", "uri": "s3://b/k"},
    ),
    "sound": ({"type": "input_audio", "input_audio": {"data": B64, "format": "wav"}}, blob("audio/wav", "audio")),
    "file": ({"type": "input_file", "filename": "a.pdf", "file_data": PDF}, blob("application/pdf", "document", filename="a.pdf")),
    "file by id": ({"type": "file", "file": {"file_id": "f1"}}, {"type": "file", "file_id": "f1"}),
    "Anthropic": ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}}, blob()),
    "Anthropic by URL": ({"type": "image", "source": {"type": "url", "url": URL}}, uri(modality="image")),
    "Anthropic by file": ({"type": "document", "source": {"type": "file", "file_id": "f1"}}, {"type": "file", "modality": "document", "file_id": "f1"}),
    "Gemini": ({"inline_data": {"mime_type": "image/png", "data": B64}}, blob()),
    "Gemini for URLs": ({"inlineData": {"mimeType": "image/png", "data": B64.replace("+", "-").replace("/", "_")}}, blob(content=B64.replace("+", "-").replace("/", "_"))),
    "Gemini by URI": ({"file_data": {"file_uri": "gs://b/x", "mime_type": "video/mp4"}}, uri("gs://b/x", modality="video", mime_type="video/mp4")),
    "Bedrock": ({"image": {"format": "png", "source": {"bytes": B64}}}, blob()),
    "Bedrock by URI": ({"document": {"format": "pdf", "name": "n", "source": {"s3Location": {"uri": "s3://b/k"}}}}, uri("s3://b/k", modality="document", mime_type="application/pdf", name="n")),
    "Strands without it": ({"image": {"format": "png", "source": {"bytes": "<replaced>"}}}, {"type": "blob", "modality": "image", "mime_type": "image/png"}),
    "AI SDK": ({"type": "file", "data": B64, "mediaType": "image/png"}, blob()),
    "AI SDK by bytes": ({"type": "image", "image": {str(place): byte for place, byte in enumerate(PICTURE)}}, blob(None)),
    "AI SDK by Buffer": ({"type": "image", "image": {"type": "Buffer", "data": list(PICTURE)}}, blob(None)),
    "AI SDK by URL": ({"type": "file", "data": URL, "mediaType": "image/png"}, uri(modality="image", mime_type="image/png")),
    "LangChain": ({"type": "image", "source_type": "base64", "data": B64, "mime_type": "image/png"}, blob()),
    "LangChain 1": ({"type": "image", "base64": B64, "mime_type": "image/png"}, blob()),
    "LangChain by id": ({"type": "file", "source_type": "id", "id": "f1"}, {"type": "file", "file_id": "f1"}),
    "pydantic-ai": ({"kind": "binary", "media_type": "image/png", "binary_content": B64}, blob()),
    "pydantic-ai by URL": ({"type": "image-url", "url": URL}, uri(modality="image")),
    "pydantic-ai document": ({"kind": "document-url", "url": URL}, uri(modality="document")),
    "OpenInference": ({"type": "image", "image": {"image": {"url": DATA}}}, blob()),
    "LlamaIndex": ({"block_type": "image", "image": B64, "url": None, "image_mimetype": "image/png"}, blob()),
    "Haystack": ({"image": {"base64_image": B64, "mime_type": "image/png", "meta": {}}}, blob()),
    "Agent Framework": ({"type": "data", "uri": DATA, "media_type": "image/png"}, blob()),
    "MCP": ({"type": "image", "data": B64, "mimeType": "image/png"}, blob()),
    "MCP resource": ({"type": "resource", "resource": {"uri": "file:///p", "mimeType": "image/png", "blob": B64}}, blob(uri="file:///p")),
    "MCP link": ({"type": "resource_link", "uri": "file:///p", "name": "p"}, uri("file:///p", name="p")),
    "Genkit": ({"media": {"url": DATA, "contentType": "image/png"}}, blob()),
    "Mistral": ({"type": "document_url", "document_url": URL}, uri(modality="document")),
    "sound by URL": ({"type": "audio_url", "audio_url": URL}, uri(modality="audio")),
    "conventions": ({"type": "blob", "modality": "image", "mime_type": "image/png", "content": B64}, blob()),
    "conventions by URI": ({"type": "uri", "modality": "image", "uri": URL, "mime_type": None}, uri(modality="image")),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_a_part_of_the_conventions(shape: str) -> None:
    given, expected = SHAPES[shape]
    assert media_part(given) == expected
    assert media_part(expected) == expected


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "a"},
        {"type": "image"},
        {"type": "chart", "image": B64},
        {"type": "data", "data": {"url": URL}},
        {"type": "resource", "resource": {"uri": "file:///n", "text": "a"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}},
        {"image": "paris"},
        {"type": 5, "image": {}},
        {},
    ],
)
def test_other_parts_stay_what_they_are(part: dict[str, Any]) -> None:
    assert media_part(part) is None


def of_messages(*parts: Any, key: str = "content") -> AgentRun:
    """A run whose only call was sent these parts by the user."""
    sent = [{"role": "user", key: list(parts)}]
    return only_run(
        span("1", None, (0, 9), "invoke_agent clerk", INVOKE),
        span("2", "1", (1, 2), "chat m", {**CHAT, "gen_ai.input.messages": sent}),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_question_has_the_text_and_the_picture(shape: str) -> None:
    given, expected = SHAPES[shape]
    run = of_messages({"type": "text", "text": ASKED}, given)
    assert run.user_input == [{"type": "text", "content": ASKED}, expected]
    assert list(run.model_steps[0].messages[0].parts) == run.user_input
    assert runs_from_spans(run_to_spans(run)) == [run]
    assert AgentRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert B64[:20] not in run_text(run, full=True)


def test_a_question_may_be_a_picture_alone() -> None:
    assert of_messages(SHAPES["conventions"][0], key="parts").user_input == [blob()]


def test_the_text_on_the_agent_and_the_parts_of_its_call_are_one_question() -> None:
    sent = [{"role": "user", "content": [{"type": "text", "text": ASKED}, SHAPES["OpenAI"][0]]}]
    run = only_run(
        span("1", None, (0, 9), "clerk", {"openinference.span.kind": "AGENT", "input.value": ASKED}),
        span("2", "1", (1, 2), "chat m", {**CHAT, "gen_ai.input.messages": sent}),
    )
    assert run.user_input == [{"type": "text", "content": ASKED}, blob(detail="low")]


def test_another_text_on_the_agent_stays_the_question() -> None:
    sent = [{"role": "user", "content": [{"type": "text", "text": "Look at it."}, SHAPES["OpenAI"][0]]}]
    run = only_run(
        span("1", None, (0, 9), "clerk", {"openinference.span.kind": "AGENT", "input.value": ASKED}),
        span("2", "1", (1, 2), "chat m", {**CHAT, "gen_ai.input.messages": sent}),
    )
    assert run.user_input == ASKED


REFS = {f"gen_ai.{name}_ref": f"s3://b/{name}" for name in ("input.messages", "output.messages", "system_instructions")}


@pytest.mark.parametrize("is_in_event", [False, True])
def test_messages_that_are_kept_elsewhere_are_parts_with_their_uris(is_in_event: bool) -> None:
    details = event("gen_ai.client.inference.operation.details", **REFS)
    call = span("2", None, (1, 2), "chat m", CHAT | ({} if is_in_event else REFS), events=(details,) * is_in_event)
    run = only_run(call)
    sent = [(message.role, list(message.parts)) for message in run.model_steps[0].messages]
    assert sent == [
        ("system", [uri("s3://b/system_instructions")]),
        ("user", [uri("s3://b/input.messages")]),
        ("assistant", [uri("s3://b/output.messages")]),
    ]
    assert (run.user_input, run.final_output) == (list(sent[1][1]), list(sent[2][1]))
    assert "s3://b/output.messages" in run_text(run)
    assert runs_from_spans(run_to_spans(run)) == [run]


def test_messages_that_are_there_are_not_replaced_by_their_uris() -> None:
    values = {"gen_ai.input.messages": [{"role": "user", "content": ASKED}], **REFS}
    run = only_run(span("2", None, (1, 2), "chat m", {**CHAT, **values}))
    assert (run.user_input, run.final_output) == (ASKED, [uri("s3://b/output.messages")])
    assert run.steps[0].attributes["gen_ai.input.messages_ref"] == "s3://b/input.messages"


def test_spread_attributes_of_openinference() -> None:
    start = "llm.input_messages.0.message."
    values = {
        "openinference.span.kind": "LLM",
        f"{start}role": "user",
        f"{start}contents.0.message_content.type": "text",
        f"{start}contents.0.message_content.text": ASKED,
        f"{start}contents.1.message_content.type": "image",
        f"{start}contents.1.message_content.image.image.url": DATA,
        f"{start}contents.2.message_content.type": "audio",
        f"{start}contents.2.message_content.audio.audio.url": f"data:audio/wav;base64,{B64}",
        f"{start}contents.2.message_content.audio.audio.transcript": "Paris?",
    }
    run = only_run(span("1", None, (0, 9), "ChatOpenAI", values))
    assert run.user_input == [
        {"type": "text", "content": ASKED},
        blob(),
        blob("audio/wav", "audio", transcript="Paris?"),
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": ASKED, "images": [B64]},
        {"role": "user", "content": ASKED, "images": [{"content": None, "url": DATA}]},
    ],
    ids=["Ollama", "Agno"],
)
def test_pictures_beside_the_content(message: dict[str, Any]) -> None:
    run = only_run(span("1", None, (0, 9), "chat m", {**CHAT, "gen_ai.input.messages": [message]}))
    assert isinstance(run.user_input, list)
    assert [part["type"] for part in run.user_input] == ["text", "blob"]
    assert run.user_input[1]["sha256"] == blob()["sha256"]


def test_content_blocks_in_an_event() -> None:
    content = json.dumps([{"text": ASKED}, SHAPES["Bedrock"][0]])
    run = only_run(span("1", None, (0, 9), "chat m", CHAT, events=(event("gen_ai.user.message", content=content),)))
    assert run.user_input == [{"type": "text", "content": ASKED}, blob()]


def test_an_answer_may_be_a_picture() -> None:
    answered = [{"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": B64}}]}]
    run = only_run(span("1", None, (0, 9), "chat m", {**CHAT, "gen_ai.output.messages": answered}))
    assert run.final_output == [blob()]


@pytest.mark.parametrize(
    "result",
    [
        [{"type": "text", "text": "Here."}, SHAPES["MCP"][0]],
        {"content": [{"type": "text", "text": "Here."}, SHAPES["MCP"][0]], "isError": False},
        [{"type": "text", "text": "Here."}, SHAPES["Anthropic"][0]],
        [{"text": "Here."}, SHAPES["Bedrock"][0]],
    ],
    ids=["blocks", "MCP", "Anthropic", "Bedrock"],
)
def test_a_result_with_a_picture_has_parts(result: Any) -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "draw", "gen_ai.tool.call.result": result}
    run = only_run(span("1", None, (0, 9), "invoke_agent clerk", INVOKE), span("2", "1", (1, 2), "t", tool))
    assert run.tool_steps[0].output == [{"type": "text", "content": "Here."}, blob()]
    assert runs_from_spans(run_to_spans(run)) == [run]
    shown = run_text(run, full=True)
    assert "[image/png, 776 bytes]" in shown
    assert B64[:20] not in shown


@pytest.mark.parametrize("result", [{"content": [SHAPES["MCP"][0]]}, [SHAPES["MCP"][0]], SHAPES["MCP"][0]])
@pytest.mark.parametrize("name", ["gen_ai.tool.call.result", "mcp.response.value"])
def test_a_result_that_is_a_picture_is_a_part(name: str, result: Any) -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "draw", name: result}
    run = only_run(span("1", None, (0, 9), "invoke_agent clerk", INVOKE), span("2", "1", (1, 2), "t", tool))
    assert run.tool_steps[0].output == [blob()]


def test_data_with_pictures_is_data() -> None:
    found = [{"image": {"url": URL}, "title": "Paris"}, {"type": "image", "url": URL, "text": "a"}]
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find", "gen_ai.tool.call.result": found}
    run = only_run(span("1", None, (0, 9), "invoke_agent clerk", INVOKE), span("2", "1", (1, 2), "t", tool))
    assert run.tool_steps[0].output == found


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (blob(), "[image/png, 776 bytes]"),
        ({**blob(), "content": base64.b64encode(bytes(34 * 1024)).decode()}, "[image/png, 34 KiB]"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}}, "[image/png, 776 bytes]"),
        ({"type": "blob", "modality": "image"}, "[image]"),
        (uri(), f"[{URL}]"),
        ({"type": "file", "file_id": "f1"}, "[file f1]"),
    ],
)  # fmt: skip
def test_media_are_named_and_never_printed(part: dict[str, Any], shown: str) -> None:
    assert value_text([{"type": "text", "content": ASKED}, media_part(part) or part], WHOLE) == f"{ASKED}\n{shown}"
    assert value_text({"found": part}, WHOLE) in (f'{{"found": "{shown}"}}', f"found: {shown}", f'found: "{shown}"')


def test_the_question_in_all_messages_of_pydantic_ai() -> None:
    sent = [{"role": "user", "parts": [SHAPES["conventions"][0]]}]
    agent = {"agent_name": "clerk", "pydantic_ai.all_messages": json.dumps(sent), "final_result": "Paris"}
    assert only_run(span("1", None, (0, 9), "agent run", agent)).user_input == [blob()]
