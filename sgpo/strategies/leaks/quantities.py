"""The numbers that a text states, as exact fractions, with enough of their surroundings to tell what they are for."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

DIGITS = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
NUMBER = re.compile(
    rf"""\\[dt]?frac\s?\{{\s?(?P<top>{DIGITS})\s?\}}\s?\{{\s?(?P<bottom>{DIGITS})\s?\}}
    |(?P<number>{DIGITS})(?:\s?/\s?(?P<divisor>{DIGITS}))?""",
    re.VERBOSE,
)
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_PARTS = {
    "hal(?:f|ves)": 2, "thirds?": 3, "(?:quarter|fourth)s?": 4, "fifths?": 5, "sixths?": 6, "sevenths?": 7,
    "eighths?": 8, "ninths?": 9, "tenths?": 10, "twelfths?": 12,
}  # fmt: skip
_BELOW_HUNDRED = rf"(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_ONES[1:10])}))?|{'|'.join(reversed(_ONES))})"
_WORD = re.compile(
    rf"\b(?:(?P<hundreds>{'|'.join(_ONES[1:10])})[- ]hundred(?:[- ](?:and[- ])?(?P<rest>{_BELOW_HUNDRED}))?"
    rf"|(?P<plain>{_BELOW_HUNDRED})(?:[- ](?P<part>{'|'.join(_PARTS)}))?|(?P<times>once|twice))\b",
    re.IGNORECASE,
)
_REACH = 60
"""Characters before and after a number that say what it is for."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in a text, without its sign. `attached`: part of a name or power (x2, a_1, n^2, 2x)."""

    value: Fraction
    written: str
    before: str
    after: str
    attached: bool = False
    spelled: bool = False


def normalised(text: str) -> str:
    """One line with plain minus signs, digits and slashes."""
    return " ".join(unicodedata.normalize("NFKC", text).replace("−", "-").replace("⁄", "/").split())


def quantities(text: str) -> Iterator[Quantity]:
    """Every number in a normalised text: digits, decimals, fractions; in English words those below a thousand."""
    for match in NUMBER.finditer(text):
        before, after = _around(text, match)
        attached = bool(re.search(r"[A-Za-z_^]\{?$", before[-2:]) or re.match(r"[A-Za-z]", after))
        top, bottom = match["top"] or match["number"], match["bottom"] or match["divisor"]
        yield Quantity(_fraction(top, bottom), match[0], before, after, attached)
    for match in _WORD.finditer(text):
        yield Quantity(_value_in_words(match), match[0], *_around(text, match), spelled=True)


def _around(text: str, match: re.Match[str]) -> tuple[str, str]:
    return text[max(0, match.start() - _REACH) : match.start()], text[match.end() : match.end() + _REACH]


def _fraction(top: str, bottom: str | None) -> Fraction:
    # Python refuses to read integers of thousands of digits.
    value = Fraction(top.replace(",", "")[:1000])
    divisor = Fraction(bottom.replace(",", "")[:1000]) if bottom else Fraction(1)
    return value / divisor if divisor else value


def _value_in_words(match: re.Match[str]) -> Fraction:
    if match["times"]:
        return Fraction(1 if match["times"].lower() == "once" else 2)
    if match["hundreds"]:
        rest = _spelled_value(match["rest"]) if match["rest"] else Fraction(0)
        return 100 * _spelled_value(match["hundreds"]) + rest
    value = _spelled_value(match["plain"])
    for pattern, divisor in _PARTS.items():
        if match["part"] and re.fullmatch(pattern, match["part"], re.IGNORECASE):
            return value / divisor
    return value


def _spelled_value(words: str) -> Fraction:
    tens, _, ones = words.lower().replace("-", " ").partition(" ")
    if tens in _TENS:
        return Fraction(10 * (_TENS.index(tens) + 2) + (_ONES.index(ones) if ones else 0))
    return Fraction(_ONES.index(tens))
