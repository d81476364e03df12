"""Name the package that instruments a module, for programs that import one without an instrumentation."""

from __future__ import annotations

import re
from importlib import metadata
from typing import NamedTuple

_TRACELOOP, _OPENINFERENCE = "opentelemetry-instrumentation-", "openinference-instrumentation-"


class Instrumentation(NamedTuple):
    """Hold the package to install for a module, and under which names instrumentations of it are registered.

    `distribution` is the package that has the module, where the name of the module alone is not enough to know it.
    """

    package: str
    names: tuple[str, ...]
    distribution: str = ""


def _of_traceloop(name: str, *others: str) -> Instrumentation:
    return Instrumentation(f"{_TRACELOOP}{name}", (name, *others))


def _of_openinference(name: str, *others: str) -> Instrumentation:
    return Instrumentation(f"{_OPENINFERENCE}{name}", (name, *others))


INSTRUMENTATIONS: dict[str, Instrumentation] = {
    "agents": _of_openinference("openai-agents", "openai-agents-v2")._replace(distribution="openai-agents"),
    "agno": _of_openinference("agno"),
    "anthropic": _of_traceloop("anthropic"),
    "autogen_agentchat": _of_openinference("autogen-agentchat", "autogen"),
    "beeai_framework": _of_openinference("beeai"),
    "chromadb": _of_traceloop("chromadb"),
    "cohere": _of_traceloop("cohere"),
    "crewai": _of_openinference("crewai"),
    "dspy": _of_openinference("dspy"),
    "google.adk": _of_openinference("google-adk"),
    "google.genai": _of_traceloop("google-genai"),
    "google.generativeai": _of_traceloop("google-generativeai"),
    "groq": _of_traceloop("groq"),
    "haystack": _of_openinference("haystack"),
    "lancedb": _of_traceloop("lancedb"),
    "langchain": _of_openinference("langchain"),
    "langchain_core": _of_openinference("langchain"),
    "litellm": _of_openinference("litellm"),
    "llama_index": _of_openinference("llama-index"),
    "llama_index.core": _of_openinference("llama-index"),
    "mcp": _of_traceloop("mcp"),
    "mistralai": _of_traceloop("mistralai"),
    "ollama": _of_traceloop("ollama"),
    "openai": _of_traceloop("openai", "openai-v2"),
    "pinecone": _of_traceloop("pinecone"),
    "pymilvus": _of_traceloop("milvus", "pymilvus"),
    "qdrant_client": _of_traceloop("qdrant", "qdrant-client"),
    "replicate": _of_traceloop("replicate"),
    "smolagents": _of_openinference("smolagents"),
    "strands": _of_openinference("strands-agents"),
    "together": _of_traceloop("together"),
    "transformers": _of_traceloop("transformers"),
    "vertexai": _of_traceloop("vertexai"),
    "voyageai": _of_traceloop("voyageai"),
    "weaviate": _of_traceloop("weaviate"),
}
"""Module → what instruments it."""


def names_of(entry: metadata.EntryPoint) -> set[str]:
    """Return the names under which an instrumentation is registered: its own, and that in the name of its package."""
    package = "" if entry.dist is None else entry.dist.name.lower()
    return {plain(entry.name), plain(re.sub(r"^.*instrumentation[-_.]", "", package))}


def missing_for(module: str, active: set[str]) -> Instrumentation | None:
    """Return what to install for a module; None if an active instrumentation, by its plain names, covers it."""
    known = INSTRUMENTATIONS[module]
    if active.intersection(map(plain, known.names)):
        return None
    if known.distribution and not _is_installed(known.distribution):
        return None
    return known


def plain(name: str) -> str:
    """Return a name without the characters in which spellings differ."""
    return re.sub(r"[-_. ]", "", name).lower()


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
