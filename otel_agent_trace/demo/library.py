"""Search and read a folder of text files."""

from __future__ import annotations

import re
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_SUFFIXES = frozenset({".txt", ".md"})
_PASSAGE_END = re.compile(r"\n\s*\n")
_WORD = re.compile(r"\w+")
_MAX_TERMS = 32  # FTS5 limits the depth of an expression
_SNIPPET_WORDS = 40
_FIND = """
SELECT file, snippet(passages, 1, '', '', '…', ?) FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT ?
"""


class TextLibrary:
    """Index the ``*.txt`` and ``*.md`` files of a folder by passage (the text between blank lines).

    The index is SQLite's FTS5 in memory, built once; any thread may search. Nothing outside of the folder is read.

    Raises:
        NotADirectoryError: `folder` is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        if not self.folder.is_dir():
            raise NotADirectoryError(f"{folder}: not a folder of texts")
        self._lock = threading.Lock()
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        # Python 3.13 warns about unclosed connections, and nobody expects to have to close a library.
        weakref.finalize(self, self._index.close)
        self._index.execute("CREATE VIRTUAL TABLE passages USING fts5(file UNINDEXED, passage, tokenize='porter')")
        self._index.executemany("INSERT INTO passages VALUES (?, ?)", self._passages())

    def search(self, query: str, limit: int = 3) -> list[dict[str, Any]]:
        """Find the passages that have most of the query's words, the best first.

        Args:
            query: any words; nothing in it is syntax.
            limit: how many passages at most.

        Returns:
            For each passage its `file`, the `passage` around the words found, and its `rank`, from 1.
        """
        terms = _fts5_expression(query)
        if not terms:
            return []
        with self._lock:
            rows = self._index.execute(_FIND, (_SNIPPET_WORDS, terms, max(0, limit))).fetchall()
        return [{"file": file, "passage": passage, "rank": rank} for rank, (file, passage) in enumerate(rows, start=1)]

    def read(self, file: str) -> str:
        """Read one whole file, named as `search` names it.

        Raises:
            ValueError: `file` lies outside of the folder.
            FileNotFoundError: the folder has no such text.
        """
        path = (self.folder / file).resolve()
        if not path.is_relative_to(self.folder):
            raise ValueError(f"{file!r} lies outside of the folder of texts")
        if not _is_text(path):
            raise FileNotFoundError(f"no text {file!r}; there are: {', '.join(self.files()) or 'none'}")
        return _read_text(path)

    def files(self) -> list[str]:
        """Return the names of all texts, relative to the folder, in order."""
        return [path.relative_to(self.folder).as_posix() for path in self._paths()]

    def _paths(self) -> Iterator[Path]:
        for path in sorted(self.folder.rglob("*")):
            # A symbolic link may lead out of the folder.
            if _is_text(path) and path.resolve().is_relative_to(self.folder):
                yield path

    def _passages(self) -> Iterable[tuple[str, str]]:
        for path in self._paths():
            name = path.relative_to(self.folder).as_posix()
            for passage in _PASSAGE_END.split(_read_text(path)):
                if passage.strip():
                    yield name, " ".join(passage.split())


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _fts5_expression(query: str) -> str:
    """Return the query as an FTS5 expression: words are quoted, so that AND, NEAR, `*` or `"` have no effect."""
    words = list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))
    return " OR ".join(f'"{word}"' for word in words[:_MAX_TERMS])
