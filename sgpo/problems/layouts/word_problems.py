"""Word problems of primary school: GSM8K (plain and socratic), SVAMP, ASDiv, and this project's own with equations.

The published solutions are written by hand and end in no box, so none of them is a strong model's `response`. An
equation is worked out into a short one.
"""

import re
from collections.abc import Sequence
from typing import Any

from sgpo.problems.equations import worked_out
from sgpo.problems.layouts.layout import Layout
from sgpo.problems.responses import after_marks
from sgpo.problems.values import FieldError, Row, number_text, shown, text

_COUNTED = re.compile(r"(?P<value>[^()]+?)\s*(?:\((?P<unit>[^()]+)\))?")


def _gsm8k(row: Row) -> dict[str, Any]:
    solution = row["answer"]
    final = after_marks(solution) if isinstance(solution, str) else None
    if final is None:
        raise FieldError(f"'answer' is {shown(solution)} (expected a solution that ends with #### and the answer)")
    return {"question": row["question"], "answer": final, **({"id": row["id"]} if row.get("id") else {})}


def _ends_with_marks(rows: Sequence[Row]) -> bool:
    return any(isinstance(row.get("answer"), str) and after_marks(row["answer"]) is not None for row in rows)


def _is_socratic(rows: Sequence[Row]) -> bool:
    return _ends_with_marks(rows) and all(" ** " in str(row.get("answer")) for row in rows)


def _svamp(row: Row) -> dict[str, Any]:
    return {
        "id": f"svamp/{row['ID']}",
        "question": _joined(text(row, "Body"), text(row, "Question")),
        "answer": number_text(row, "Answer"),
    }


def _asdiv(row: Row) -> dict[str, Any]:
    parts = [_COUNTED.fullmatch(part.strip()) for part in text(row, "answer").split(";")]
    if not all(parts):
        raise FieldError(f"'answer' is {shown(row['answer'])} (expected an answer such as 9 (apples))")
    found = [part for part in parts if part]
    gold = {"answer": ", ".join(part["value"] for part in found), "multiple": len(found) > 1}
    unit = {"unit": found[0]["unit"]} if len(found) == 1 else {}
    return {"question": _joined(text(row, "body"), text(row, "question")), **gold, **unit}


def _with_equation(row: Row) -> dict[str, Any]:
    answer = number_text(row, "answer")
    optional = {name: row[key] for key, name in (("id", "id"), ("tier", "difficulty")) if row.get(key) is not None}
    response = worked_out(text(row, "equation"), answer)
    return {"question": text(row, "question"), "answer": answer, "response": response, **optional}


def _joined(body: str, question: str) -> str:
    """Body and question in one text; SVAMP's bodies may lack their last full stop."""
    body = body.strip()
    stop = "" if not body or body.endswith((".", "!", "?", ",", ":", ";", '"')) else "."
    return f"{body}{stop} {question.strip()}".strip()


_SOLVED = frozenset({"question", "answer"})
LAYOUTS = (
    Layout("gsm8k_socratic", _SOLVED, _gsm8k, uses=frozenset({"id"}), accepts=_is_socratic),
    Layout("gsm8k", _SOLVED, _gsm8k, uses=frozenset({"id"}), accepts=_ends_with_marks),
    Layout("svamp", frozenset({"ID", "Body", "Question", "Answer"}), _svamp),
    Layout(
        "word_problems",
        frozenset({"question", "answer", "equation"}),
        _with_equation,
        absent=frozenset({"response"}),
        uses=frozenset({"id", "tier"}),
    ),
    Layout("asdiv", frozenset({"body", "question", "answer", "formula"}), _asdiv, ignores=frozenset({"formula"})),
)
