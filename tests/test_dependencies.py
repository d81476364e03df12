"""What is imported is declared, what is declared is used, and CONTRIBUTING.md says what for."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.support.processes import ROOT

PACKAGE = "otel_agent_trace"
ONLY_GIVEN_BY_USERS = {"opentelemetry-exporter-otlp"}
"""Never imported by us: our documents give its exporters to `configure(otlp=)` and to the SDK's metric reader."""
BEFORE_PYTHON_3_14 = {"backports.zstd"}
NEWER_STANDARD_LIBRARY = {"annotationlib", "compression"}


def _section(name: str) -> list[str]:
    """The requirements of a list of pyproject.toml (`tomllib` is not in every Python that we run on)."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(rf"^{name} = \[(.*?)\](?: *#.*)?$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return re.findall(r'"([\w.-]+)[^"\n]*"', found[1])


def _dependencies() -> set[str]:
    return set(_section("dependencies"))


def _names(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Of each import the modules that it may name, the most exact first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", node.module) for alias in node.names)


@functools.cache
def _owners() -> dict[str, str]:
    """The distribution that each installed module is a file of."""
    owners = {}
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            if file.suffix in (".py", ".so", ".pyd"):
                parts = [*file.parts[:-1], file.name.partition(".")[0]]
                owners[".".join(parts).removesuffix(".__init__")] = distribution.name.lower().replace("_", "-")
    return owners


NOT_HERE = frozenset({"backports", "presidio_analyzer", "spacy", "tldextract"})
"""Packages that the tests may do without."""
ADAPTERS = ROOT / PACKAGE / "replay" / "frameworks"
ADAPTED = frozenset({"agents", "langchain_core", "openai", "pydantic", "pydantic_ai"})
"""Packages that adapters import: whoever uses an adapter has its framework, and what that is made of."""


def _imported() -> dict[str, set[str]]:
    """The distributions that the package imports, each with the files of ours that do."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        for names in _names(ast.parse(path.read_text())):
            top = names[0].partition(".")[0]
            if top == PACKAGE or top in sys.stdlib_module_names or top in NEWER_STANDARD_LIBRARY:
                continue
            if top in ADAPTED and ADAPTERS in path.parents:
                continue
            owner = next((_owners()[name] for name in names if name in _owners()), None)
            found.setdefault(owner or f"nobody's: {top if top in NOT_HERE else names[0]}", set()).add(
                str(path.relative_to(ROOT))
            )
    return found


def test_what_is_imported_is_declared() -> None:
    """Also what comes with another dependency today, which may do without it tomorrow."""
    extras = {
        name
        for extra in (
            "openai",
            "pytest",
            "threads",
            "personal-data",
            "clickhouse",
            "cost",
            "parquet",
            "pandas",
            "view",
            "mcp",
        )
        for name in _section(extra)
    }
    allowed = _dependencies() | extras | {f"nobody's: {name}" for name in NOT_HERE}
    assert {name: files for name, files in _imported().items() if name not in allowed} == {}


def test_what_is_declared_is_used() -> None:
    """An import, or our documents, name it."""
    exempt = ONLY_GIVEN_BY_USERS | (BEFORE_PYTHON_3_14 if sys.version_info >= (3, 14) else set())
    assert _dependencies() - exempt == set(_imported()) & _dependencies() - exempt
    assert not ONLY_GIVEN_BY_USERS & set(_imported())
    reference = (ROOT / "docs/backends.md").read_text()
    assert "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter" in reference


def test_contributing_says_what_each_is_for() -> None:
    """A row a dependency, with one line; and no row for what we no longer have."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (.+) \|$", table, re.MULTILINE))
    assert set(rows) == _dependencies()
    assert all(len(words.split()) >= 4 for words in rows.values())


HYPERSCAN_WHEELS = (
    *(("linux", machine) for machine in ("x86_64", "aarch64")),
    *(("darwin", machine) for machine in ("x86_64", "arm64")),
    ("win32", "AMD64"),
)
"""Systems and machines of the wheels of hyperscan 0.9.1, for CPython 3.10 to 3.15; elsewhere it would be built from source."""


@pytest.mark.parametrize(
    ("system", "machine"), [*HYPERSCAN_WHEELS, ("win32", "ARM64"), ("linux", "ppc64le"), ("linux", "armv7l")]
)
@pytest.mark.parametrize("version", ["3.10", "3.14", "3.15", "3.16"])
@pytest.mark.parametrize("implementation", ["CPython", "PyPy"])
def test_hyperscan_is_required_exactly_where_it_has_wheels(
    system: str, machine: str, version: str, implementation: str
) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    (requirement,) = re.findall(r'"(hyperscan[^"]*)"', text)
    environment = {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": version,
        "platform_python_implementation": implementation,
    }
    has_wheel = (system, machine) in HYPERSCAN_WHEELS and version != "3.16" and implementation == "CPython"
    marker = Requirement(requirement).marker
    assert marker is not None
    assert marker.evaluate(environment) is has_wheel
