"""The scripts of the page: few, joined without a collision of names, and without what makes elements of texts."""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources

import pytest

from otel_agent_trace.viewer.html_file import MODULES, asset, joined_modules

_NAMES = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let)\s+([A-Za-z_$][\w$]*)", re.MULTILINE)
_MOST_MODULES = 12
_FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|createContextualFragment"
    r"|setTimeout\(\s*[\"'`]|setHTMLUnsafe|https?://(?!www\.w3\.org/)"
)


def scripts() -> list[str]:
    """The names of all modules."""
    folder = resources.files("otel_agent_trace.viewer") / "assets"
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(".js"))


def test_there_are_few_modules() -> None:
    assert len(scripts()) <= _MOST_MODULES


def test_no_two_modules_have_a_name_in_common() -> None:
    names = Counter(name for module in MODULES for name in _NAMES.findall(asset(module)))

    assert [name for name, count in names.items() if count > 1] == []
    assert names["h"] == names["RunPage"] == 1


def test_nothing_of_modules_is_left_when_they_are_joined() -> None:
    joined = joined_modules()

    assert re.findall(r"^(?:import|export)\b.*", joined, re.MULTILINE) == []
    assert "import(" not in joined
    assert "</script" not in joined


@pytest.mark.parametrize("module", scripts())
def test_no_module_makes_elements_or_code_of_texts(module: str) -> None:
    assert _FORBIDDEN.findall(asset(module)) == []
