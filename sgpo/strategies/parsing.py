"""What the teacher wrote, read into records: one strategy, or the scores of all candidates. Nothing here raises."""

import math
import re
from dataclasses import dataclass
from typing import Any

from sgpo.strategies.json_answers import json_values, letters
from sgpo.strategies.layout import Part, find_sections, join_lines, list_items, plain, without_marker
from sgpo.strategies.refusals import Reason, Refusal
from sgpo.strategies.schema import CRITERIA

MAX_CHARACTERS = 100_000
"""An answer longer than this, its reasoning not counted, is no strategy and is not read."""

_REASONING_END = re.compile(r"</\s?(?:think|thinking|thought|reasoning)\s?>", re.IGNORECASE)
_REASONING_START = re.compile(r"<\s?(?:think|thinking|thought|reasoning)\s?>", re.IGNORECASE)
_JSON_START = re.compile(r"(?:```\w*\s*)?\{\s*\"")
_CUT_SHORT = re.compile(r"(?:[,(\[{=+]|\b(?:and|or|the|an|of|to|by|with|from|then|using))$", re.I)
_PLACEHOLDER = re.compile(r"[\W_]*|\[[^\[\]]*\]|<[^<>]*>|n/?a|none|tbd|\.\.\..*", re.IGNORECASE)
_KEYS: dict[Part, tuple[str, ...]] = {
    "problem_type": ("problemtype", "type", "category", "problemcategory", "typeofproblem"),
    "approach": ("strategy", "approach", "method", "technique", "principle", "keystrategy", "corestrategy"),
    "steps": ("steps", "proceduralsteps", "procedure", "plan", "orderedsteps", "highlevelsteps"),
}
_MISSING: dict[Part, Reason] = {
    "problem_type": "missing_problem_type",
    "approach": "missing_strategy",
    "steps": "missing_steps",
}
_NAMES: dict[Part, str] = {"problem_type": "problem type", "approach": "strategy", "steps": "steps"}


@dataclass(frozen=True, slots=True)
class ParsedStrategy:
    """The three parts of a strategy as the teacher wrote them, without markup and step markers."""

    problem_type: str
    approach: str
    steps: tuple[str, ...]

    def text(self) -> str:
        """Return the strategy in the layout that the prompt asks for."""
        steps = "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, start=1))
        return f"Problem type: {self.problem_type}\nStrategy: {self.approach}\nSteps:\n{steps}"


def parse_candidate(text: str) -> ParsedStrategy | Refusal:
    """Read one strategy from a model's answer: labelled sections in Markdown, XML or plain text, or a JSON object."""
    answer = _after_reasoning(text)
    if isinstance(answer, Refusal):
        return answer
    objects = [found for value in json_values(answer) for found in _strategy_objects(value)]
    if len(objects) > 1:
        return Refusal("several_strategies", f"{len(objects)} strategies in one answer (expected one)")
    if objects:
        return _checked(*_parts_of_object(objects[0]))
    if _JSON_START.match(answer):
        return Refusal("not_a_strategy", f"JSON that is cut off or has not the three parts: {_excerpt(answer)}")
    sections = find_sections(answer)
    if sections.problem_types > 1:
        return Refusal("several_strategies", f"{sections.problem_types} problem types in one answer (expected one)")
    if not sections.lines:
        return Refusal("not_a_strategy", f"none of the three parts: {_excerpt(answer)}")
    lines = sections.lines
    return _checked(
        join_lines(lines.get("problem_type", [])),
        join_lines(lines.get("approach", [])),
        tuple(list_items(lines.get("steps", []))),
    )


def parse_ranking(text: str, count: int) -> list[dict[str, float]] | Refusal:
    """Read the scores of `count` candidates from a model's answer: one {criterion: 0.0-1.0} per candidate, in order.

    Accepts a list, one object per line, {"ranking": [...]} and {"1": {...}}; candidates numbered from 0 or 1.
    """
    answer = _after_reasoning(text)
    if isinstance(answer, Refusal):
        return answer
    entries = [entry for value in json_values(answer) for entry in _score_entries(value)]
    if not entries:
        return Refusal("not_a_ranking", f"no JSON object with scores: {_excerpt(answer)}")
    indexed: dict[int, dict[str, float]] = {}
    for position, entry in enumerate(entries, start=1):
        index = _index(entry, position)
        scores = _scores(entry, index)
        if isinstance(scores, Refusal):
            return scores
        if index in indexed:
            return Refusal("incomplete_ranking", f"candidate {index} is scored twice")
        indexed[index] = scores
    first = 0 if 0 in indexed else 1
    expected = range(first, first + count)
    if set(indexed) != set(expected):
        found = ", ".join(map(str, sorted(indexed)))
        return Refusal("incomplete_ranking", f"scores for candidates {found} (expected 1 to {count})")
    return [indexed[index] for index in expected]


def _after_reasoning(text: str) -> str | Refusal:
    """Return the answer behind the reasoning, or why there is none."""
    ends = list(_REASONING_END.finditer(text))
    answer = text[ends[-1].end() :] if ends else text
    if start := _REASONING_START.search(answer):
        if not answer[: start.start()].strip():
            return Refusal("truncated", "the reasoning does not end")
        answer = answer[: start.start()]
    if not answer.strip():
        return Refusal("empty", "nothing behind the reasoning" if ends else "an empty answer")
    if len(answer) > MAX_CHARACTERS:
        return Refusal("too_long", f"{len(answer)} characters (expected at most {MAX_CHARACTERS})")
    return answer.strip()


def _checked(problem_type: str, approach: str, steps: tuple[str, ...]) -> ParsedStrategy | Refusal:
    contents: dict[Part, tuple[str, ...]] = {
        "problem_type": (problem_type,) if problem_type else (),
        "approach": (approach,) if approach else (),
        "steps": steps,
    }
    for part, texts in contents.items():
        if not texts:
            return Refusal(_MISSING[part], f"no {_NAMES[part]} in the answer")
        for text in texts:
            if _PLACEHOLDER.fullmatch(text):
                return Refusal("placeholder", f"the {_NAMES[part]} says only {_excerpt(text)}")
    if _CUT_SHORT.search(steps[-1]):
        return Refusal("truncated", f"the last step stops in mid-sentence: {_excerpt(steps[-1][-60:])}")
    if len(steps) < 2:
        return Refusal("missing_steps", f"one step (expected at least two, in order): {_excerpt(' '.join(steps))}")
    return ParsedStrategy(problem_type, approach, steps)


def _strategy_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in `value` that hold at least two of the three parts, also below a wrapping key."""
    pending: list[Any] = [value]
    found: list[dict[str, Any]] = []
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        elif isinstance(item, dict):
            if sum(_value_of(item, part) is not None for part in _KEYS) >= 2:
                found.append(item)
            else:
                pending.extend(reversed(item.values()))
    return found


def _value_of(item: dict[str, Any], part: Part) -> Any:
    values = {letters(key): value for key, value in item.items()}
    return next((values[key] for key in _KEYS[part] if values.get(key) is not None), None)


def _parts_of_object(item: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    return (
        join_lines(_texts(_value_of(item, "problem_type"))),
        join_lines(_texts(_value_of(item, "approach"))),
        _steps(_value_of(item, "steps")),
    )


def _steps(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(list_items(value.splitlines()))
    return tuple(step for step in map(without_marker, _texts(value)) if step)


def _texts(value: Any) -> list[str]:
    """Return the text in a JSON value: a string, a list of strings, or objects whose longest string it is."""
    if isinstance(value, str):
        return [plain(value)]
    if isinstance(value, dict):
        strings = [child for child in value.values() if isinstance(child, str)]
        numbered = all(re.search(r"\d", str(key)) for key in value)
        return [plain(text) for text in (strings if numbered else sorted(strings, key=len)[-1:])]
    if isinstance(value, list):
        return [text for child in value if not isinstance(child, list) for text in _texts(child)]
    return []


def _score_entries(value: Any) -> list[dict[str, Any]]:
    """Return the objects in `value` that hold scores; a key that is a number becomes the candidate's index."""
    pending: list[Any] = [value]
    found: list[dict[str, Any]] = []
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        elif isinstance(item, dict):
            nested = next(
                (child for key, child in item.items() if letters(key) == "scores" and isinstance(child, dict)), {}
            )
            entry = {letters(key): child for key, child in {**item, **nested}.items()}
            if any(letters(criterion) in entry for criterion in CRITERIA):
                found.append(entry)
            else:
                pending.extend(_numbered(key, child) for key, child in reversed(item.items()))
    return found


def _numbered(key: str, child: Any) -> Any:
    number = re.search(r"[0-9]{1,3}", key)
    return {"index": int(number[0]), **child} if number and isinstance(child, dict) else child


def _index(entry: dict[str, Any], position: int) -> int:
    for key in ("index", "candidate", "candidateindex", "id", "number"):
        value = entry.get(key)
        if isinstance(value, int | str) and (digits := re.fullmatch(r"\D*([0-9]{1,3})\D*", str(value))):
            return int(digits[1])
    return position


def _scores(entry: dict[str, Any], index: int) -> dict[str, float] | Refusal:
    scores: dict[str, float] = {}
    for criterion in CRITERIA:
        value = entry.get(letters(criterion))
        score = _number(value)
        if score is None:
            return Refusal(
                "incomplete_ranking", f"candidate {index}: {criterion} is {_scalar(value)} (expected 0.0 to 1.0)"
            )
        if not 0.0 <= score <= 1.0:
            return Refusal("score_out_of_range", f"candidate {index}: {criterion} is {score:g} (expected 0.0 to 1.0)")
        scores[criterion] = score
    return scores


def _number(value: Any) -> float | None:
    """Return a finite number from a JSON number, or from text such as "0.8" and "0.8/1.0"."""
    if isinstance(value, str) and (
        text := re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,30})?)\s*(?:/\s*1(?:\.0*)?)?\s*", value)
    ):
        return float(text[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9 or not math.isfinite(value):
        return None
    return float(value)


def _scalar(value: Any) -> str:
    return _excerpt(str(value)) if isinstance(value, str | int | float) else f"of type {type(value).__name__}"


def _excerpt(text: str, length: int = 80) -> str:
    line = " ".join(text.split())
    return f"'{line if len(line) <= length else line[: length - 1] + '…'}'"
