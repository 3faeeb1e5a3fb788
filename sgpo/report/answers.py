"""An answer in a few words: whether it was cut, why it does not count, and what was taken from it."""

from collections.abc import Mapping
from typing import Any

from sgpo.problems.domains.registry import MATH
from sgpo.problems.domains.wording import reason_in_words

LONGEST = 60
"""Characters of an extracted answer; a program is longer."""


def answer_in_words(row: Mapping[str, Any], domain: str = MATH) -> str:
    """Return the words for a kept answer: `finish_reason`, `reward`, `reason`, `extracted` and `tokens`, if known."""
    cut = "cut at the limit" if row.get("finish_reason") == "length" else ""
    right = float(row["reward"]) > 0
    extracted = shorten(str(row["extracted"]), LONGEST) if row.get("extracted") else ""
    words = [
        cut, "" if right else reason_in_words(str(row.get("reason") or ""), domain),
        f"answer {extracted}" if extracted else "", f"{row['tokens']} tokens" if "tokens" in row else "",
    ]  # fmt: skip
    return ", ".join(filter(None, words))


def shorten(text: str, longest: int) -> str:
    """Return a text in one line, its middle left out where it is longer than `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest // 2]} … {line[-(longest // 2) :]}"
