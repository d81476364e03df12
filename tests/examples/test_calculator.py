"""The calculator does arithmetic, and nothing else."""

from __future__ import annotations

import math

import pytest

from otel_agent_trace.demo import calculator


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("(1250 - 430) * 3 / 4", 615.0),
        ("2 + 3 * 4", 14),
        ("7 // 2 + 7 % 2", 4),
        ("-(2 - 5)", 3),
        ("+1.5e3", 1500.0),
        ("2 ** 10", 1024),
        ("2^10", 1024),
        ("1,250,000 \N{DIVISION SIGN} 2", 625000.0),
        ("3 \N{MULTIPLICATION SIGN} 4 \N{MINUS SIGN} 1", 11),
        ("  8  ", 8),
        ("2 ** -1", 0.5),
    ],
)
def test_arithmetic(expression: str, result: float) -> None:
    """An expression has the value that it has in Python, in the signs of print too."""
    value = calculator(expression)
    assert (value, type(value)) == (result, type(result))


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "two",
        "__import__('os')",
        "1 +",
        "1 if 2 else 3",
        "(1, 2)",
        "1 < 2",
        "[1]",
        "1j",
        "007",
        "e",
        "2(3)",
        "1\n2",
        "((1)",
        "1" * 201,
        "1..2",
        "~1",
        "1if 2else 3",
        "(-8) ** 0.5",
    ],
)
def test_no_arithmetic(expression: str) -> None:
    """Whatever is no arithmetic is a ValueError, without a warning from the parser."""
    with pytest.raises(ValueError):
        calculator(expression)


@pytest.mark.parametrize("expression", ["1 / 0", "1 // 0", "1 % (2 - 2)", "0 ** -1"])
def test_division_by_zero(expression: str) -> None:
    """Division by zero is the error it is in Python."""
    with pytest.raises(ZeroDivisionError):
        calculator(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "2 ** 65",
        "9 ** 9 ** 9",
        "2.0 ** 1e300",
        "9e307 * 10",
        "1e999",
        "*".join(["9" * 18] * 10) + "*" + "9 ** 60 * 9 ** 60 ** 1 * 9 ** 60 * 9 ** 60 * 9 ** 60 * 9 ** 60",
    ],
)
def test_size_is_bounded(expression: str) -> None:
    """No expression keeps the machine busy, however short it is."""
    with pytest.raises((OverflowError, ValueError)):
        calculator(expression)


def test_deep_nesting() -> None:
    """Parentheses and signs may be nested as deep as the length allows."""
    assert calculator("(" * 80 + "1" + ")" * 80) == 1
    assert calculator("-" * 198 + "1") == 1


def test_largest_numbers() -> None:
    """What is a number in Python is one here."""
    assert math.isclose(calculator("1.5e308 / 1.5"), 1e308)
