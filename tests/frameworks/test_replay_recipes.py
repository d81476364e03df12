"""The lines of docs/replay-frameworks.md: in the recipes of docs/frameworks.md, they print what is shown, without a model."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.frameworks import test_recipes as recipes
from tests.support.documents import named_files, python_blocks, read, section, shown_outputs
from tests.support.requirements import need_package
from tests.support.scripted_model import scripted_model

PAGE = read("docs/replay-frameworks.md")
NOBODY = "http://127.0.0.1:9"
ASKING = re.compile(r"^(agent\.invoke|agent\.run_sync|Runner\.run_sync|answer)\(", re.MULTILINE)
"""Beginning of the lines of a recipe that ask its agent."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.frameworks,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="pydantic-ai and LangChain need Python 3.11"),
]


@pytest.mark.parametrize("title", recipes.RECIPES)
def test_a_recipe_is_replayed_as_is_shown(title: str, tmp_path: Path) -> None:
    for package in recipes.RECIPES[title]:
        need_package(package, "frameworks")
    ((name, program),) = named_files(section(recipes.PAGE, title)).items()
    (tmp_path / name).write_text(program, encoding="utf-8")
    with scripted_model(recipes.SCRIPT) as url:
        recipes.run_program(name, tmp_path, variables(url))
    found = ASKING.search(program)
    assert found is not None
    recipe = section(PAGE, title)
    replayed = program[: found.start()].replace('file="traces.jsonl"', 'file="new.jsonl"') + python_blocks(recipe)[0]
    (tmp_path / "replayed.py").write_text(replayed, encoding="utf-8")
    assert recipes.run_program("replayed.py", tmp_path, variables(NOBODY)) == shown_outputs(recipe)[0]


def variables(url: str) -> dict[str, str]:
    """Return the environment in which the clients ask a model at a URL."""
    return recipes.environment(
        OPENAI_BASE_URL=url,
        OPENAI_API_KEY="none",
        ANTHROPIC_BASE_URL=url.removesuffix("/v1"),
        ANTHROPIC_API_KEY="none",
    )
