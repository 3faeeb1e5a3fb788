"""A gold answer with spellings of it that are right, and answers nearby that are wrong."""

import itertools
import random
from dataclasses import dataclass, field
from fractions import Fraction

Spellings = dict[str, str | None]
"""An answer by what was done to the gold; None where it cannot be done to this one."""


@dataclass(frozen=True, slots=True)
class Made:
    """A gold of one family with all its spellings; `fields` are the problem's, such as its question."""

    gold: str
    right: Spellings
    wrong: Spellings
    fields: dict[str, object] = field(default_factory=dict)


def digit_changed(draw: random.Random, text: str) -> str:
    """Return the text with one of its digits, not a leading one, made another; the leading one where it is the only."""
    places = [index for index, letter in enumerate(text) if letter.isdigit()]
    place = draw.choice(places[1:] or places)
    return text[:place] + draw.choice([digit for digit in "123456789" if digit != text[place]]) + text[place + 1 :]


def digits_swapped(text: str) -> str | None:
    """Return the text with the first two different neighbouring digits swapped; None without such."""
    for index, (one, other) in enumerate(itertools.pairwise(text)):
        if one.isdigit() and other.isdigit() and one != other and other != "0":
            return text[:index] + other + one + text[index + 2 :]
    return None


def negated(text: str) -> str | None:
    """Return the text with its leading sign turned; None for zero."""
    if not text.strip("0."):
        return None
    return text[1:] if text.startswith("-") else f"-{text}"


def thousands(number: int, mark: str) -> str | None:
    """Return the integer with its thousands set apart by `mark`; None below a thousand."""
    return f"{number:,}".replace(",", mark) if abs(number) >= 1000 else None


def moved_comma(number: int) -> str | None:
    """Return the integer with its first comma one digit too far right; None where there is none to move."""
    if not 1000 <= number < 1_000_000:
        return None
    digits = str(number)
    return f"{digits[:-2]},{digits[-2:]}"


def drawn_fraction(draw: random.Random, above: tuple[int, int], below: tuple[int, int]) -> Fraction:
    """Return a fraction of two numbers between these bounds that is no whole number."""
    while (value := Fraction(draw.randint(*above), draw.randint(*below))).denominator == 1:
        pass
    return value


def drawn_members(draw: random.Random) -> list[int]:
    """Return two to four different whole numbers between -40 and 40, none of them zero."""
    return draw.sample([number for number in range(-40, 41) if number], draw.randint(2, 4))
