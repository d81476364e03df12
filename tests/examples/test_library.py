"""The library finds and reads texts, and nothing else."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

from otel_agent_trace.demo import TEXTS, TextLibrary


@pytest.fixture
def library() -> TextLibrary:
    return TextLibrary(TEXTS)


def test_search_finds_best_passage_first(library: TextLibrary) -> None:
    """The passage with the rarest of the words comes first, ranked from 1."""
    hits = library.search("paraffin lamp")
    assert hits[0]["file"] == "lighthouse.md"
    assert "paraffin" in hits[0]["passage"]
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))


def test_search_knows_endings(library: TextLibrary) -> None:
    """Closing finds close."""
    assert library.search("closing domes", limit=1)[0]["file"] == "observatory-handbook.md"


def test_search_is_limited(library: TextLibrary) -> None:
    """No more passages come than were asked for, even if that is a negative number."""
    assert len(library.search("the", limit=2)) == 2
    assert library.search("the", limit=-1) == []


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '"dome',
        "dome AND",
        "NEAR(",
        "dome*",
        "file:dome",
        "-dome",
        "(dome",
        "dome^2",
        "a'b",
        "dome\x00",
        "{dome}",
        "🔭 dome",
    ],
)
def test_query_has_no_syntax(library: TextLibrary, query: str) -> None:
    """What FTS5 would take for syntax is a word or nothing."""
    assert isinstance(library.search(query), list)


@pytest.mark.parametrize("query", ["", "   ", "?!", "zzzz"])
def test_nothing_is_found_for_nothing(library: TextLibrary, query: str) -> None:
    """A query without words, or with unknown ones, finds nothing."""
    assert library.search(query) == []


def test_very_long_query(library: TextLibrary) -> None:
    """A query of many thousand words is searched all the same."""
    assert library.search("dome " + " ".join(f"word{number}" for number in range(5000)))


def test_search_from_another_thread(library: TextLibrary) -> None:
    """Any thread may search."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(library.search("dome")))
    thread.start()
    thread.join()
    assert found


def test_read_gives_whole_file(library: TextLibrary) -> None:
    """A file is read as it is."""
    assert library.read("ridge-bread.md") == (TEXTS / "ridge-bread.md").read_text(encoding="utf-8")


def test_unknown_file_is_not_found(library: TextLibrary) -> None:
    """The error for an unknown file names those there are."""
    with pytest.raises(FileNotFoundError, match=r"no text 'tide-table.txt'; there are: .*lighthouse.md"):
        library.read("tide-table.txt")


@pytest.mark.parametrize("file", ["../agent.py", "..", "/etc/passwd", "texts/../../agent.py"])
def test_nothing_outside_is_read(library: TextLibrary, file: str) -> None:
    """A path that leads out of the folder is refused."""
    with pytest.raises(ValueError, match="outside of the folder"):
        library.read(file)


def test_link_out_of_folder_is_no_text(tmp_path: Path) -> None:
    """A link to a file elsewhere is neither indexed nor read."""
    (tmp_path / "secret.txt").write_text("a secret", encoding="utf-8")
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    library = TextLibrary(folder)
    assert library.files() == []
    assert library.search("secret") == []
    with pytest.raises(ValueError, match="outside of the folder"):
        library.read("link.txt")


def test_only_texts_are_indexed(tmp_path: Path) -> None:
    """Texts in folders below count, other files do not, and bytes that are no UTF-8 cost only themselves."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "one.MD").write_bytes(b"caf\xe9 dome")
    (tmp_path / "two.py").write_text("dome", encoding="utf-8")
    library = TextLibrary(tmp_path)
    assert library.files() == ["below/one.MD"]
    assert [hit["file"] for hit in library.search("dome")] == ["below/one.MD"]


def test_empty_folder(tmp_path: Path) -> None:
    """An empty folder is a library without texts."""
    library = TextLibrary(tmp_path)
    assert library.search("dome") == []
    with pytest.raises(FileNotFoundError, match="there are: none"):
        library.read("a.txt")


def test_folder_must_exist(tmp_path: Path) -> None:
    """What is no folder is said to be none."""
    with pytest.raises(NotADirectoryError, match="not a folder of texts"):
        TextLibrary(tmp_path / "nowhere")


def test_index_is_closed_with_the_library() -> None:
    """A library that nobody holds any more closes its index."""
    library = TextLibrary(TEXTS)
    index = library._index
    del library
    gc.collect()
    with pytest.raises(Exception, match="closed"):
        index.execute("SELECT 1")
