"""Whether an answer is the expected one: shape first (list, set, tuple, units), then atom by atom.

The shape is compared here because a computer algebra system is too kind: it lets (1,2) pass for {1,2}, 50 % for 50 and
10 km for 10. Only single atoms that digits do not settle go to the `mathematics` that the caller gives.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sgpo.problems.answers import Answer, clean, is_words, read_answer, read_number, rounds_to, same_text
from sgpo.problems.responses import after_marks
from sgpo.problems.units import PERCENT, canonical_unit, may_stand_for, split_unit

Mathematics = Callable[[str, str, Fraction | None], bool]
"""(gold atom, answer atom, tolerance) -> equal; raises UnparsableError."""


class UnparsableError(Exception):
    """An answer that is not mathematics."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a response has to say. `tolerance` is absolute; `unit` is canonical; `question` settles implied units."""

    text: str
    shape: Answer
    multiple: bool
    unit: str | None
    tolerance: Fraction | None
    question: str


def expect(
    answer: str, question: str, *, multiple: bool = False, unit: str | None = None, tolerance: float | None = None
) -> Expectation:
    """Return the expectation that a problem's fields state; a gold that ends a solution by `#### 72` is 72."""
    answer = after_marks(answer) or answer
    return Expectation(
        text=clean(answer),
        shape=read_answer(answer, multiple),
        multiple=multiple,
        unit=canonical_unit(unit) if unit else None,
        tolerance=None if tolerance is None else Fraction(repr(tolerance)),
        question=question,
    )


def meets(expected: Expectation, text: str, mathematics: Mathematics) -> bool:
    """Whether the extracted answer `text` is what is expected. Raises what `mathematics` raises."""
    text = clean(text)
    if same_text(expected.text, text):
        return True
    readings = [text]
    if expected.multiple:  # 2,500,7,500 may be four numbers or two
        readings.append(re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text))
    return any(
        _same(expected, expected.shape, read_answer(reading, expected.multiple), mathematics)
        for reading in dict.fromkeys(readings)
    )


def _same(expected: Expectation, gold: Answer, answer: Answer, mathematics: Mathematics) -> bool:
    if gold.name and answer.name and gold.name != answer.name:
        return False  # x = 5 is not y = 5
    if gold.kind in ("list", "set") or answer.kind in ("list", "set"):
        if "tuple" in (gold.kind, answer.kind):
            return False  # order matters in one of them
        return _same_in_any_order(expected, _elements(gold), _elements(answer), mathematics)
    if gold.kind == answer.kind == "tuple":
        return (
            gold.brackets == answer.brackets
            and len(gold.parts) == len(answer.parts)
            and all(_same(expected, *pair, mathematics) for pair in zip(gold.parts, answer.parts, strict=True))
        )
    if _EQUAL.search(gold.text) or (_EQUAL.search(answer.text) and gold.name and not read_number(gold.text)):
        return _same_atom(expected, _whole(gold), _whole(answer), mathematics)
    sides = [side.strip() for side in _EQUAL.split(answer.text)]
    if len(sides) > 1 and re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", sides[0])):
        if gold.name or not _stands_for_a_value(sides[0], expected.question):
            return False  # 2x = 5 is not 5
        del sides[0]
    return all(_same_atom(expected, gold.text, side, mathematics) for side in sides)


_EQUAL = re.compile(r"(?<![<>!:=])=(?!=)")
_INSIDE = re.compile(r"_\{[^{}]*\}|_\w|\([^()]*\)|\[[^][]*\]|\\text\{[^{}]*\}")
_OPERATION = re.compile(r"[-+*/^!]|\d\s*[A-Za-z\\(]|\\(?:d?frac|sqrt|cdot|times|pm|sin|cos|tan|log|ln)(?![A-Za-z])")


def _whole(answer: Answer) -> str:
    """Return an equation with both sides: y = 2x + 1 is one way to write 2x - y + 1 = 0."""
    return f"{answer.name} = {answer.text}" if answer.name else answer.text


def _stands_for_a_value(left: str, question: str) -> bool:
    r"""Whether what follows `left =` is an answer: f(2), AB, \angle C are names; x^2 + y^2 counts where it is asked."""
    if not _OPERATION.search(_INSIDE.sub("", left)):
        return True
    return "".join(left.split()) in "".join(clean(question).split())


def _elements(answer: Answer) -> Sequence[Answer]:
    return answer.parts if answer.kind in ("list", "set") else (answer,)


def _same_in_any_order(
    expected: Expectation, gold: Sequence[Answer], answers: Sequence[Answer], mathematics: Mathematics
) -> bool:
    """Whether golds and answers can be paired off one to one.

    By Kuhn's augmenting paths, because equality within a tolerance is not transitive.
    """
    if len(gold) != len(answers):
        return False
    known: dict[tuple[int, int], bool] = {}
    owner: dict[int, int] = {}  # answer -> gold

    def equal(i: int, j: int) -> bool:
        if (i, j) not in known:
            known[i, j] = _same(expected, gold[i], answers[j], mathematics)
        return known[i, j]

    def place(i: int, tried: set[int]) -> bool:
        # Answers that read the same come first: they need no mathematics.
        order = sorted(range(len(answers)), key=lambda j: not same_text(gold[i].text, answers[j].text))
        for j in order:
            if j not in tried and equal(i, j):
                tried.add(j)
                if j not in owner or place(owner[j], tried):
                    owner[j] = i
                    return True
        return False

    return all(place(i, set()) for i in range(len(gold)))


def _same_atom(expected: Expectation, gold_text: str, answer_text: str, mathematics: Mathematics) -> bool:
    if same_text(gold_text, answer_text):
        return True
    if is_words(gold_text):
        return False
    gold, gold_unit = split_unit(gold_text, read_number(gold_text) is not None)
    gold_unit = gold_unit or expected.unit
    value, unit = split_unit(answer_text, read_number(answer_text) is not None, gold_unit)
    scales = _scales(gold_unit, unit, expected.question)
    return any(_same_value(expected, gold, _scaled(value, scale), mathematics) for scale in scales)


def _scales(gold_unit: str | None, unit: str | None, question: str) -> tuple[int | Fraction, ...]:
    """By what an answer in `unit` may be multiplied to be compared with a gold in `gold_unit`; empty if by nothing."""
    if unit is None:
        return (1, 100) if gold_unit == PERCENT else (1,)
    if unit == gold_unit or unit.startswith("unit"):
        return (1,)
    if gold_unit is not None:
        return ()
    if may_stand_for(unit, question):
        return (1,)
    return (Fraction(1, 100),) if unit == PERCENT else ()


def _scaled(text: str, scale: int | Fraction) -> str:
    if scale == 1:
        return text
    if number := read_number(text):
        value = number.value * scale
        return str(value)
    return f"\\frac{{{text}}}{{100}}" if scale < 1 else f"100 \\cdot ({text})"


_TWO_NUMBERS = re.compile(r"\d\s+\d")
_BASED = re.compile(r"(\w+)_\{?(\d+)\}?")
_PROSE = re.compile(r"\\(?:begin|end)\{\w+\*?\}|((?<![\\A-Za-z])[A-Za-z]{4,}|\\text\{[^{}]*\})")


def _same_value(expected: Expectation, gold: str, value: str, mathematics: Mathematics) -> bool:
    if same_text(gold, value):
        return True
    left, right = read_number(gold), read_number(value)
    if left and right:
        if expected.tolerance is not None:
            return abs(left.value - right.value) <= expected.tolerance
        return rounds_to(left.value, right)
    if ":" in gold or ":" in value:
        members = [len(text.split(":")) for text in (gold, value)]
        if members[0] != members[1] and (max(members) > 2 or members[0] == 1):
            return False  # the parser reads 2:3:4 as a quotient
    based = _BASED.fullmatch(gold) if gold[:1].isdigit() else None
    if based or (value[:1].isdigit() and _BASED.fullmatch(value)):
        # A number in another base: the base may be left out, but it is not a number in base ten.
        return based is not None and value == based[1]
    if _TWO_NUMBERS.search(value) and not _TWO_NUMBERS.search(gold):
        raise UnparsableError(value)  # 1 2 3 is neither 123 nor their product
    if any(found[1] and found[1] not in gold for found in _PROSE.finditer(value)):
        raise UnparsableError(value)
    return mathematics(gold, value, expected.tolerance)
