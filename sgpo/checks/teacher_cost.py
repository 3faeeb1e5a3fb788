"""What the strong model will be asked: requests, tokens and their price, before the first one is sent.

Prompts are written and counted, four bytes a token. How long its answers will be nobody knows: of responses that come
with the problems their mean, else ASSUMED tokens, as of an endpoint that counts its reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sgpo.amounts import shown_tokens
from sgpo.checks.finding import Finding
from sgpo.config.pipeline import PipelineParams
from sgpo.config.strategies import TeacherConfig
from sgpo.problems import Problem
from sgpo.strategies.teacher.templates import extract_request, respond_request

GROUP = "estimate"
ASSUMED_RESPONSE, ASSUMED_STRATEGY, ASSUMED_RANKING = 2000, 300, 200
_BYTES_A_TOKEN = 4
_SAMPLE = 64
"""Problems whose prompts are counted, evenly over the file; the others are taken to be alike."""


@dataclass(frozen=True, slots=True)
class TeacherCost:
    """Requests and tokens of one stage, and their price where prices are set; `assumed` tokens of a response."""

    requests: int
    prompt_tokens: float
    completion_tokens: float
    assumed: int

    def price(self, config: TeacherConfig) -> float | None:
        """Return what it costs by the prices of params.yaml; None without them."""
        if config.prompt_price is None or config.completion_price is None:
            return None
        return (self.prompt_tokens * config.prompt_price + self.completion_tokens * config.completion_price) / 1e6

    def describe(self, config: TeacherConfig) -> str:
        """Return it in a line."""
        price = self.price(config)
        told = "" if price is None else f", price about {price:,.2f}"
        tokens = (
            f"{shown_tokens(self.prompt_tokens)} tokens to read and {shown_tokens(self.completion_tokens)} to write"
        )
        return f"about {self.requests:,} requests, {tokens}{told} (responses of {self.assumed:,} tokens assumed)"


def responses_cost(problems: Sequence[Problem]) -> TeacherCost:
    """Return the cost of asking once for each response that does not come with its problem."""
    missing = [problem for problem in problems if problem.response is None]
    assumed = _response_tokens(problems)
    prompt = _mean([_tokens("".join(one.content for one in respond_request(problem))) for problem in _some(missing)])
    return TeacherCost(len(missing), len(missing) * prompt, float(len(missing) * assumed), assumed)


def strategies_cost(params: PipelineParams, problems: Sequence[Problem]) -> TeacherCost:
    """Return the cost of `candidates` strategies and one ranking for every problem."""
    settings, assumed, number = params.strategies, _response_tokens(problems), len(problems)
    frame = _mean([
        _tokens("".join(one.content for one in extract_request(problem, "", settings.max_words)))
        for problem in _some(problems)
    ])  # fmt: skip
    reading = settings.candidates * (frame + assumed) + frame + assumed + settings.candidates * ASSUMED_STRATEGY
    writing = settings.candidates * ASSUMED_STRATEGY + ASSUMED_RANKING
    requests = number * (settings.candidates + 1)
    return TeacherCost(requests, number * reading, float(number * writing), assumed)


def estimate_teacher(params: PipelineParams, data: Path, problems: Sequence[Problem]) -> list[Finding]:
    """Return lines for what is still to be asked: responses and strategies that are there already are not."""
    if params.teacher.kind in ("scripted", "recorded"):
        return []
    stages = {
        "responses": (data / "responses.parquet", responses_cost(problems)),
        "strategies": (data / "strategies.parquet", strategies_cost(params, problems)),
    }
    return [
        Finding(GROUP, f"teacher, {name}", "ok", cost.describe(params.teacher))
        for name, (file, cost) in stages.items()
        if not file.is_file() and cost.requests
    ]


def _response_tokens(problems: Sequence[Problem]) -> int:
    given = [_tokens(problem.response) for problem in problems if problem.response is not None]
    return round(_mean(given)) if given else ASSUMED_RESPONSE


def _some(problems: Sequence[Problem]) -> Sequence[Problem]:
    return problems[:: max(1, len(problems) // _SAMPLE)]


def _tokens(text: str) -> float:
    return len(text.encode()) / _BYTES_A_TOKEN


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
