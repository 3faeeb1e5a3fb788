"""A small scripted teacher for sums: it leaks, misshapes and cuts off some answers, as its seed has it, and counts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence

from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict
from sgpo.strategies.teacher.teacher import Completion, Message

_COUNTS = ((23, 18), (31, 27), (40, 19), (52, 29), (17, 16), (64, 21), (35, 38), (28, 47))
_QUESTION = "A shelf holds {a} books and {b} more arrive. How many books are there?"
PROBLEMS = [Problem(id=f"sum-{a}-{b}", question=_QUESTION.format(a=a, b=b), answer=str(a + b)) for a, b in _COUNTS]


def verify(text: str, problem: Problem) -> Verdict:
    boxed = re.findall(r"\\boxed\{(\d+)\}", text)
    extracted = boxed[-1] if boxed else None
    correct = extracted == problem.answer
    return Verdict(correct, extracted, "correct" if correct else "wrong" if extracted else "no_answer")


class ArithmeticTeacher:
    """Answers, describes or ranks, by the prompt's first line. `before` is called with the number of each request."""

    def __init__(self, before: Callable[[int], None] | None = None) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self._before = before

    @property
    def name(self) -> str:
        return "arithmetic-1"

    @property
    def max_tokens(self) -> int:
        return 4096

    async def complete(self, messages: Sequence[Message], *, seed: int, temperature: float) -> Completion:
        prompt = messages[-1].content
        if self._before is not None:
            self._before(sum(self.requests.values()) + 1)
        self.requests[prompt, seed] += 1
        kind = prompt.split(maxsplit=1)[0]
        finish = "length" if kind != "Rank" and seed % 11 == 0 else "stop"
        text = {"Answer": self._answer, "Write": self._describe, "Rank": self._rank}[kind](prompt, seed)
        return Completion(text, len(prompt.split()), len(text.split()), finish)

    def _numbers(self, prompt: str) -> tuple[int, int]:
        question = re.search(r"<problem>(.*?)</problem>", prompt, re.DOTALL)
        assert question is not None
        first, second = re.findall(r"\d+", question[1])
        return int(first), int(second)

    def _answer(self, prompt: str, seed: int) -> str:
        first, second = self._numbers(prompt)
        total = first + second + (10 if seed % 2 == 0 else 0)
        return f"<think>{first} and {second}.</think>The sum is \\boxed{{{total}}}."

    def _describe(self, prompt: str, seed: int) -> str:
        total = sum(self._numbers(prompt))
        good = (
            "Problem type: Sum of two counts\nStrategy: Add by place value.\n"
            "Steps:\n1. Add the ones.\n2. Carry to the tens."
        )
        return (
            good,
            good.replace("Problem type", "**Problem type**") + f"\n3. Note variant {'abcdefgh'[seed % 8]}.",
            good + f"\n3. State that there are {total}.",
            good + f"\n3. Write the tens first, which makes {total - total % 10 + 1000}.",
            "I would simply add the two numbers.",
            good.replace("Steps:\n1.", "Remember to"),
            good + "\n3. Write " + "very " * 300 + "long.",
        )[seed % 7]

    def _rank(self, prompt: str, seed: int) -> str:
        count = len(re.findall(r'<candidate index="\d+">', prompt))
        if seed % 4 == 0:
            return "All of them are good."
        criteria = ("problem_type", "strategy", "steps", "no_leak")
        rows = [
            {"index": index, **{name: ((seed >> index) + place) % 9 / 8 for place, name in enumerate(criteria)}}
            for index in range(1, count + 1)
        ]
        return f"Here are the scores:\n```json\n{json.dumps(rows)}\n```"
