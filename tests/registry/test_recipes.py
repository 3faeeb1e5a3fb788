"""Every recipe in configs/ from the first champion to a decision, on a tiny model of its architecture and template."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from typer.testing import CliRunner

from sgpo.cli.main import app
from sgpo.config import load_config
from sgpo.config.testbed import BaseModelConfig, WorldConfig
from sgpo.evaluation.comparison import compare
from sgpo.evaluation.evaluate import evaluate_model
from sgpo.evaluation.outcomes import read_outcomes
from sgpo.problems import write_problems
from sgpo.problems.table import write_table
from sgpo.registry.gate import decide
from sgpo.registry.models import register_model_folder
from sgpo.registry.promotion import promote, set_challenger
from sgpo.registry.records import aliases
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed import base_model
from sgpo.testbed.world import build_split
from sgpo.training.run import train
from tests.rollouts.quirky_models import CHATML, byte_tokenizer

pytestmark = pytest.mark.slow

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
LLAMA = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
)  # fmt: skip
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + strftime_now('%d %b %Y') + '\n\n' + system "
    "+ '<|eot_id|>' }}{% for m in messages if m['role'] != 'system' %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""The form of Llama 3.1's: a date, trimmed contents, turns that end with another token than the tokenizer's."""


def byte_model(recipe: str, folder: Path) -> tuple[Path, PreTrainedTokenizerFast]:
    """Write a model of the recipe's family that reads bytes."""
    torch.manual_seed(0)
    if recipe == "testbed":
        tokenizer = base_model.testbed_tokenizer()
        model = base_model.new_model(BaseModelConfig(hidden_size=32, layers=1), tokenizer)
    else:
        llama = "llama" in recipe
        special = LLAMA if llama else ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
        tokenizer = byte_tokenizer(
            special, LLAMA_TEMPLATE if llama else CHATML, "<|end_of_text|>" if llama else "<|im_end|>",
            "<|begin_of_text|>" if llama else None,
        )  # fmt: skip
        shape = {
            "vocab_size": len(tokenizer) + 9, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "tie_word_embeddings": "1.5b" in recipe, "pad_token_id": 0, "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }  # fmt: skip
        rope = {"rope_type": "default", "rope_theta": 500000.0}
        model = (
            LlamaForCausalLM(LlamaConfig(**shape, rope_parameters=rope))
            if llama
            else Qwen2ForCausalLM(Qwen2Config(**shape))
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, tokenizer


def write_data(data: Path) -> None:
    world = WorldConfig(train=8, held_out=8, tuning=8)
    problems = build_split(world, "train")
    write_problems(problems, data / "splits" / "train.parquet")
    write_problems(build_split(world, "tuning")[:4], data / "problems" / "tuning.parquet")
    write_problems(build_split(world, "held_out")[:4], data / "splits" / "held_out.parquet")
    answered = [one.model_copy(update={"response": f"so \\boxed{{{one.answer}}}"}) for one in problems]
    write_problems(answered, data / "splits" / "warmup.parquet")
    strategies = [
        Strategy(
            problem_id=problem.id, problem_type="a story", approach="go back", steps=("add",), score=1.0,
            scores=dict.fromkeys(CRITERIA, 1.0), teacher="test", prompt_version="test", candidates_seen=1,
        )
        for problem in problems
    ]  # fmt: skip
    write_table(strategies, data / "strategies.parquet")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_goes_from_the_first_champion_to_a_decision(
    recipe: Path, tmp_path: Path, mlflow_database: Path
) -> None:
    folder, tokenizer = byte_model(recipe.stem, tmp_path / "model")
    write_data(tmp_path / "data")
    warm = load_config(recipe).warmup.epochs > 0
    small = [  # what a machine of eight GPUs is for; all else is the recipe's
        f"data={tmp_path / 'data'}", f"tracking.mlflow_uri=sqlite:///{mlflow_database}", "processes=1",
        f"tracking.registered_model='the recipe {recipe.stem}'",
        "training.steps=2", "training.problems_per_step=2", "training.tokens_per_microbatch=4096",
        "training.sampling.max_new_tokens=8", "training.algorithm.autonomous_rollouts=2",
        "training.algorithm.guided_rollouts=2", "engine={}", "evaluation.engine=null", "evaluation.k=2",
        "evaluation.sampling.max_new_tokens=8", "evaluation.sampling.batch_size=16",
        *(["warmup.epochs=1", "warmup.batch_size=4", "warmup.held_out_fraction=0.25"] if warm else []),
    ]  # fmt: skip
    config = load_config(recipe, small)
    said = CliRunner().invoke(app, ["registry", "register", str(folder), "--config", str(recipe), *small])
    assert said.exit_code == 0, said.output
    assert f"{config.tracking.registered_model} version 1" in said.output
    end = {"testbed": tokenizer.eos_token, "llama-8b": "<|eot_id|>"}.get(recipe.stem, "<|im_end|>")
    assert f"one to learn from ends with '{end}'" in said.output
    why = ["registry", "champion", "1", "Where we start.", "--config", str(recipe), *small]
    assert CliRunner().invoke(app, why).exit_code == 0

    trained = train(config, folder, tmp_path / "run")
    outcomes = []
    for name, model in (("champion", folder), ("challenger", trained)):
        evaluate_model(config, model, tmp_path / f"{name}.parquet")
        outcomes.append(read_outcomes(tmp_path / f"{name}.parquet"))
    settings = config.evaluation
    comparison = compare(*outcomes, settings.confidence, settings.resamples, config.seed)
    version = register_model_folder(config.tracking, trained, {}, "first")
    set_challenger(config.tracking, version)
    change = promote(config.tracking, version, decide(comparison, config.gate), "a test", "two steps", against="1")
    assert change.action == "refuse"  # two steps of an untrained model prove nothing
    assert aliases(config.tracking) == {"champion": "1", "challenger": "2"}
