r"""Final answers as text: brought to one spelling, read as lists, sets, tuples and numbers.

Nothing here evaluates mathematics, and every step is linear in the text, so it runs in the caller's process on
whatever a model wrote. What text alone cannot decide goes to `sgpo.problems.judge`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sgpo.problems.responses import closing_braces

_UNICODE = str.maketrans({"−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ",
                          "≤": r"\le ", "≥": r"\ge ", "∪": r"\cup ", "∈": r"\in ", "±": r"\pm ", "°": r"^\circ",
                          "\u00a0": " ", "√": r"\sqrt ", "－": "-", "＋": "+", "％": "%", "∅": r"\emptyset ",
                          })  # fmt: skip
_SPELLING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\s+", " "),  # first: the patterns below must meet no long runs of space
        (r"\\(?:boxed|fbox)(?![A-Za-z])", ""),
        (r"(?:,\\!|\{,\})\s*(?=\d{3}(?!\d))", ""),  # 10,\!080 and 10{,}080
        (r"\\\\\s*\[[\d.]+\s*(?:pt|em|ex|mm|cm)\]", r"\\\\"),  # \\[2pt] between the rows of a matrix
        (r"(\\\\)|\\[()\[\]]|(\\\$)|\$", r"\1\2"),  # mathematics delimiters, but not \\ and \$
        (r"(\\\\)|\\(?:left|right)(?![A-Za-z])\s*\.?", r"\1"),
        (r"\\[bB]igg?[lrm]?(?![A-Za-z])", ""),
        (r"\\(?:displaystyle|textstyle|limits|quad|qquad)(?![A-Za-z])|~", " "),
        (r"(\\\\)|\\!", r"\1"),
        (r"(\\\\)|\\[,;:> ]", r"\1 "),
        (r"\s+", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\frac\s*\{\s*([^{}]*?)\s*\}\s*\{\s*([^{}]*?)\s*\}", r"\\frac{\1}{\2}"),
        (r"\\(?:mbox|hbox|textbf|textit|textrm|textnormal)(?![A-Za-z])", r"\\text"),
        (r"\\(?:mathrm|operatorname)\s*\{([^{}\\]{2,})\}", r"\\text{\1}"),
        (r"\\text\s*\{\s*([^{}]*?)\s*\}", r"\\text{\1}"),
        (r"\\text\{([+-]?\d[\d.,:/ ]*)\}", r"\1"),  # \text{204}, \text{1:3}
        (r"\\text\{([+-]?\d[\d.,]*) ([^{}\d]+)\}", r"\1 \\text{\2}"),  # \text{27 miles}
        (r"\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])|\\text\{degrees?\}", r"^\\circ"),
        (r"\\(ge|le)(?:qslant|q)(?![A-Za-z])", r"\\\1"),
        (r"([_^])\s*\{\s*(\w)\s*\}", r"\1\2"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),  # what is written as in a program
        (r"(?<![A-Za-z\\])exp(?=\s*\()", r"\\exp"),
        (r"\\?(?<![A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<=[\w)}])\s*\*\*\s*(-?\w+)", r"^{\1}"),
        (r"(?<=\d)\s*\*\s*(?=[A-Za-z])", ""),  # 2*i
        (r"(?<=[\w)}])\s*\*\s*(?=[\w(\\])", r" \\cdot "),
        (r"\+\s*-", "-"),
        (r"^([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d+)$", r"\1 \\cdot 10^{\2}"),
        (r"\s+", " "),
        (r"[\s.,;]+$", ""),
    )
)


_SPACED_THOUSANDS = re.compile(r"(?<![\w.^/}] )(?<![\w.^/}])\d{1,3}(?: \d{3})+(?![\d/]| \d| ?/)")
"""12 345, but neither the mixed number 2 3/4 nor three numbers."""


def clean(text: str) -> str:
    """Return the answer without what concerns its looks alone: delimiters, spacing, sizes, spellings of a command."""
    text = text.translate(_UNICODE).strip()
    for pattern, replacement in _SPELLING:
        text = pattern.sub(replacement, text)
    text = _SPACED_THOUSANDS.sub(lambda found: found[0].replace(" ", ""), text.strip())
    while text.startswith("{") and closing_braces(text).get(0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def same_text(gold: str, answer: str) -> bool:
    r"""Whether two cleaned answers read the same; words (`\text{Evelyn}`, `\text{(C)}`) whatever their case."""
    if (words := _words(gold)) is not None:
        return words == (_words(answer) or _plain_words(answer))
    if len(gold) == 1 and (letter := _WORDS.fullmatch(answer)):
        return letter[1].strip(" ()") == gold
    return _unspaced(gold) == _unspaced(answer)


def _unspaced(text: str) -> str:
    """Return the text without the spaces that say nothing: between two digits one says that they are two numbers."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


_WORDS = re.compile(r"\\text\{([^{}]*)\}")


def is_words(text: str) -> bool:
    r"""Whether a cleaned answer is nothing but words: `\text{even}`, which no mathematics can equal."""
    return _words(text) is not None


def _words(text: str) -> str | None:
    found = _WORDS.fullmatch(text)
    return _plain_words(found[1]) if found else None


def _plain_words(text: str) -> str:
    text = " ".join(text.casefold().split()).rstrip(" .")
    return text[1:-1].strip() if text.startswith("(") and text.endswith(")") else text


@dataclass(frozen=True, slots=True)
class Number:
    """A number written out in digits: its exact value, and how many decimals and significant digits were written."""

    value: Fraction
    decimals: int | None = None
    digits: int = 0


_DECIMAL = re.compile(r"([+-]?)\s*(\d{0,60})(?:\.(\d{0,60}))?")
_FRACTION = re.compile(r"([+-]?)\s*(?:\\frac\{([+-]?\d{1,60})\}\{([+-]?\d{1,60})\}|(\d{1,60})\s*/\s*(\d{1,60}))")
_MIXED = re.compile(r"([+-]?)\s*(\d{1,60})\s*(?:\\frac\{(\d{1,60})\}\{(\d{1,60})\}|\s(\d{1,60})/(\d{1,60}))")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_ONE_NUMBER = re.compile(r"([^\d,;(\[{]*)(\d{1,3}(?:,\d{3})+(?:\.\d+)?)([^\d,;)\]]*(?:\^\{?[23]\}?)?)")
"""Thousands with a name, a currency or a sign before them, and a unit, per cent or degrees behind."""


def read_number(text: str) -> Number | None:
    """Return the cleaned answer as a number where it is an integer, decimal, fraction or mixed number, else None."""
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if (found := _DECIMAL.fullmatch(text)) and (whole := (found[2] or "") + (found[3] or "")):
        decimals = len(found[3]) if found[3] else None
        value = Fraction(int(whole), 10 ** (decimals or 0))
        return Number(-value if found[1] == "-" else value, decimals, len(whole.lstrip("0")))
    if found := _FRACTION.fullmatch(text):
        above, below = int(found[2] or found[4]), int(found[3] or found[5])
        whole_part = 0
    elif found := _MIXED.fullmatch(text):
        above, below = int(found[3] or found[5]), int(found[4] or found[6])
        whole_part = int(found[2])
    else:
        return None
    if below == 0:
        return None
    value = whole_part + Fraction(above, below)
    return Number(-value if found[1] == "-" else value)


def rounds_to(gold: Fraction, answer: Number) -> bool:
    """Whether `answer` is `gold`, or a decimal of at least six significant digits that is `gold` rounded to its end."""
    if answer.value == gold:
        return True
    if answer.decimals is None or answer.digits < 6:
        return False
    return abs(answer.value - gold) <= Fraction(1, 2 * 10**answer.decimals)


Kind = Literal["atom", "list", "set", "tuple"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer's shape. A tuple keeps its brackets in `brackets`: (1,2), [1,2) and [1,2] are three answers.

    `text` is the cleaned text without a leading `name =` or `name \\in`; `name` is that name.
    """

    kind: Kind
    text: str
    parts: tuple[Answer, ...] = ()
    brackets: str = ""
    name: str | None = None


_MAX_DEPTH = 8
_NAMED = (
    r"((?:[A-Za-z]|\\[a-z]+)(?:_(?:\{[^{}]*\}|\w))?(?:\([A-Za-z](?:,\s*[A-Za-z])*\))?|\([A-Za-z](?:,\s*[A-Za-z])+\))"
)
_NAME = re.compile(rf"\s*{_NAMED}\s*(?:=|\\in(?![A-Za-z]))\s*([^=]+)")
_NAME_BEHIND = re.compile(rf"\s*([^=]*[^=\s<>!])\s*=\s*{_NAMED}\s*")
_CONJUNCTION = re.compile(r"\s*,?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*")
_BRACKET = re.compile(r"\\(?:begin|end)\{[^{}]*\}|\\.|[()\[\]{},;]", re.DOTALL)


def read_answer(text: str, multiple: bool = False) -> Answer:
    """Return the shape of an answer. Top-level commas make a list, unless they group thousands and not `multiple`."""
    text = _CONJUNCTION.sub(",", clean(text))
    if not multiple and (found := _ONE_NUMBER.fullmatch(text)):  # what stands around it says that it is one number
        text = f"{found[1]}{found[2].replace(',', '')}{found[3]}"
    parts = _split(text)
    if len(parts) == 1:
        return _read_part(text, 0)
    return Answer("list", text, _flatten(_read_part(part, 1) for part in parts))


def _read_part(text: str, depth: int) -> Answer:
    text = text.strip()
    name = None
    if found := _NAME.fullmatch(text):
        name, text = re.sub(r"\s+", "", found[1]), found[2].strip()
    elif found := _NAME_BEHIND.fullmatch(text):
        name, text = re.sub(r"\s+", "", found[2]), found[1].strip()
    if depth < _MAX_DEPTH and _is_wrapped(text):
        inside = text[2:-2] if text.startswith("\\{") else text[1:-1]
        parts = _split(inside)
        if text.startswith("\\{"):
            return Answer("set", text, _flatten(_read_part(part, depth + 1) for part in parts), name=name)
        if len(parts) > 1 and text[0] in "([":
            brackets = text[0] + text[-1]
            return Answer("tuple", text, tuple(_read_part(part, depth + 1) for part in parts), brackets, name)
    if text.count("\\pm") == 1:
        both = tuple(Answer("atom", text.replace("\\pm", sign).strip("+ "), name=name) for sign in "+-")
        return Answer("list", text, both, name=name)
    return Answer("atom", text, name=name)


def _flatten(parts: object) -> tuple[Answer, ...]:
    r"""Parts of a list or set, with `1 \pm x` standing for two of them."""
    flat: list[Answer] = []
    for part in parts:  # type: ignore[attr-defined]
        flat.extend(part.parts if part.kind == "list" else (part,))
    return tuple(flat)


def _split(text: str) -> list[str]:
    """Return the text between commas or semicolons that stand in no bracket; unbalanced text is one piece."""
    pieces: list[str] = []
    start = depth = 0
    for found in _BRACKET.finditer(text):
        depth += _step(found[0])
        if depth < 0:
            return [text]
        if depth == 0 and found[0] in ",;":
            pieces.append(text[start : found.start()])
            start = found.end()
    pieces.append(text[start:])
    return pieces if depth == 0 and all(piece.strip() for piece in pieces) else [text]


def _is_wrapped(text: str) -> bool:
    """Whether the text's first bracket closes at its very end."""
    if not text.startswith(("(", "[", "\\{")) or not text.endswith((")", "]", "\\}")):
        return False
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += _step(found[0])
        if depth == 0:
            return found.end() == len(text)
    return False


def _step(token: str) -> int:
    if token in ("(", "[", "{", "\\{") or token.startswith("\\begin"):
        return 1
    return -1 if token in (")", "]", "}", "\\}") or token.startswith("\\end") else 0
