"""A recording as the strong model: its requests, parsing, checks, ranking and journal are those of an endpoint."""

import json
import re
from collections.abc import Sequence

from sgpo.config.strategies import StrategyConfig
from sgpo.problems.schema import Problem
from sgpo.strategies.parsing import ParsedStrategy, parse_candidate
from sgpo.strategies.refusals import Refusal, RefusedText
from sgpo.strategies.teacher.recording import Record, Recording
from sgpo.strategies.teacher.teacher import Completion, Message, NoRecordError, TeacherError, request_seed
from sgpo.strategies.teacher.templates import inert

_QUESTION = re.compile(r"<problem>\n(.*?)\n</problem>", re.DOTALL)
_CANDIDATE = re.compile(r'<candidate index="(\d+)">\n(.*?)\n</candidate>', re.DOTALL)


class ReplayingTeacher:
    """Answers what was recorded: a response at the first try, candidate i at the i-th request, the scores as a ranking.

    A request says which it is: the problem by its question, the rest by its seed. A problem without a record, and what
    a record does not hold, is refused (NoRecordError).
    """

    def __init__(
        self, recording: Recording, problems: Sequence[Problem], settings: StrategyConfig, name: str, max_tokens: int
    ) -> None:
        self._recording, self._settings = recording, settings
        self._ids = {inert(problem.question): problem.id for problem in problems}
        self._name, self._max_tokens = name, max_tokens

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    async def complete(self, messages: Sequence[Message], *, seed: int, temperature: float | None) -> Completion:
        """Return the recorded answer to this request; NoRecordError where there is none."""
        prompt = messages[-1].content
        question = _QUESTION.search(prompt)
        problem_id = self._ids.get(question[1]) if question else None
        if problem_id is None:
            raise TeacherError(f"{self._recording.path}: asked for a question that is none of the problems'")
        record = self._recording.records.get(problem_id)
        if record is None:
            raise NoRecordError(f"{self._recording.path}: no record with the id '{problem_id}'")
        kind, index = self._request(problem_id, seed)
        if kind == "rank":
            text = _ranking(record, prompt)
        elif kind == "extract":
            text = record.candidate(index)
        elif record.response is not None and index == 1:
            text = record.response
        else:
            raise NoRecordError(f"{self._recording.path}: '{problem_id}' has no response for try {index}")
        return Completion(text, prompt_tokens=0, completion_tokens=0)

    def _request(self, problem_id: str, seed: int) -> tuple[str, int]:
        """Return what is asked for with this seed, and the number of the try or candidate."""
        most = {"respond": self._settings.tries, "extract": self._settings.candidates, "rank": self._settings.tries}
        for kind, count in most.items():
            for index in range(1, count + 1):
                if request_seed(self._settings.seed, kind, problem_id, index) == seed:
                    return kind, index
        raise TeacherError(f"{self._recording.path}: a request with a seed of another run than strategies.seed")


def records_without_problem(recording: Recording, problems: Sequence[Problem]) -> list[RefusedText]:
    """Return a refusal for every record whose id is no problem's, in the order of the file."""
    known = {problem.id for problem in problems}
    return [
        Refusal("no_problem", f"{recording.path} row {row}: no training problem has this id").of(record_id, "problem")
        for record_id, row in recording.rows.items()
        if record_id not in known
    ]


def _ranking(record: Record, prompt: str) -> str:
    """Return the scores of the candidates that the request shows, under its numbers.

    Refused candidates are not shown, so each is found by its text.
    """
    parsed = [parse_candidate(record.candidate(index)) for index in range(1, len(record.candidates) + 1)]
    texts = [inert(found.text()) if isinstance(found, ParsedStrategy) else None for found in parsed]
    entries = [
        {"index": int(number), **record.scores[texts.index(text)].model_dump()}
        for number, text in _CANDIDATE.findall(prompt)
    ]
    return json.dumps(entries)
