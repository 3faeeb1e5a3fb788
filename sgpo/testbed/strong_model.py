"""The world's scripted strong model: a teacher that reads the question, and has a strong model's faults too.

It answers in a style that is not the student's (`strong_responses`), now and then follows the wrong plan, and writes
candidates of which some are vague, some leak the computation and some break the layout. It sees the request's text and
no more.
"""

import json
import random
import re
from collections.abc import Sequence

from sgpo.strategies.schema import CRITERIA
from sgpo.strategies.teacher.teacher import Completion, Message, TeacherError
from sgpo.testbed.ledger import Ledger
from sgpo.testbed.plans import Plan, plans_of
from sgpo.testbed.stories import QuestionError, read
from sgpo.testbed.strategies import describe
from sgpo.testbed.strong_responses import as_first_written, write_response

WRONG_RESPONSES = 0.06
WRONG_STRATEGIES = 0.05
CANDIDATE_FAULTS = ("none", "none", "none", "vague", "leak", "layout")


class ScriptedStrongModel:
    """Answers, writes strategies and ranks them, as a function of the messages and the seed."""

    name = "scripted-strong-model"

    def complete(self, messages: Sequence[Message], *, seed: int, temperature: float | None) -> Completion:
        """Complete one of the three requests of `sgpo/strategies/teacher/prompts`; TeacherError for any other text."""
        prompt = messages[-1].content
        question = _between("problem", prompt)
        try:
            ledger, plan = read(question)
        except QuestionError as error:
            raise TeacherError(f"{self.name}: {error}") from None
        choose = random.Random(f"{seed}/{_as_first_worded(prompt, ledger, plan)}")
        if prompt.startswith("Answer"):
            text = self._respond(ledger, plan, choose)
        elif prompt.startswith("Write"):
            text = self._candidate(ledger, plan, choose)
        elif prompt.startswith("Rank"):
            text = self._ranking(ledger, plan, prompt, choose)
        else:
            raise TeacherError(f"{self.name}: not a request it knows: {prompt.splitlines()[0]!r}")
        return Completion(text, prompt_tokens=len(prompt.split()), completion_tokens=len(text.split()))

    def _respond(self, ledger: Ledger, right: Plan, choose: random.Random) -> str:
        plan = choose.choice(_plans_beside(right)) if choose.random() < WRONG_RESPONSES else right
        return write_response(ledger, plan, choose)

    def _candidate(self, ledger: Ledger, right: Plan, choose: random.Random) -> str:
        plan = choose.choice(_plans_beside(right)) if choose.random() < WRONG_STRATEGIES else right
        problem_type, approach, steps = describe(plan, choose)
        fault = choose.choice(CANDIDATE_FAULTS)
        if fault == "layout":
            return f"I would say that this is a {problem_type.lower()}. {approach} Then one goes on as usual."
        if fault == "vague":
            problem_type, approach, steps = "Word problem", "Think about it with care.", ("Read.", "Reason.", "Answer.")
        if fault == "leak":
            steps = (*steps[:-1], f"{steps[-1]} It makes {ledger.answer(plan)}.")
        numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
        return f"Problem type: {problem_type}\nStrategy: {approach}\nSteps:\n{numbered}"

    def _ranking(self, ledger: Ledger, right: Plan, prompt: str, choose: random.Random) -> str:
        blocks = re.findall(r'<candidate index="(\d+)">\n(.*?)\n</candidate>', prompt, flags=re.DOTALL)
        return json.dumps(
            [{"index": int(index), **self._scores(ledger, right, text, choose)} for index, text in blocks]
        )

    def _scores(self, ledger: Ledger, right: Plan, text: str, choose: random.Random) -> dict[str, float]:
        named = [plan for plan in _plans_beside(right) if plan.name.lower() in text.lower()]
        fits = bool(named) and max(named, key=lambda plan: len(plan.name)) == right
        vague = "word problem" in text.lower()
        base = dict(
            zip(CRITERIA, (0.2 if vague else 0.9, 0.9 if fits else 0.2, 0.3 if vague else 0.9, 0.95), strict=True)
        )
        stated = re.findall(r"(?<=\w )\d+", text)  # a step's number follows no word
        if str(ledger.answer(right)) in stated:
            base["no_leak"] = 0.1
        return {name: round(min(1.0, max(0.0, value + choose.uniform(-0.15, 0.1))), 2) for name, value in base.items()}


def _plans_beside(plan: Plan) -> tuple[Plan, ...]:
    """Return all plans of the world that this one is of."""
    return plans_of(len(plan.choices))


def _as_first_worded(prompt: str, ledger: Ledger, plan: Plan) -> str:
    """Return a request with its response, if it has one of this model's, in the words in which it once came."""
    block = re.search(r"(?<=<response>\n).*?(?=\n</response>)", prompt, flags=re.DOTALL)
    first = as_first_written(block[0], ledger, plan) if block else None
    return prompt if block is None or first is None else prompt[: block.start()] + first + prompt[block.end() :]


def _between(tag: str, prompt: str) -> str:
    match = re.search(rf"<{tag}>\n(.*?)\n</{tag}>", prompt, flags=re.DOTALL)
    if match is None:
        raise TeacherError(f"the request has no <{tag}> … </{tag}> part")
    return match.group(1)
