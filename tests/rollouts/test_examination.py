"""A model folder that would fail or spoil a run is refused when it is looked at, with what would be right."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from sgpo.cli.main import app
from sgpo.errors import UserError
from sgpo.rollouts.examination import examine
from sgpo.rollouts.model_folder import load_model
from tests.rollouts.quirky_models import CHATML, QWEN, byte_tokenizer, model_folder, qwen_folder

WEIGHTS = "model.safetensors"
UP = "model.layers.1.mlp.up_proj.weight"


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def change_json(folder: Path, file: str, **values: object) -> None:
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**settings, **values}), encoding="utf-8")


def spoil_value(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lm_head.weight"][5] = float("nan")


SPOILT = {
    "a missing tensor": (lambda f: change_weights(f, lambda w: w.pop(UP)), f"tensor '{UP}' is not in the folder"),
    "a tensor too many": (
        lambda f: change_weights(f, lambda w: w.update({"model.layers.2.x": torch.ones(1)})),
        "'model.layers.2.x' is in the folder and nothing of the architecture",
    ),
    "another shape": (
        lambda f: change_weights(f, lambda w: w.update({UP: torch.ones(3, 3)})),
        f"'{UP}' has another shape in the folder",
    ),
    "NaN": (lambda f: change_weights(f, spoil_value), "'lm_head.weight' has values that are not finite"),
    "a cut file": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:5000]),
        r"transformers cannot open it \(SafetensorError",
    ),
    "an unknown architecture": (
        lambda f: (f / "config.json").write_text('{"model_type": "nonsense_model"}'),
        "nonsense_model",
    ),
    "a spoilt tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "its tokenizer cannot be opened"),
    "no end token": (
        lambda f: change_json(f, "tokenizer_config.json", eos_token=None),
        "the tokenizer has no end token",
    ),
    "no chat template": (lambda f: (f / "chat_template.jinja").unlink(), "has no chat template"),
    "a broken template": (lambda f: (f / "chat_template.jinja").write_text("{% for %}"), "cannot write a prompt"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_folder_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    spoil, message = SPOILT[case]
    folder = qwen_folder(tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        examine(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["a missing tensor", "a tensor too many", "another shape", "NaN"])
def test_a_folder_with_spoilt_weights_is_not_loaded_either(case: str, tmp_path: Path) -> None:
    spoil, message = SPOILT[case]
    folder = qwen_folder(tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load_model(folder)


def test_ids_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(QWEN, CHATML, "<|im_end|>")
    few = model_folder(tmp_path / "few", tokenizer, vocab_size=len(tokenizer) - 1)
    with pytest.raises(UserError, match=f"with id {len(tokenizer) - 1}, and the model {len(tokenizer) - 1} embeddings"):
        examine(few)
    folder = qwen_folder(tmp_path / "model")
    change_json(folder, "generation_config.json", eos_token_id=[2, 9999])
    with pytest.raises(UserError, match="end token 9999 is outside the vocabulary"):
        examine(folder)


def test_more_embeddings_than_tokens_and_tied_ones_are_sound(tmp_path: Path) -> None:
    examine(qwen_folder(tmp_path / "padded", vocab_size=512))
    examine(qwen_folder(tmp_path / "tied", tie_word_embeddings=True))


def test_sliding_windows_are_refused_for_the_engine_that_cannot(tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = qwen_folder(tmp_path / "model")
    config = Qwen2Config(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, layer_types=["sliding_attention", "full_attention"], use_sliding_window=True,
        sliding_window=64, eos_token_id=2, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    with pytest.raises(UserError, match=r"sliding_attention.*engine\.kind=vllm"):
        examine(folder)
    assert examine(folder, engine_kind="vllm").architecture == "Qwen2ForCausalLM"


@pytest.mark.slow
def test_registering_shows_both_prompts_with_their_end_and_refuses_what_is_spoilt(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")  # not where vLLM alone is installed
    sound, spoilt = qwen_folder(tmp_path / "sound"), qwen_folder(tmp_path / "spoilt")
    change_weights(spoilt, lambda weights: weights.pop(UP))
    uri = f"tracking.mlflow_uri=sqlite:///{tmp_path}/mlflow.db"
    done = CliRunner().invoke(app, ["registry", "register", str(sound), uri])
    assert done.exit_code == 0, done.output
    assert "the autonomous prompt" in done.output
    assert "Count up from the larger number." in done.output
    assert "a response ends at '<|im_end|>' (id 2)" in done.output
    refused = CliRunner().invoke(app, ["registry", "register", str(spoilt), uri])
    assert isinstance(refused.exception, UserError)
    assert UP in str(refused.exception)
