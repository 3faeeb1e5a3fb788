r"""The answer that a response states, for verifiers of text: between <answer> tags, in a box, or behind "Answer:".

As in mathematics, thinking does not count, nothing is guessed from prose, and what was opened last must be closed.
"""

import re

from sgpo.problems.responses import answer_part, final_answer

LONGEST = 20_000
"""Characters; what is longer is no answer."""
_TAG = re.compile(r"</?answer>", re.IGNORECASE)
_LINE = re.compile(
    r"^[ \t*_#>-]{0,8}(?:the |my )?(?:final )?answer(?: is)?[ \t*_]{0,4}:[ \t*_]*(\S[^\n]*)$", re.I | re.M
)


def stated_answer(response: str) -> str | None:
    """Return the last answer between tags, else in a box, else on an "Answer:" line; None where there is none.

    An answer that is opened last and never closed (a truncated response) is none, and earlier ones do not stand in.
    """
    text = answer_part(response)
    tags = list(_TAG.finditer(text))
    if tags:
        if len(tags) < 2 or tags[-1][0][1] != "/" or tags[-2][0][1] == "/":
            return None
        found: str | None = text[tags[-2].end() : tags[-1].start()]
    elif (found := final_answer(response)) is None and r"\boxed" not in text:
        lines = _LINE.findall(text)
        found = lines[-1].rstrip(" \t*_") if lines else None
    found = (found or "").strip()
    return found if 0 < len(found) <= LONGEST else None


def tagged(answer: str) -> str:
    """Return a response that states `answer` and nothing else, whatever characters are in it."""
    return f"<answer>\n{answer}\n</answer>"
