"""What a run learns from: problems, their strategies, and a strong model's responses where the method needs them."""

from dataclasses import dataclass, field

from sgpo.algorithms import registry
from sgpo.config import ConfigError, RunConfig
from sgpo.problems import Problem, read_problems
from sgpo.problems.table import read_table
from sgpo.rollouts.chat import ChatFormat
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.contrast import contrasts_of
from sgpo.strategies.schema import StrongResponse


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """The problems to train on, and by problem id the strategy, the strong model's response, a wrong strategy."""

    problems: list[Problem]
    strategies: dict[str, str]
    responses: dict[str, str]
    contrasts: dict[str, str] = field(default_factory=dict)

    def experts(self, chat: ChatFormat) -> dict[str, tuple[int, ...]]:
        """Return the responses as token ids that end as the assistant's turn does, by problem id."""
        return {problem_id: chat.response_ids(text) for problem_id, text in self.responses.items()}


def reads_responses(config: RunConfig) -> bool:
    """Return whether a run reads the strong model's responses: its method needs them, or a warm-up goes before it."""
    return bool(config.warmup.epochs) or "responses" in registry.method(config.training.algorithm.type).needs


def load_inputs(config: RunConfig) -> TrainingInputs:
    """Read what `config.data` holds for the method of `config.training.algorithm`.

    A problem without a strategy has no guided group, and stays; one without a response is left out where the method
    needs responses. Raises ConfigError, with the method's reason, when what it needs is there for no problem at all.
    """
    problems = read_problems(config.data / "splits" / "train.parquet")
    found = load_strategies(config.data / "strategies.parquet", problems=None)
    strategies, responses = {problem_id: strategy.text() for problem_id, strategy in found.items()}, dict[str, str]()
    name = config.training.algorithm.type
    needs = registry.method(name).needs
    if "responses" in needs:
        rows = read_table(config.data / "responses.parquet", StrongResponse)
        responses = {response.problem_id: response.text for response in rows}
    for what, why in needs.items():
        there = {"strategies": strategies, "responses": responses}[what]
        if not any(problem.id in there for problem in problems):
            raise ConfigError(
                f"{config.data / what}.parquet: no {what} for any of the {len(problems)} training problems, but {why} "
                f"(expected {what} of the same data version, or another training.algorithm.type than {name})"
            )
    usable = [problem for problem in problems if problem.id in responses] if "responses" in needs else problems
    contrasts = contrasts_of(found, config.seed) if registry.build(config.training, config.seed).contrasts else {}
    return TrainingInputs(usable, strategies, responses, contrasts)
