"""The benchmarks of competitions: MATH500, AIME 2024 and 2025, AMC 2023, OlympiadBench.

Ids are the publishers' own behind the benchmark's name, so that they can be mixed.
"""

import re
from collections.abc import Sequence
from typing import Any

from sgpo.problems.layouts.layout import Layout
from sgpo.problems.values import FieldError, Row, answer_fields, number, number_text, text_list, truth, whole_number

_LEVEL = re.compile(r"(?:Level\s*)?(\d|\?)", re.IGNORECASE)


def level(row: Row, name: str = "level") -> int | None:
    """Return the tier of a MATH level: 3, "3" or "Level 3"; None for "Level ?", as its publisher has it twice."""
    value = row.get(name)
    if isinstance(value, str):
        found = _LEVEL.fullmatch(value.strip())
        if found is None:
            raise FieldError(f"'{name}' is {value!r} (expected a number, or a level such as Level 3)")
        return None if found[1] == "?" else int(found[1])
    return None if value is None else whole_number(row, name)


def _math500(row: Row) -> dict[str, Any]:
    gold = answer_fields(row["answer"])
    return {"id": f"math500/{row['unique_id']}", "question": row["problem"], **gold, "difficulty": level(row)}


def _aime(name: str) -> Any:
    def fields(row: Row) -> dict[str, Any]:
        return {"id": f"{name}/{row['id']}", "question": row["problem"], "answer": str(whole_number(row, "answer"))}

    return fields


def _is_2025(rows: Sequence[Row]) -> bool:
    return all(str(row.get("year")) == "2025" for row in rows)


def _has_aime_answers(rows: Sequence[Row]) -> bool:
    return all(re.fullmatch(r"\d{1,3}", str(row.get("answer"))) for row in rows)


def _amc23(row: Row) -> dict[str, Any]:
    return {"id": f"amc23/{row['id']}", "question": row["problem"], "answer": number_text(row, "answer")}


def _olympiadbench(row: Row) -> dict[str, Any]:
    answers = text_list(row, "final_answer")
    context = row.get("context")
    return {
        "id": f"olympiadbench/{row['id']}",
        "question": f"{context}\n{row['question']}" if context else row["question"],
        **answer_fields(answers, "final_answer"),
        "multiple": truth(row, "is_multiple_answer") or len(answers) > 1,
        "unit": row.get("unit") or None,
        "tolerance": number(row, "error") if row.get("error") not in (None, "") else None,
    }


_AIME = frozenset({"id", "problem", "answer"})
_WITH_SOLUTION = _AIME | {"solution", "url"}
LAYOUTS = (
    Layout("math500", frozenset({"problem", "answer", "level", "unique_id"}), _math500),
    Layout("aime25", _WITH_SOLUTION | {"year"}, _aime("aime25"), ignores=frozenset({"solution", "url", "year"}),
           accepts=_is_2025),
    Layout("aime24", _WITH_SOLUTION, _aime("aime24"), ignores=frozenset({"solution", "url"})),
    Layout("amc23", _AIME | {"url"}, _amc23, absent=frozenset({"solution"}), ignores=frozenset({"url"})),
    Layout("aime25", _AIME, _aime("aime25"), absent=frozenset({"solution", "url", "level"}), accepts=_has_aime_answers),
    Layout(
        "olympiadbench",
        frozenset({"id", "question", "final_answer", "is_multiple_answer", "unit", "error"}),
        _olympiadbench,
        optional=frozenset({"unit", "error"}),
        uses=frozenset({"context"}),
    ),
)  # fmt: skip
