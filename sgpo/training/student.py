"""Opening the model that is trained, or whose checkpoint is read."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from sgpo.config import RunConfig
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.model_folder import load_model, open_chat
from sgpo.training.lora import add_adapters
from sgpo.training.policy import Policy


def open_student(
    config: RunConfig, folder: Path, model_source: str | Path
) -> tuple[Policy, PreTrainedTokenizerBase, ChatFormat]:
    """Return the model of `folder`, with adapters where the settings say so, its tokenizer and its format of chats.

    `model_source` is what adapters name as their base.
    """
    model, tokenizer = load_model(folder)
    chat = open_chat(folder, tokenizer, config.chat)
    lora = config.training.lora
    return Policy(model, add_adapters(model, lora, model_source, config.seed) if lora else None), tokenizer, chat
