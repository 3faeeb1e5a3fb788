"""`benchmarks/export_equality.py`: an export is equal everywhere; what is not is named, and is exit code 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
import torch
from testbed_models import greedy_by_forward, make_model, needs_vllm
from warm_python import WarmProcess

from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.export import export_model
from sgpo.testbed.base_model import testbed_tokenizer as make_tokenizer

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from export_equality import Answer, compare, describe, table  # noqa: E402

pytestmark = pytest.mark.slow

PROBLEMS, NEW_TOKENS = 6, 12
IDS = ["p0", "p1", "p2"]
PROMPTS = [[9, 10, 11, 12], [40, 41], [77, 30, 31]]


def export(folder: Path, family: Literal["qwen2", "llama"]) -> Path:
    """A folder as training writes it."""
    tokenizer = make_tokenizer()
    model = make_model(0, tokenizer, family)
    export_model(model, tokenizer, model.state_dict(), folder, ChatFormat(tokenizer).end_ids)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return export(tmp_path / "model", "llama")


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    rows = [{"id": f"p{number}", "question": f"{number} apples and 4 apples", "answer": "1"} for number in range(8)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path / "problems.jsonl"


def run(folder: Path, problems: Path, engines: Sequence[str], *options: object) -> tuple[int, str]:
    """Exit code and output of the script, in a process of its own: vLLM keeps one engine's state in globals."""
    command = [BENCHMARKS / "export_equality.py", folder, problems, "--engines", *engines]
    words = list(map(str, [*command, "--problems", PROBLEMS, "--new-tokens", NEW_TOKENS, *options]))
    if find_spec("mlflow") is not None:
        warm = WarmProcess(words, folder.parent, os.environ)
        output, _ = warm.communicate(timeout=500)
        return warm.wait(), output
    done = subprocess.run(  # vLLM's environment has no MLflow, which a warm process imports
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=500
    )
    return done.returncode, done.stdout


def cells_of(output: str) -> dict[str, list[str]]:
    """The table's cells by engine."""
    lines = [line for line in output.splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: cells for name, *cells in rows}


def tokens_in(file: Path) -> dict[str, list[list[int]]]:
    return json.loads(file.read_text(encoding="utf-8"))["tokens"]


vllm = pytest.param("vllm", marks=needs_vllm)


@pytest.mark.parametrize("other", ["sgpo", vllm])
def test_an_export_says_the_same_everywhere(other: str, folder: Path, problems: Path, tmp_path: Path) -> None:
    code, output = run(folder, problems, ["transformers", other], "--json", tmp_path / "figures.json")
    assert code == 0, output
    rows = cells_of(output)
    assert list(rows) == ["transformers", other]
    for prompts, answers, tokens, difference in rows.values():
        assert prompts == answers == f"{PROBLEMS} of {PROBLEMS}"
        assert int(tokens) > PROBLEMS
        assert 0.0 < float(difference) < 1e-4
    said = tokens_in(tmp_path / "figures.json")
    assert said["transformers"] == said[other]
    assert len(said[other]) == PROBLEMS


def test_a_folder_whose_end_token_is_lost_goes_on_elsewhere(folder: Path, problems: Path, tmp_path: Path) -> None:
    """transformers stops where the generation config says; sgpo at the tokenizer's end token too."""
    figures = tmp_path / "figures.json"
    run(folder, problems, ["transformers"], "--json", figures)
    said = [token for answer in tokens_in(figures)["transformers"] for token in answer[:-1]]
    end = max(set(said), key=said.count)
    settings_file = folder / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    settings["eos_token"] = make_tokenizer().convert_ids_to_tokens(end)
    settings_file.write_text(json.dumps(settings), encoding="utf-8")
    code, output = run(folder, problems, ["sgpo", "transformers"], "--json", figures)
    assert code == 1, output
    assert "by transformers and nothing by sgpo" in output
    ours, theirs = tokens_in(figures).values()
    assert any(len(own) < len(their) and own == their[: len(own)] for own, their in zip(ours, theirs, strict=True))


def test_a_tokenizer_that_others_open_otherwise_is_named(problems: Path, tmp_path: Path) -> None:
    """AutoTokenizer gives every qwen2 model Qwen2's own pre-tokenizer, whatever tokenizer.json says."""
    code, output = run(export(tmp_path / "qwen2", "qwen2"), problems, ["transformers", "sgpo"])
    assert code == 1, output
    assert cells_of(output)["sgpo"][:2] == [f"0 of {PROBLEMS}"] * 2
    assert "p0: the prompt's token 1 is 'Solve' (id 448) by sgpo and '.' (id 255) by transformers" in output
    assert "not equal (expected the same tokens" in output


def test_more_problems_than_there_are_is_one_line(folder: Path, problems: Path) -> None:
    code, output = run(folder, problems, ["transformers"], "--problems", 9)
    assert code == 1
    assert output.endswith("problems.jsonl: 8 problems (expected --problems from 1 to 8)\n")


@pytest.fixture(scope="module")
def model():
    return make_model(0, make_tokenizer(), "llama")


@pytest.fixture(scope="module")
def answers(model) -> list[Answer]:
    """Greedy answers and their log-probabilities, by a whole forward pass for each token."""
    tokens = greedy_by_forward(model, PROMPTS, 5)
    return [
        Answer(
            tuple(prompt),
            own,
            tuple(float(logits_of(model, [*prompt, *own[:n]]).log_softmax(-1)[own[n]]) for n in range(5)),
        )
        for prompt, own in zip(PROMPTS, tokens, strict=True)
    ]


def logits_of(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].double()


def test_the_place_where_answers_part_has_the_margin_of_the_best_two_logits(model, answers: list[Answer]) -> None:
    first = answers[1]
    logits = logits_of(model, [*first.prompt, *first.tokens[:3]])
    best, second = logits.sort(descending=True).indices[:2].tolist()
    assert first.tokens[3] == best
    other = replace(first, tokens=(*first.tokens[:3], second), logprobs=first.logprobs[:4])
    whole, parted = compare(model, IDS, {"one": answers, "two": [answers[0], other, answers[2]]})
    assert whole.holds()
    assert whole.partings == ()
    assert (parted.equal_prompts, parted.equal_answers) == (3, 2)
    (parting,) = parted.partings
    assert (parting.problem, parting.place, parting.expected, parting.found) == ("p1", 3, best, second)
    assert parting.margin == pytest.approx(float(logits[best] - logits[second]), abs=1e-5)
    said = describe(parting, "one", make_tokenizer())
    assert f"(id {second}) by two and" in said
    assert "apart" in said
    assert not said.endswith("a tie")
    assert describe(replace(parting, margin=2e-6), "one", make_tokenizer()).endswith("2.0e-06 apart: a tie")


@pytest.mark.parametrize(("off", "holds"), [(5e-5, True), (2e-4, False), (float("nan"), False)])
def test_a_log_probability_that_is_off_is_not_equal(model, answers: list[Answer], off: float, holds: bool) -> None:
    changed = replace(answers[0], logprobs=(answers[0].logprobs[0] + off, *answers[0].logprobs[1:]))
    _, found = compare(model, IDS, {"one": answers, "two": [changed, *answers[1:]]})
    assert found.equal_answers == 3
    assert found.holds() == holds
    if holds:
        assert found.largest_difference == pytest.approx(off, rel=0.2)
        assert "| two | 3 of 3 | 3 of 3 | 15 | " in table([found])
