"""Multiple choice: one letter, however it is dressed: B, (b), "B.", \\text{B}, B) Paris."""

import re

from sgpo.problems.domains.exact import normalised
from sgpo.problems.domains.stated import stated_answer, tagged
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict

_LETTER = re.compile(r"(?:option |choice )?[(\[]?([a-z])(?:[)\].:,]+(?: .*)?)?$")
_ANOTHER = re.compile(r"(?:^|[\s(\[])([a-z])[)\]]|\b(?:or|and)\s+[(\[]?([a-z])\b|,\s*([a-z])(?=\s*(?:,|\.?$))")


def judge(response: str, problem: Problem, letters: str = "ABCDE") -> Verdict:
    """Return whether the stated letter is the gold one; an answer that names two of `letters` is none."""
    stated = stated_answer(response)
    letter = None if stated is None else _letter(stated, letters)
    if stated is None or letter is None:
        return Verdict(False, stated, "no_answer" if stated is None else "unparsable")
    gold = _letter(problem.answer, letters)
    if gold is None:
        return Verdict(False, letter, "unparsable")
    return Verdict(letter == gold, letter, "correct" if letter == gold else "wrong")


def _letter(text: str, letters: str) -> str | None:
    text = normalised(text)
    found = _LETTER.fullmatch(text)
    if found is None or found[1].upper() not in letters:
        return None
    others = {"".join(found).upper() for found in _ANOTHER.findall(text)} & set(letters) - {found[1].upper()}
    return None if others else found[1].upper()


judge.present = lambda problem: tagged(problem.answer)  # type: ignore[attr-defined]
