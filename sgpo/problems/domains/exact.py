"""Answers that are text: equal after spacing, width and case of letters, quotes and final full stop are left aside."""

import re
import unicodedata

from sgpo.problems.domains.stated import stated_answer, tagged
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict

_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s?\{([^{}]*)\}")
_QUOTES = "\"'“”‘’«»`$*"


def judge(response: str, problem: Problem, case: bool = False) -> Verdict:
    """Return whether the stated answer is the gold text; `case` makes upper and lower case different."""
    stated = stated_answer(response)
    if stated is None:
        return Verdict(False, None, "no_answer")
    correct = normalised(stated, case) == normalised(problem.answer, case) != ""
    return Verdict(correct, stated, "correct" if correct else "wrong")


def normalised(text: str, case: bool = False) -> str:
    """Return a text as it is compared."""
    text = "".join(map(_plain, unicodedata.normalize("NFC", _TEXT.sub(r"\1", text))))
    text = " ".join(text.split()).strip(_QUOTES + " ").removesuffix(".").strip(_QUOTES + " ")
    return text if case else text.casefold()


def _plain(character: str) -> str:
    """Return a character without what is only its looks; 2² is not 22, and ½ is not 1⁄2."""
    looks = unicodedata.decomposition(character).partition(" ")[0]
    return character if looks in ("<super>", "<sub>", "<fraction>") else unicodedata.normalize("NFKC", character)


judge.present = lambda problem: tagged(problem.answer)  # type: ignore[attr-defined]
