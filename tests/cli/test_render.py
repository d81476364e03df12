"""What the views hold, on a terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.style import Style

from otel_agent_trace.cli.render import STYLES, Rows, print_table, styled
from otel_agent_trace.views.rows import TONES, Cell, Column, Row, Table, cells


def console(width: int, *, colour: bool = False) -> Console:
    colours: Any = "truecolor" if colour else None
    return Console(file=io.StringIO(), width=width, force_terminal=colour, color_system=colours, no_color=not colour)


def printed(on: Console) -> str:
    return on.file.getvalue()


def test_every_tone_has_looks() -> None:
    assert set(STYLES) == set(TONES)
    assert all(Style.parse(style) for style in STYLES.values())


def test_a_tone_of_two_words_has_the_looks_of_both() -> None:
    on = console(80, colour=True)
    on.print(styled((Cell("weather", "strong"), Cell("  "), Cell("success", "strong success"))))
    assert printed(on) == "\x1b[1mweather\x1b[0m  \x1b[1;32msuccess\x1b[0m\n"


def test_texts_are_escaped_once() -> None:
    on = console(80)
    on.print(styled(Cell("a\x1b[2J\\x1b")))
    on.print(Rows([Row("b\x07", "c\x1b\nd")]))
    print_table(Table([Column("title", cells(["e\x9b"]), "left")]), on)
    assert printed(on) == "a\\x1b[2J\\x1b\n  b\\x07  c\\x1b\n         d\ntitle\ne\\x9b\n"


def test_columns_of_high_rank_are_left_out_first() -> None:
    columns = [
        Column("one", cells(["1"])),
        Column("two", cells(["2"]), rank=2),
        Column("three", cells(["3"]), rank=1),
        Column("last", cells(["some longer text"]), "left"),
    ]
    for width, titles in ((40, "one two three last"), (18, "one three last"), (14, "one last")):
        on = console(width)
        print_table(Table(columns, last_width=5), on)
        assert printed(on).splitlines()[0].split() == titles.split()
        assert max(map(len, printed(on).splitlines())) <= width
