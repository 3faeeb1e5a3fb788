"""Multiple choice: one letter, however it is dressed: B, (b), "B.", \\text{B}, B) Paris."""

import re

from sgpo.problems.domains.exact import normalised
from sgpo.problems.domains.stated import stated_answer, tagged
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict

_LETTER = re.compile(r"(?:option |choice )?[(\[]?([a-z])(?:[)\].:,]+(?: (.*))?)?$")
_ALONE = re.compile(r"(?<![^\W_])(?<!['’])([a-z])(?![^\W_])")
_WORD = re.compile(r" [^\W\d_]{2,}")
"""What follows "a" or "i" where they are words: "a city", and not "a or c"."""
_JOINS = {" or", " and", " but", " nor"}


def judge(response: str, problem: Problem, letters: str = "ABCDE") -> Verdict:
    """Return whether the stated letter is the gold one; an answer that names two of `letters` is none."""
    stated = stated_answer(response)
    letter = None if stated is None else _letter(stated, letters, problem.question)
    if stated is None or letter is None:
        return Verdict(False, stated, "no_answer" if stated is None else "unparsable")
    found = _LETTER.fullmatch(normalised(problem.answer))
    gold = found[1].upper() if found is not None else None
    if gold is None or gold not in letters:
        return Verdict(False, letter, "unparsable")
    return Verdict(letter == gold, letter, "correct" if letter == gold else "wrong")


def _letter(text: str, letters: str, question: str) -> str | None:
    """Return the one letter of an answer; what stands behind it names no other, unless it is the option's own text."""
    found = _LETTER.fullmatch(normalised(text))
    if found is None or found[1].upper() not in letters:
        return None
    letter, rest = found[1].upper(), found[2] or ""
    others = {other[1].upper() for other in _ALONE.finditer(rest) if not _is_word(other)} & set(letters) - {letter}
    return None if others and not _is_option(found[1], rest, question) else letter


def _is_word(letter: re.Match[str]) -> bool:
    """Whether a single letter is an article or a pronoun of the sentence that it stands in."""
    following = _WORD.match(letter.string, letter.end())
    return letter[1] in "ai" and following is not None and following[0] not in _JOINS


def _is_option(letter: str, rest: str, question: str) -> bool:
    """Whether the question offers `rest` under `letter`, whole: "(b) vitamin c (c) ..." offers "vitamin c"."""
    offered = rf"(?<![^\W_]){letter}[)\].:]+ ?{re.escape(rest)}(?=$|[.,;]?(?: [(\[]?[a-z][)\].:]))"
    return re.search(offered, normalised(question)) is not None


judge.present = lambda problem: tagged(problem.answer)  # type: ignore[attr-defined]
