"""An arithmetic expression worked out one operation at a time: the short style of solution a small model can learn."""

import ast
from fractions import Fraction

from sgpo.problems.values import FieldError, shown

_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_MOST_CHARACTERS, _MOST_DECIMALS = 200, 12
_EXPECTED = "expected numbers with + - * / and brackets, such as 6 * 14 - 38"


def worked_out(equation: str, answer: str) -> str:
    """Return `6 * 14 = 84. 84 - 38 = 46. The answer is \\boxed{46}.` for `6 * 14 - 38`.

    Raises FieldError for what is no such expression, and for one whose value is not `answer`.
    """
    if len(equation) > _MOST_CHARACTERS:
        raise FieldError(f"'equation' has {len(equation)} characters (expected at most {_MOST_CHARACTERS})")
    steps: list[str] = []
    try:
        value = _value(ast.parse(equation.strip(), mode="eval").body, steps)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise FieldError(f"'equation' is {shown(equation)} ({_EXPECTED})") from None
    except ZeroDivisionError:
        raise FieldError(f"'equation' is {shown(equation)}, which divides by zero ({_EXPECTED})") from None
    if not _same(value, answer):
        raise FieldError(f"'equation' is {shown(equation)}, which is {_text(value)}, but 'answer' is {shown(answer)}")
    return " ".join([*steps, f"The answer is \\boxed{{{answer.strip()}}}."])


def _value(node: ast.expr, steps: list[str]) -> Fraction:
    """Return a node's value; its operations are appended to `steps`, the inner ones first."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, steps)
    sign = _SIGNS.get(type(node.op)) if isinstance(node, ast.BinOp) else None
    if sign is None or not isinstance(node, ast.BinOp):
        raise ValueError
    left, right = _value(node.left, steps), _value(node.right, steps)
    result = {"+": left + right, "-": left - right, "*": left * right}[sign] if sign != "/" else left / right
    steps.append(f"{_text(left)} {sign} {_text(right)} = {_text(result)}.")
    return result


def _text(value: Fraction) -> str:
    """Return a whole number or decimal where it is one, else numerator/denominator."""
    if value.denominator == 1:
        return str(value.numerator)
    digits, power = 0, 1  # exact: a float is wrong from 16 digits on, and has no more than 308
    while power % value.denominator and digits < _MOST_DECIMALS:
        digits, power = digits + 1, 10 * power
    if power % value.denominator:
        return str(value)
    scaled = f"{abs(value.numerator) * (power // value.denominator):0{digits + 1}d}"
    return f"{'-' if value < 0 else ''}{scaled[:-digits]}.{scaled[-digits:]}"


def _same(value: Fraction, answer: str) -> bool:
    try:
        return value == Fraction(answer.strip().replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return False
