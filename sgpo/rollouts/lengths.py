"""Problems that are too long for a model, found before anything is sampled: prompts are never cut."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import AutoConfig

from sgpo.config import ChatConfig, EngineConfig
from sgpo.problems import Problem
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import PromptTooLongError, unwindowed_positions
from sgpo.rollouts.model_folder import open_chat, open_ending_tokenizer

_NAMED = 5


def too_long(
    problems: Sequence[Problem],
    chat: ChatFormat,
    strategies: Mapping[str, str],
    max_new_tokens: int,
    positions: int,
    experts: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, int]:
    """Return id -> tokens of prompt and response, of the problems that may exceed `positions`.

    The longer of both prompts counts, and of a strong model's response to learn from (`experts`) and `max_new_tokens`.
    """
    found: dict[str, int] = {}
    frame = len(chat.autonomous("x"))
    for problem in problems:
        strategy = strategies.get(problem.id)
        answer = max(max_new_tokens, len((experts or {}).get(problem.id, ())))
        text = problem.question + (strategy or "")
        # A token of plain text has at least one character, so most problems need no tokenizer.
        if text.isascii() and frame + len(text) + len("\n\n") + answer <= positions:
            continue
        prompts = [chat.autonomous(problem.question)]
        if strategy is not None:
            prompts.append(chat.guided(problem.question, strategy))
        tokens = max(len(prompt) for prompt in prompts) + answer
        if tokens > positions:
            found[problem.id] = tokens
    return found


def refuse_too_long(
    problems: Sequence[Problem],
    folder: Path,
    engine: EngineConfig,
    settings: ChatConfig,
    strategies: Mapping[str, str],
    max_new_tokens: int,
    setting: str,
) -> None:
    """Raise PromptTooLongError, with ids, where problems do not fit the model of `folder`.

    `setting` is the name of what `max_new_tokens` was set by.
    """
    chat, positions = open_chat(folder, open_ending_tokenizer(folder, folder), settings), positions_of(folder, engine)
    if found := too_long(problems, chat, strategies, max_new_tokens, positions):
        raise PromptTooLongError(
            f"{describe(found, len(problems), positions)} (expected shorter ones, or {setting} below {max_new_tokens})"
        )


def positions_of(folder: Path, engine: EngineConfig) -> int:
    """Return how long prompt and response together may be, by the model and by what the engine makes room for."""
    config = AutoConfig.from_pretrained(str(folder))
    if engine.kind == "transformers":
        return unwindowed_positions(config)
    return engine.positions(int(config.max_position_embeddings))


def describe(found: Mapping[str, int], problems: int, positions: int) -> str:
    """Return how many problems are too long for a model, and the first ones with their tokens."""
    named = ", ".join(f"'{name}' {tokens}" for name, tokens in list(found.items())[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"{len(found)} of {problems} problems, with a response, may need more than the model's {positions} positions: "
        f"{named}{more}"
    )
