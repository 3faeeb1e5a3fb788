"""Faults that would fail or spoil a run are found before it, each as one `wrong` line that names the cure."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sgpo.checks import Checked, check
from sgpo.checks.engine import check_engine
from sgpo.checks.model import check_model
from sgpo.config import RunConfig
from sgpo.config.pipeline import PipelineParams, ProbeConfig, SplitConfig
from sgpo.config.strategies import TeacherConfig
from sgpo.problems import Problem, read_problems, write_problems
from sgpo.problems.table import write_table
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.strategies.bank import load_strategies
from tests.rollouts.quirky_models import CHATML, DATED, LLAMA, QWEN, byte_tokenizer, model_folder, qwen_folder

Recipe = Callable[..., RunConfig]
BYTES = {"max_position_embeddings": 4096}
"""Prompts of the byte tokenizer are long."""


def wrong(checked: Checked) -> dict[str, str]:
    """What is wrong, with its cure; every one has a cure."""
    assert all(finding.cure for finding in checked.wrong)
    assert (checked.exit_code == 1) == bool(checked.wrong)
    return {f"{finding.group}: {finding.what}": f"{finding.found} -> {finding.cure}" for finding in checked.wrong}


def look(recipe: RunConfig, model: Path, params: PipelineParams | None = None) -> dict[str, str]:
    return wrong(check(recipe, model, params, sampling=False))


def test_a_sound_tiny_testbed_has_nothing_wrong(recipe: Recipe, model_folder: Path) -> None:
    checked = check(recipe(), model_folder, PipelineParams(), sampling=False)
    assert wrong(checked) == {}
    groups = list(dict.fromkeys(finding.group for finding in checked.findings))
    assert groups == ["model", "data", "strategies", "teacher", "servers", "machine"]


def test_weights_that_are_cut(recipe: Recipe, tmp_path: Path) -> None:
    folder = qwen_folder(tmp_path / "model", **BYTES)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    found = look(recipe(), folder)
    assert found.keys() == {"model: weights"}
    assert "cannot open it" in found["model: weights"]


def test_a_head_of_its_own_that_the_configuration_ties(recipe: Recipe, tmp_path: Path) -> None:
    folder = qwen_folder(tmp_path / "model", **BYTES)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "tie_word_embeddings": True}))
    found = look(recipe(), folder)
    assert found.keys() == {"model: output head"}
    assert "tie_word_embeddings: false" in found["model: output head"]


def test_a_tied_head_that_is_in_the_files_once_more_is_sound(recipe: Recipe, tmp_path: Path) -> None:
    folder = qwen_folder(tmp_path / "model", tie_word_embeddings=True, **BYTES)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert look(recipe(), folder) == {}


def test_an_end_token_that_the_model_does_not_have(recipe: Recipe, tmp_path: Path) -> None:
    folder = qwen_folder(tmp_path / "model", **BYTES)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [2, 9999]}))
    found = look(recipe(), folder)
    assert found.keys() == {"model: token ids"}
    assert "9999" in found["model: token ids"]


def test_end_tokens_that_disagree_are_warned_of(recipe: Recipe, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(QWEN, CHATML, "<|endoftext|>")
    findings, _ = check_model(model_folder(tmp_path / "model", tokenizer, **BYTES), recipe())
    (ends,) = [finding for finding in findings if finding.what == "end tokens"]
    assert ends.verdict == "warning"
    assert "'<|im_end|>'" in ends.cure


def test_a_template_that_writes_the_day(recipe: Recipe, tmp_path: Path) -> None:
    seen = "{% set form = '%d %b %Y' %}" + DATED.replace("strftime_now('%d %b %Y')", "strftime_now(form)")
    found = look(recipe(), model_folder(tmp_path / "a", byte_tokenizer(LLAMA, seen, LLAMA[3], LLAMA[0]), **BYTES))
    assert found.keys() == {"model: chat template"}
    assert "chat.date" in found["model: chat template"]
    held = model_folder(tmp_path / "b", byte_tokenizer(LLAMA, DATED, LLAMA[3], LLAMA[0]), **BYTES)
    assert look(recipe(), held) == {}


@pytest.mark.parametrize(
    ("template", "said"),
    [("{{ bos_token }}\n{{ bos_token }}" + CHATML, "2 times"), (CHATML, "writes none")],
    ids=["twice", "not at all"],
)
def test_a_prompt_without_exactly_one_begin_token(template: str, said: str, recipe: Recipe, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(LLAMA, template, LLAMA[3], LLAMA[0], adds_begin=True)
    found = look(recipe(), model_folder(tmp_path / "model", tokenizer, **BYTES))
    assert found.keys() == {"model: begin token"}
    assert said in found["model: begin token"]


def test_a_begin_token_that_begins_every_turn_is_no_fault(recipe: Recipe, tmp_path: Path) -> None:
    """SmolLM2's begin token is <|im_start|>."""
    tokenizer = byte_tokenizer(QWEN, CHATML, "<|im_end|>", "<|im_start|>")
    findings, _ = check_model(model_folder(tmp_path / "model", tokenizer, **BYTES), recipe())
    (begin,) = [finding for finding in findings if finding.what == "begin token"]
    assert (begin.verdict, begin.found) == ("ok", "every turn of a prompt begins with '<|im_start|>'")


def test_responses_that_do_not_fit_the_positions(recipe: Recipe, model_folder: Path) -> None:
    found = look(recipe("training.sampling.max_new_tokens=600"), model_folder)
    assert "training.sampling.max_new_tokens" in found["model: positions"]
    longer = look(recipe("training.sampling.max_new_tokens=430"), model_folder)  # room for a question, not for all
    assert longer.keys() == {"strategies: train prompts"}
    assert "leave_out_too_long" in longer["strategies: train prompts"]


def test_golds_that_no_response_can_meet(recipe: Recipe, data: Path, model_folder: Path) -> None:
    file = data / "problems" / "train.parquet"
    broken = [Problem(id=one.id, question=one.question, answer=r"x \text{") for one in read_problems(file)]
    write_problems(broken, file)
    found = look(recipe(), model_folder)
    assert "0 of 12 verify" in found["data: train golds"]


@pytest.mark.slow
def test_golds_of_other_domains_are_judged_as_the_recipe_says(recipe: Recipe, data: Path, model_folder: Path) -> None:
    file = data / "problems" / "train.parquet"
    before = read_problems(file)
    asked = [one.model_copy(update={"domain": "planets", "answer": f"}} {one.answer}"}) for one in before]
    write_problems(asked, file)
    assert "planets" in look(recipe(), model_folder)["data: train golds"]
    own = "domains={planets: {verifier: 'sgpo.problems.domains.exact:judge', options: {case: true}}}"
    assert "data: train golds" not in look(recipe(own), model_folder)


EASY = """
from sgpo.problems import Verdict
def judge(response, problem):
    right = problem.answer in response
    return Verdict(right, None, "correct" if right else "wrong")
"""


def test_a_verifier_that_rewards_more_than_the_answer(
    recipe: Recipe, data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_easy.py").write_text(EASY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = data / "problems" / "train.parquet"
    write_problems([one.model_copy(update={"domain": "easy"}) for one in read_problems(file)], file)
    found = look(recipe("domains={easy: {verifier: 'own_easy:judge'}}"), model_folder)
    assert found.keys() == {"data: verifier of easy"}
    assert "cut at the end passes" in found["data: verifier of easy"]


def test_problems_that_are_trained_on_and_held_out(recipe: Recipe, data: Path, model_folder: Path) -> None:
    held_out, train = (read_problems(data / "problems" / f"{name}.parquet") for name in ("held_out", "train"))
    again = Problem(question=train[3].question.upper(), answer=train[3].answer)
    write_problems([*held_out, again], data / "problems" / "held_out.parquet")
    found = look(recipe(), model_folder)
    assert found.keys() == {"data: train and held_out"}
    assert train[3].id in found["data: train and held_out"]


def test_strategies_that_give_the_answer_away(recipe: Recipe, data: Path, model_folder: Path) -> None:
    bank = list(load_strategies(data / "strategies.parquet").values())
    answer = next(
        one.answer for one in read_problems(data / "splits" / "train.parquet") if one.id == bank[0].problem_id
    )
    bank[0] = bank[0].model_copy(update={"approach": f"Work it out; the answer is {answer}."})
    write_table(bank, data / "strategies.parquet")
    found = look(recipe(), model_folder)
    assert found.keys() == {"strategies: leaks"}
    assert bank[0].problem_id in found["strategies: leaks"]


@pytest.mark.slow
def test_a_puzzle_s_strategy_is_judged_by_the_leaks_of_puzzles(recipe: Recipe, data: Path, model_folder: Path) -> None:
    """A word that only the answer has is a leak of a puzzle, whatever the mathematics of it."""
    bank = list(load_strategies(data / "strategies.parquet").values())
    bank[0] = bank[0].model_copy(update={"approach": "Think of the knave zebulon first."})
    write_table(bank, data / "strategies.parquet")
    file = data / "problems" / "train.parquet"
    asked = [one.model_copy(update={"domain": "exact", "answer": "Zebulon"}) for one in read_problems(file)]
    write_problems(asked, file)
    assert f"'{bank[0].problem_id}' states 'zebulon'" in look(recipe(), model_folder)["strategies: leaks"]


def test_a_teacher_that_does_not_answer(recipe: Recipe, model_folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        teacher = TeacherConfig(kind="openai", base_url=address, api_key_env="")
        found = look(recipe(), model_folder, PipelineParams(teacher=teacher))
    assert found.keys() == {"teacher: endpoint"}
    assert "teacher.base_url" in found["teacher: endpoint"]


def test_an_engine_with_other_weights(recipe: Recipe, data: Path, model_folder: Path) -> None:
    _, opened = check_model(model_folder, recipe())
    _, other = check_model(model_folder, recipe())
    assert opened is not None
    assert other is not None
    with torch.no_grad():
        other.model.get_input_embeddings().get_parameter("weight").mul_(1.5)
    problems = read_problems(data / "splits" / "train.parquet")
    sound = check_engine(recipe(), opened, TransformersEngine(opened.model, opened.chat), problems, {})
    found = check_engine(recipe(), opened, TransformersEngine(other.model, opened.chat), problems, {})
    assert (sound.verdict, found.verdict) == ("ok", "wrong")
    assert "probably the weights differ" in found.found


def test_a_warm_up_without_problems(recipe: Recipe, model_folder: Path) -> None:
    found = look(recipe("warmup.epochs=2"), model_folder, PipelineParams())
    assert found.keys() == {"data: warm-up"}
    assert "splits.warmup_fraction" in found["data: warm-up"]
    assert look(recipe("warmup.epochs=2"), model_folder, PipelineParams(splits=SplitConfig(warmup_fraction=0.3))) == {}


def test_a_probe_of_other_lengths_than_training(recipe: Recipe, model_folder: Path) -> None:
    found = look(recipe("training.sampling.max_new_tokens=256"), model_folder, PipelineParams(probe=ProbeConfig()))
    assert found.keys() == {"data: probe"}
    assert "probe.sampling.max_new_tokens: 256" in found["data: probe"]


def test_a_disk_that_is_too_small_for_the_checkpoints(recipe: Recipe, model_folder: Path) -> None:
    found = look(recipe("training.keep_checkpoints=1000000000"), model_folder)
    assert found.keys() == {"machine: disk"}


@pytest.mark.slow
def test_a_micro_batch_that_does_not_fit_the_memory(recipe: Recipe, tmp_path: Path) -> None:
    folder = qwen_folder(tmp_path / "model", intermediate_size=1_000_000, num_hidden_layers=1, **BYTES)
    found = look(recipe("training.tokens_per_microbatch=100000000", "training.problems_per_step=100000"), folder)
    assert found.keys() == {"machine: memory"}


def test_a_model_that_writes_no_box_cannot_learn_and_its_answers_are_kept(recipe: Recipe, model_folder: Path) -> None:
    checked = check(recipe("training.sampling.max_new_tokens=24"), model_folder)
    assert wrong(checked).keys() == {"samples: can learn"}
    assert checked.samples is not None
    whole = json.loads(checked.as_json())
    assert whole["verdict"] == "wrong"
    assert len(whole["samples"]["answers"]) == 8 * 2 * 2
    assert {answer["outcome"] for answer in whole["samples"]["answers"]} <= {"no box", "cut"}
