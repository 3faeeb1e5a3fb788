"""The same question twice: merged where the answer is the same, refused where it is not."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from sgpo.problems.answers import clean, read_number, same_text
from sgpo.problems.rows import ProblemFileError
from sgpo.problems.schema import Problem
from sgpo.problems.values import shown


class DistinctProblems:
    """Problems of one or several files with every question and every id once, in the order they came."""

    def __init__(self) -> None:
        """Begin with none."""
        self.problems: list[Problem] = []
        self._questions: dict[str, tuple[Problem, Path, int]] = {}
        self._ids: dict[str, tuple[Path, int]] = {}

    def add(self, problem: Problem, file: Path, row: int) -> bool:
        """Add the problem of a row; False where its question, spacing apart, is there with the same answer.

        Raises ProblemFileError naming both rows where the question has another answer, or the id another question.
        """
        key = " ".join(problem.question.split())
        if key in self._questions:
            first, there, number = self._questions[key]
            if not _same_answer(first, problem):
                answers = f"the answer {shown(first.answer)} there and {shown(problem.answer)} here"
                raise ProblemFileError(
                    f"{file} row {row}: the question of {_place(there, number, file)} has {answers} "
                    "(expected one answer to one question)"
                )
            return False
        if problem.id in self._ids:
            there = _place(*self._ids[problem.id], file)
            raise ProblemFileError(
                f"{file} row {row}: id '{problem.id}' is already the id of {there} (expected every id once)"
            )
        self._questions[key], self._ids[problem.id] = (problem, file, row), (file, row)
        self.problems.append(problem)
        return True


def refuse_shared(where: str, problems: Sequence[Problem], other_file: Path, others: Sequence[Problem]) -> None:
    """Raise ProblemFileError where a problem is in two splits by id or question, letters' case and spacing apart.

    Rewordings are not found.
    """
    ids = {problem.id: problem.id for problem in others}
    questions = {plain_question(problem.question): problem.id for problem in others}
    shared = [
        (problem.id, match)
        for problem in problems
        if (match := ids.get(problem.id) or questions.get(plain_question(problem.question))) is not None
    ]
    if shared:
        (name, match), more = shared[0], f", and {len(shared) - 1} more are" if len(shared) > 1 else ""
        raise ProblemFileError(
            f"{where}: problem '{name}' is in {other_file} too, as '{match}'{more} "
            "(expected every id and every question in one file and one split)"
        )


def plain_question(question: str) -> str:
    """Return a question as it is compared: width, case and spacing apart."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def _place(file: Path, row: int, here: Path) -> str:
    return f"row {row}" if file == here else f"{file} row {row}"


def _same_answer(one: Problem, other: Problem) -> bool:
    """Whether two golds are the same text or number, judged in the same way."""
    if (one.multiple, one.unit, one.tolerance) != (other.multiple, other.unit, other.tolerance):
        return False
    first, second = clean(one.answer), clean(other.answer)
    numbers = read_number(first), read_number(second)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0].value == numbers[1].value
    return same_text(first, second)
