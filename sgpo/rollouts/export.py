"""Writing a trained model as a Hugging Face folder that others open as it was trained."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sgpo.files import publish_folder


def export_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: dict[str, torch.Tensor],
    folder: Path,
    end_ids: Sequence[int] = (),
    notes: Mapping[str, str] | None = None,
) -> None:
    """Publish a Hugging Face folder (safetensors, tokenizer, generation config) with these whole weights.

    `end_ids` are written into the generation config, where transformers and vLLM look for what ends a response. What
    transformers 5 writes in a way that 4.57 would misread without a word is written in both ways. `notes` are texts by
    file name that lie beside the model.
    """
    with publish_folder(folder) as aside:
        model.save_pretrained(aside, state_dict=weights)
        tokenizer.save_pretrained(aside)
        if end_ids:
            ends = list(end_ids) if len(end_ids) > 1 else end_ids[0]
            _rewrite(aside / "generation_config.json", lambda settings: settings.update(eos_token_id=ends))
        _rewrite(aside / "config.json", _name_rope_in_both_ways)
        _rewrite(aside / "tokenizer_config.json", _name_tokenizer_in_both_ways)
        for name, text in (notes or {}).items():
            (aside / name).write_text(f"{text}\n", encoding="utf-8")


def _name_rope_in_both_ways(config: dict[str, Any]) -> None:
    """Name the base as 4.57 reads it too: it knows no `rope_parameters`, and would take 10,000 for any other."""
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return
    config.setdefault("rope_theta", rope["rope_theta"])
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    config.setdefault("rope_scaling", None if scaling.get("rope_type") == "default" else scaling)


def _name_tokenizer_in_both_ways(settings: dict[str, Any]) -> None:
    """Name the class as 4.57 does too: it knows no TokenizersBackend, and reads `extra_special_tokens` as a mapping.

    Its generic class gives `token_type_ids` beside the ids unless told otherwise, which `generate` of a Llama refuses.
    """
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        settings.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")


def _rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    change(settings)
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
