"""Traces of guided trajectories: right to the plain computation, of no influence, the same after an interruption."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from test_loop import SMALL, Interrupted, Recorder, run

from sgpo.config import load_config
from sgpo.problems import read_problems
from sgpo.rollouts.model_folder import load_model
from sgpo.training.pieces import Pieces

pytestmark = pytest.mark.slow

TRACED = [*SMALL, "training.trace.every=2", "training.trace.problems=2", "training.algorithm.delta=0.05"]


@pytest.fixture(scope="module")
def model_folder(model_folder, tmp_path_factory) -> Path:
    """The tiny model with larger weights: an untrained one says nearly the same in every context."""
    model, tokenizer = load_model(model_folder)
    folder = tmp_path_factory.mktemp("sharp")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0 if parameter.dim() > 1 else 1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def traces(folder: Path) -> dict[str, list[dict[str, Any]]]:
    files = sorted((folder / "traces").iterdir())
    return {file.name: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files}


def of_kind(rows: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == kind]


def untimed(recorder: Recorder) -> dict[int, dict[str, float]]:
    timed = ("time/", "throughput/tokens", "throughput/hours_left")
    return {at: {k: v for k, v in row.items() if not k.startswith(timed)} for at, row in recorder.rows.items()}


@pytest.mark.parametrize("settings", [[], ["training.minibatches=2", "training.algorithm.guide=ema"]])
def test_traces_change_no_bit_of_weights_and_metrics(tmp_path, model_folder, data_folder, settings):
    with_traces, without = Recorder(), Recorder()
    traced = run(tmp_path / "on", load_config(None, [*TRACED, *settings]), model_folder, data_folder, with_traces)
    off = load_config(None, [*TRACED, *settings, "training.trace.every=null"])
    plain = run(tmp_path / "off", off, model_folder, data_folder, without)
    assert all(torch.equal(traced[name], plain[name]) for name in plain)
    assert untimed(with_traces) == untimed(without)
    assert not (tmp_path / "off" / "traces").exists()
    assert list(traces(tmp_path / "on")) == ["step-000000.jsonl", "step-000002.jsonl", "step-000003.jsonl"]
    assert [at for at, row in with_traces.rows.items() if "time/trace" in row] == [0, 2, 3]


def test_a_trace_has_what_the_model_says_with_and_without_the_strategy(tmp_path, model_folder, data_folder):
    run(tmp_path, load_config(None, TRACED), model_folder, data_folder, Recorder())
    rows = traces(tmp_path)["step-000000.jsonl"]  # before the first step: the weights are those of the folder
    assert len(rows) == 2
    model, tokenizer = load_model(model_folder)
    problems = {problem.id: problem for problem in read_problems(data_folder / "splits" / "train.parquet")}
    for row in rows:
        problem = problems[row["problem_id"]]
        assert (row["question"], row["answer"]) == (problem.question, problem.answer)
        assert row["strategy"] in tokenizer.decode(row["prompts"]["guided"])
        assert "".join(row["pieces"]) == tokenizer.decode(row["tokens"])
        tokens = row["tokens"]
        sides = []
        for prompt in (row["prompts"]["autonomous"], row["prompts"]["guided"]):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1].double()
            sides.append(logits.log_softmax(dim=1))
        without, guided = sides
        kl = (guided.exp() * (guided - without)).sum(dim=1).tolist()
        assert row["kl"] == pytest.approx(kl, abs=1e-4)
        assert 0 < len(row["masked"]) < len(kl), "delta has to matter here"
        assert row["masked"] == [at for at, value in enumerate(kl) if value > 0.05]
        every = torch.arange(len(tokens))
        assert row["logprobs"] == pytest.approx(without[every, tokens].tolist(), abs=1e-3)
        assert row["guided_logprobs"] == pytest.approx(guided[every, tokens].tolist(), abs=1e-3)
        for at, candidates in enumerate(row["candidates"]):
            wanted = {*without[at].topk(5).indices.tolist(), *guided[at].topk(5).indices.tolist()}
            assert {token for token, *_ in candidates} == wanted
            for token, left, right in candidates:
                assert left == pytest.approx(without[at, token].exp().item(), abs=1e-4)
                assert right == pytest.approx(guided[at, token].exp().item(), abs=1e-4)
                assert row["words"][str(token)] == tokenizer.decode([token])
        groups = row["rollouts"]
        assert (len(groups["autonomous"]), len(groups["guided"])) == (3, 2)
        shown = groups["guided"][row["trajectory"]]
        assert (shown["tokens"], shown["reward"]) == (len(tokens), 1.0 if row["distilled"] else shown["reward"])
        assert row["pass_rates"]["guided"] == sum(one["reward"] for one in groups["guided"]) / 2
        assert (row["alpha"] > 0) == row["distilled"]
    assert any(row["distilled"] for row in rows)


def test_a_trajectory_that_is_distilled_is_traced_where_own_rollouts_are_distilled_too(
    tmp_path, model_folder, data_folder
):
    first = {}
    for own in ("false", "true"):
        config = load_config(None, [*TRACED, f"training.algorithm.own_rollouts={own}"])
        run(tmp_path / own, config, model_folder, data_folder, Recorder())
        rows = traces(tmp_path / own)["step-000000.jsonl"]  # before the first step: of the same rollouts
        first[own] = [(row["problem_id"], row["tokens"], row["alpha"], row["distilled"]) for row in rows]
    assert first["true"] == first["false"]
    assert any(distilled for *_, distilled in first["true"])


def test_the_first_trajectories_are_measured_again_with_the_weights_of_later(tmp_path, model_folder, data_folder):
    run(tmp_path, load_config(None, TRACED), model_folder, data_folder, Recorder())
    first, *later = traces(tmp_path).values()
    for rows in later:
        followed = of_kind(rows, "followed")
        assert [row["tokens"] for row in followed] == [row["tokens"] for row in first]
        assert [row["first_step"] for row in followed] == [0, 0]
        assert all(now["kl"] != then["kl"] for now, then in zip(followed, first, strict=True))


@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interrupted_run_leaves_the_same_traces(tmp_path, model_folder, data_folder, stop_after):
    config = load_config(None, TRACED)
    run(tmp_path / "whole", config, model_folder, data_folder, Recorder())
    parts = Recorder(stop_after=stop_after)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", config, model_folder, data_folder, parts)
    parts.stop_after = None
    run(tmp_path / "parts", config, model_folder, data_folder, parts)
    assert traces(tmp_path / "parts") == traces(tmp_path / "whole")


def test_what_is_traced_may_change_when_a_run_is_resumed(tmp_path, model_folder, data_folder):
    stopped = Recorder(stop_after=2)
    with pytest.raises(Interrupted):
        run(tmp_path, load_config(None, TRACED), model_folder, data_folder, stopped)
    stopped.stop_after = None
    run(tmp_path, load_config(None, [*TRACED, "training.trace.every=null"]), model_folder, data_folder, stopped)
    assert list(traces(tmp_path)) == ["step-000000.jsonl"]


def test_a_frozen_guide_says_the_same_at_every_step(tmp_path, model_folder, data_folder):
    config = load_config(None, [*TRACED, "training.algorithm.guide=frozen"])
    run(tmp_path, config, model_folder, data_folder, Recorder())
    first, *later = traces(tmp_path).values()
    for rows in later:
        for now, then in zip(of_kind(rows, "followed"), first, strict=True):
            assert now["guided_logprobs"] == pytest.approx(then["guided_logprobs"], abs=2e-4)
            assert now["logprobs"] != pytest.approx(then["logprobs"], abs=2e-4)


def test_a_method_without_guided_responses_leaves_empty_traces(tmp_path, model_folder, data_folder):
    config = load_config(None, [*SMALL[:2], *SMALL[4:], "training.algorithm.type=grpo"])
    run(tmp_path, config, model_folder, data_folder, Recorder())
    assert all(rows == [] for rows in traces(tmp_path).values())


def test_a_model_that_has_diverged_is_traced_with_nothing_in_place_of_numbers(
    tmp_path, model_folder, data_folder, monkeypatch
):
    import sgpo.training.policy as policy

    shifts = policy.linear_shifts

    def diverged(*args, **settings):
        found = shifts(*args, **settings)
        found.kl_N.fill_(math.nan)
        return found

    monkeypatch.setattr(policy, "linear_shifts", diverged)
    run(tmp_path, load_config(None, TRACED), model_folder, data_folder, Recorder())
    rows = traces(tmp_path)["step-000000.jsonl"]
    assert {value for row in rows for value in row["kl"]} == {None}


def test_a_character_of_several_tokens_is_shown_whole_at_its_first():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    ids = tokenizer.encode("a é\u4f60 b")
    pieces = Pieces(tokenizer).of_all(ids)
    assert len(pieces) == len(ids) == 9
    assert pieces == ["a", " ", "é\u4f60", "", "", "", "", " ", "b"]


def test_a_restarted_run_drops_the_traces_of_what_it_was(tmp_path, model_folder, data_folder):
    run(tmp_path, load_config(None, TRACED), model_folder, data_folder, Recorder())
    (tmp_path / "traces" / "step-000007.jsonl").write_text("{}\n")
    shutil.rmtree(tmp_path / "checkpoints")
    run(tmp_path, load_config(None, [*TRACED, "training.trace.every=3"]), model_folder, data_folder, Recorder())
    assert list(traces(tmp_path)) == ["step-000000.jsonl", "step-000003.jsonl"]
