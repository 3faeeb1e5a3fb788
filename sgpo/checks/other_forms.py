r"""Where the right answer stands in a response that has it in no box: after ####, after "the answer is", or last.

The reward does not change by this: it tells a person that the model can do the problem and not the form.
"""

import re
from collections.abc import Callable

from sgpo.problems.answers import clean, read_number, same_text
from sgpo.problems.responses import after_marks
from sgpo.problems.schema import Problem

_STATED = re.compile(r"(?:final answer|answer)\s*(?:is|:|=)\s*:?\s*([^\n]{1,200})", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


def other_form(text: str, problem: Problem) -> str | None:
    """Return the name of the form in which a response without a box has the gold, or None where it has not."""
    for name, read in _FORMS.items():
        if (said := read(text)) is not None and _same(problem.answer, said):
            return name
    return None


def _stated(text: str) -> str | None:
    found = _STATED.findall(text)
    return re.split(r"\.\s|\.$", found[-1])[0].strip(" *$:") if found else None


def _last_number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    return found[-1] if found else None


_FORMS: dict[str, Callable[[str], str | None]] = {
    "after ####": after_marks, "'the answer is …'": _stated, "the last number": _last_number,
}  # fmt: skip


def _same(gold: str, said: str) -> bool:
    one, other = clean(after_marks(gold) or gold), clean(said.replace(",", ""))
    numbers = read_number(one), read_number(other)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0].value == numbers[1].value
    return same_text(one, other)
