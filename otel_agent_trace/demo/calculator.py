"""Calculate arithmetic expressions in text, without evaluating anything else."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

Number = int | float

_MAX_LENGTH = 200
_MAX_EXPONENT = 64
_MAX_BITS = 1024  # the range of a float: chained products must not grow without end
_ALLOWED = re.compile(r"[\d\s.+\-*/%()eE]*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_SIGNS = str.maketrans({"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "\N{MINUS SIGN}": "-", "^": "**"})


def calculator(expression: str) -> Number:
    """Calculate an arithmetic expression, such as "(1250 - 430) * 3 / 4".

    Args:
        expression: numbers, parentheses and + - * / // % **.

    Raises:
        ValueError: it is no arithmetic.
        ZeroDivisionError: it divides by zero.
        OverflowError: the result, or a part of it, is too large.
    """
    text = plain(expression).strip()
    # Checked before parsing, since Python's parser warns about texts such as "1if 2else 3".
    if len(text) > _MAX_LENGTH or not _ALLOWED.fullmatch(text):
        raise ValueError(f"not an arithmetic expression: {expression[:_MAX_LENGTH]!r}")
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"not an arithmetic expression: {expression!r} ({error.msg})") from error
    return _evaluated(tree.body)


def plain(text: str) -> str:
    """Return the text with typographic signs and numbers as Python writes them, such as 1,250 or 2^3."""
    return _THOUSANDS.sub("", text.translate(_SIGNS))


def _evaluated(node: ast.expr) -> Number:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)  # type: ignore[arg-type]  # mypy does not narrow by `type(...) in`
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _bounded(_BINARY[type(node.op)](_evaluated(node.left), _evaluated(node.right)))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_evaluated(node.operand))
    raise ValueError(f"not arithmetic: {ast.unparse(node)!r}")


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > _MAX_EXPONENT:
        raise OverflowError(f"exponents are bounded by {_MAX_EXPONENT}: {exponent}")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError(f"no real number: {base} ** {exponent}")  # noqa: TRY004 - the value is at fault, not its type
    return result


def _bounded(number: Number) -> Number:
    if (isinstance(number, int) and number.bit_length() > _MAX_BITS) or number in (float("inf"), float("-inf")):
        raise OverflowError("the number is too large")
    return number


_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
