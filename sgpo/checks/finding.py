"""One line of the table: what was looked at, the verdict, what was found, and the cure."""

import re
from dataclasses import asdict, dataclass
from typing import Literal

from sgpo.errors import UserError

Verdict = Literal["ok", "warning", "wrong", "skipped"]
"""`wrong`: training would fail, or could not learn. `skipped`: it could not be looked at here; `found` says why."""

_CURE = re.compile(r"\s*\((?:expected )?((?:[^()]|\([^()]*\))*)\)\.?$")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `cure` says what to do and is empty where nothing is to be done."""

    group: str
    what: str
    verdict: Verdict
    found: str
    cure: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as a JSON object."""
        return asdict(self)


def refusal(group: str, what: str, error: UserError, cure: str = "") -> Finding:
    """Return an error that a run would end with as `wrong`; what the message expects is the cure, unless one is given.

    Messages of this project end with what would be right, in brackets.
    """
    text = str(error)
    said = _CURE.search(text)
    if said is None or cure:
        return Finding(group, what, "wrong", text, cure)
    return Finding(group, what, "wrong", text[: said.start()], said[1])


def shown_ids(ids: list[str], most: int = 3) -> str:
    """Return the first ids, quoted, and how many there are beside them."""
    named = ", ".join(f"'{name}'" for name in ids[:most])
    return named + (f" and {len(ids) - most} more" if len(ids) > most else "")
