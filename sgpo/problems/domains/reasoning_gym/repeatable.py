"""Whether another process draws the same problems: some tasks go through a set, whose order is each process's own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence

from sgpo.errors import one_line
from sgpo.problems.domains.registry import DomainError
from sgpo.problems.schema import Problem

_CHILD = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


def refuse_unrepeatable(problems: Sequence[Problem]) -> None:
    """Raise DomainError where another process draws other questions, or refuses a gold: verdicts come from others."""
    if failed := drawn_otherwise(problems):
        raise DomainError(
            f"{problems[0].source}: {len(failed)} of {len(problems)} problems are others in another process (the task "
            "goes through a Python set), so that nothing could judge them (expected another task or other options)"
        )


def drawn_otherwise(problems: Sequence[Problem]) -> list[str]:
    """Return the ids of problems that a process which hashes text otherwise draws otherwise, or whose gold fails there.

    Raises DomainError where that process does not come through.
    """
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(path=sys.path, module=__name__)],
        input=json.dumps([problem.model_dump(mode="json") for problem in problems]), capture_output=True, text=True,
        env={**os.environ, "PYTHONHASHSEED": seed}, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise DomainError(f"{problems[0].source}: drawing again failed: {one_line(done.stderr[-300:], 300)}")
    return json.loads(done.stdout)


def main() -> None:
    """Read problems from stdin and write the ids of those that this process cannot judge."""
    problems = [Problem.model_validate(row) for row in json.load(sys.stdin)]
    with contextlib.redirect_stdout(sys.stderr):  # a task that prints while it draws (bf)
        failed = [problem.id for problem in problems if not _is_drawn_here(problem)]
    json.dump(failed, sys.stdout)


def _is_drawn_here(problem: Problem) -> bool:
    from sgpo.problems.domains.reasoning_gym.judge import entry_of

    try:
        data_set, entry = entry_of(problem)
        return data_set.score_answer(problem.answer, entry) == 1.0
    except Exception:  # a draw that fails, or a scorer: here it did not
        return False
