"""From problem, response and candidates to the messages of a request: versioned templates in `prompts/`."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

from sgpo.config.domains import Prompts
from sgpo.problems.schema import Problem
from sgpo.strategies.parsing import ParsedStrategy
from sgpo.strategies.teacher.teacher import Message

VERSIONS: dict[Prompts, str] = {"mathematics": "v1", "logic": "logic-v1", "code": "code-v1"}
"""The folders of `prompts/` in use. A changed wording gets a new folder, since records name the one they came from."""
PROMPT_VERSION = VERSIONS["mathematics"]

_MARKER = re.compile(r"<(?=/?(?:problem|response|candidate)\b)", re.IGNORECASE)


def prompts_of_version(version: str) -> Prompts:
    """Return the domain whose wording a record's `prompt_version` is; mathematics for versions of any other kind."""
    family, dash, _ = version.rpartition("-")
    families: list[Prompts] = [prompts for prompts in VERSIONS if dash and prompts == family]
    return families[0] if families else "mathematics"


def respond_request(problem: Problem, prompts: Prompts = "mathematics") -> list[Message]:
    """Ask for a full solution."""
    return _request("respond", prompts, question=inert(problem.question))


def extract_request(problem: Problem, response: str, max_words: int, prompts: Prompts = "mathematics") -> list[Message]:
    """Ask for one strategy candidate."""
    question = inert(problem.question)
    return _request("extract", prompts, question=question, response=inert(response), max_words=str(max_words))


def rank_request(
    problem: Problem, response: str, candidates: Sequence[ParsedStrategy], prompts: Prompts = "mathematics"
) -> list[Message]:
    """Ask for scores of all candidates at once; they are numbered from 1."""
    blocks = (
        f'<candidate index="{number}">\n{inert(candidate.text())}\n</candidate>'
        for number, candidate in enumerate(candidates, start=1)
    )
    return _request(
        "rank",
        prompts,
        question=inert(problem.question),
        response=inert(response),
        candidates="\n\n".join(blocks),
        count=str(len(candidates)),
    )


@cache
def _template(name: str, prompts: Prompts) -> Template:
    path = files("sgpo.strategies.teacher") / "prompts" / VERSIONS[prompts] / f"{name}.txt"
    return Template(path.read_text(encoding="utf-8"))


def _request(name: str, prompts: Prompts, **values: str) -> list[Message]:
    # One user turn: DeepSeek-R1's usage notes advise against a system prompt.
    return [Message("user", _template(name, prompts).substitute(values))]


def inert(text: str) -> str:
    """Return text that cannot close or open one of our own markers: a space goes behind the bracket."""
    return _MARKER.sub("< ", text.strip())
