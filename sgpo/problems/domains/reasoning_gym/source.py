"""Problems drawn from a reasoning-gym task: a function of task, options and seed, every question once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sgpo.errors import one_line
from sgpo.problems.domains.reasoning_gym.plain_answers import may_be_scored
from sgpo.problems.domains.reasoning_gym.tasks import DOMAIN, as_json, installed_version, level_options, open_task
from sgpo.problems.domains.registry import DomainError
from sgpo.problems.schema import Problem
from sgpo.problems.values import is_blank

_SPARE = 3
"""So many questions are drawn for one that is wanted before a task is said to have too few."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Problems of a task, and how many draws were left out, and why: the names of the fields."""

    problems: list[Problem]
    repeated: int
    elsewhere: int
    without_answer: int
    refused: int

    def lines(self) -> list[str]:
        """Return what came of it in one line, then three examples."""
        counts = {"repeated": self.repeated, "in another split": self.elsewhere, "without answer": self.without_answer,
                  "whose answer the task refuses": self.refused}  # fmt: skip
        left_out = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        first = f"{self.problems[0].source}: {len(self.problems)} problems" + (
            f"; left out: {left_out}" if left_out else ""
        )
        return [first, *(f"  {one.question[-70:]!r} -> {one.answer[:70]!r}" for one in self.problems[:3])]


def draw_problems(
    task: str, size: int, seed: int, options: Mapping[str, Any], levels: int = 0, taken: Collection[str] = ()
) -> Drawn:
    """Return `size` problems of a task, evenly over `levels` of difficulty where there are any.

    Another seed gives other problems; questions in `taken` (other splits, as `text_key`) are left out. Raises
    DomainError for an unknown task or option, and where the task has fewer different questions than asked for.
    """
    counts = [size // levels + (n < size % levels) for n in range(levels)] if levels else [size]
    seen, drawn = set(taken), Drawn([], 0, 0, 0, 0)
    for place, count in enumerate(counts):
        level = place + 1 if levels else None
        chosen = level_options(task, level, options) if level else as_json(options, task)
        found = _draw(task, count, _library_seed(task, seed, level), chosen, level, seen, taken)
        drawn = Drawn(
            [*drawn.problems, *found.problems], drawn.repeated + found.repeated, drawn.elsewhere + found.elsewhere,
            drawn.without_answer + found.without_answer, drawn.refused + found.refused,
        )  # fmt: skip
    return drawn


def text_key(question: str) -> str:
    """Return a question as it is compared between splits: spacing and case apart."""
    return " ".join(question.split()).casefold()


def _draw(
    task: str, count: int, seed: int, options: Mapping[str, Any], level: int | None, seen: set[str],
    taken: Collection[str],
) -> Drawn:  # fmt: skip
    size = count * _SPARE + 20
    data_set, version = open_task(task, seed, size, options), installed_version()
    problems: list[Problem] = []
    repeated = elsewhere = without = refused = 0
    failed: list[str] = []
    for index in range(size):
        if len(problems) == count:
            break
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # a task that prints while it draws (bf)
                entry = data_set[index]
        except Exception as error:  # a task that finds no puzzle with these options, now and then or always
            failed.append(one_line(error, 100) or type(error).__name__)
            continue
        key, answer = text_key(entry["question"]), gold_of(entry)
        if key in seen:
            elsewhere, repeated = elsewhere + (key in taken), repeated + (key not in taken)
        elif answer is None:
            without += 1
        elif not may_be_scored(answer, answer, data_set) or data_set.score_answer(answer, entry) != 1.0:
            # An example of several right answers need not be one, and an integral as its own answer is none.
            refused += 1
        else:
            seen.add(key)
            details = {"task": task, "seed": seed, "size": size, "index": index, "options": options, "version": version}
            problems.append(
                Problem(
                    question=entry["question"], answer=answer, domain=DOMAIN, difficulty=level,
                    source=f"{DOMAIN}:{task}", details=json.dumps(details, sort_keys=True),
                )
            )  # fmt: skip
    if len(problems) < count:
        where = f" of level {level}" if level else ""
        raise DomainError(
            f"{DOMAIN}:{task}: {len(problems)} different questions in {size} draws{where} "
            f"({repeated} repeated, {elsewhere} in another split, {without} without answer, {refused} "
            f"whose answer the task refuses, {len(failed)} that failed"
            f"{f' with {failed[0]}' if failed else ''}; {count} were asked for: "
            "expected a smaller --size, or options with more questions)"
        )
    return Drawn(problems, repeated, elsewhere, without, refused)


def gold_of(entry: Mapping[str, Any]) -> str | None:
    """Return an entry's answer, or the example that a task with many right answers gives; None without any."""
    for answer in (entry.get("answer"), entry["metadata"].get("example_answer")):
        if answer is not None and not is_blank(str(answer)) and "\0" not in str(answer):
            return str(answer)
    return None


def _library_seed(task: str, seed: int, level: int | None) -> int:
    """Return the library's seed: its draw `index` of seed s is often its draw `index - 1` of seed s + 1."""
    text = f"{task}/{seed}/{level or 0}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:7], 16)
