"""Looking at a model folder before anything is spent on it: everything that would fail, or spoil a run, later."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from sgpo.config import ChatConfig
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.model_folder import ModelFolderError, local_folder, open_chat, open_ending_tokenizer, open_model

QUESTION = "What is 3 + 4?"
STRATEGY = "Count up from the larger number."


@dataclass(frozen=True, slots=True)
class Examination:
    """What a sound folder is: its format of conversations and its size. `describe` is for a person to read."""

    folder: Path
    chat: ChatFormat
    architecture: str
    parameters: int
    positions: int

    def describe(self) -> str:
        """Return the model in a line, then both prompts of an example with their end."""
        size = f"{self.architecture}, {self.parameters:,} parameters, {self.positions:,} positions"
        return f"{size}\n{self.chat.describe(QUESTION, STRATEGY)}"


def examine(
    source: str | Path,
    chat_settings: ChatConfig | None = None,
    engine_kind: str = "transformers",
    name: str | Path | None = None,
) -> Examination:
    """Examine a model folder or hub id, in the precision of its files.

    Every tensor of the architecture is there, none is left over, all are finite; the tokenizer opens, its chat template
    writes, its ids and the end tokens are below the vocabulary; the engine supports its attention.
    `name` is what messages call it, where that is not the source itself.
    Raises ModelFolderError or ChatFormatError for the first thing that is not so.
    """
    folder, source = local_folder(source), name or source
    model = open_model(folder, source, "auto")
    tokenizer = open_ending_tokenizer(folder, source)
    chat = open_chat(folder, tokenizer, chat_settings)
    check_ids(source, model, tokenizer, chat)
    if engine_kind == "transformers":
        check_attention(source, model.config)
    return Examination(
        folder, chat, type(model).__name__, sum(parameter.numel() for parameter in model.parameters()),
        model.config.max_position_embeddings,
    )  # fmt: skip


def check_attention(source: str | Path, config: PreTrainedConfig) -> None:
    """Raise ModelFolderError when the transformers engine cannot sample from layers of these kinds."""
    others = sorted(set(getattr(config, "layer_types", None) or ()) - {"full_attention"})
    if others:
        raise ModelFolderError(
            f"{source}: has layers of the kind {others[0]}, which the transformers engine does not sample from "
            "(expected full attention throughout, or engine.kind=vllm)"
        )


def check_ids(source: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> None:
    """Raise ModelFolderError when the tokenizer or an end token has an id that the model has no embedding for."""
    rows = model.get_input_embeddings().get_parameter("weight").shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        token = tokenizer.convert_ids_to_tokens(largest)
        raise ModelFolderError(
            f"{source}: the tokenizer has token {token!r} with id {largest}, and the model {rows} embeddings "
            "(expected the tokenizer that belongs to the weights)"
        )
    if unknown := [index for index in chat.end_ids if not 0 <= index < rows]:
        raise ModelFolderError(
            f"{source}: end token {unknown[0]} is outside the vocabulary of {rows} "
            "(expected eos_token_id in generation_config.json to be a token of this model)"
        )
