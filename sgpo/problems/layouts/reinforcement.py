"""Sets made for reinforcement learning, with a prompt as chat messages: verl (DAPO), LUFFY, slime.

A system message and the publisher's instructions around the question are left out: how to answer is the trainer's
prompt. Repeated rows (DAPO has each a hundred times) are merged by the reader.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sgpo.problems.layouts.instructions import is_instructed, without_instructions
from sgpo.problems.layouts.layout import Layout
from sgpo.problems.values import FieldError, Row, answer_fields, said_by, shown


def _verl(row: Row) -> dict[str, Any]:
    rewarded, ability = row["reward_model"], row.get("ability")
    if not isinstance(rewarded, Mapping) or rewarded.get("ground_truth") is None:
        raise FieldError(f"'reward_model' is {shown(rewarded)} (expected a ground_truth)")
    if isinstance(ability, str) and "math" not in ability.lower():
        raise FieldError(f"'ability' is {shown(ability)} (expected math: an answer is judged as mathematics)")
    return {
        "question": _question(row),
        **answer_fields(rewarded["ground_truth"], "reward_model.ground_truth"),
        "source": row.get("data_source") or "verl",
    }


def _luffy(row: Row) -> dict[str, Any]:
    return {**_verl(row), "response": said_by("assistant", row["target"], "target")}


def _slime(row: Row) -> dict[str, Any]:
    return {"question": _question(row), **answer_fields(row["label"], "label")}


def _flattened(row: Row) -> dict[str, Any]:
    question = row["question"]
    asked = without_instructions(question) if isinstance(question, str) else question
    return {"question": asked, **answer_fields(row["answer"])}


def _question(row: Row) -> str:
    return without_instructions(said_by("user", row["prompt"], "prompt"))


def _is_instructed(rows: Sequence[Row]) -> bool:
    return all(is_instructed(row.get("question")) for row in rows)


_VERL = frozenset({"prompt", "reward_model"})
_USES = frozenset({"data_source", "ability"})
LAYOUTS = (
    Layout("luffy", _VERL | {"target"}, _luffy, uses=_USES),
    Layout("verl", _VERL, _verl, uses=_USES),
    Layout("slime", frozenset({"prompt", "label"}), _slime),
    Layout("dapo_flattened", frozenset({"question", "answer"}), _flattened, accepts=_is_instructed),
)
