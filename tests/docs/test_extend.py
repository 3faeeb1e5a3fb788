"""The examples of docs/extend.md are whole: taken from the page as they stand, each does what it says."""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
sys.path.insert(0, str(Path(__file__).parents[1] / "rollouts"))

from samples import HashVerifier, accumulate, gradient_for, make_samples
from test_loop import SMALL, AlwaysFinished, Interrupted, Recorder, run
from test_step import flat_gradient, tiny_policy
from testbed_models import greedy_by_forward, make_model, make_prompts, worst_logprob_error

from sgpo.config import ConfigError, SamplingConfig, TrainingConfig, load_config
from sgpo.config.pipeline import load_params
from sgpo.pipeline import stages
from sgpo.pipeline.teacher import load_teacher
from sgpo.problems import Problem, Verifier, read_problems, write_problems
from sgpo.problems.domains import registry
from sgpo.problems.domains.stress import stress
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import GroupSizes
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.teacher.teacher import TeacherError

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# ([\w/]+\.py)\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture(autouse=True, scope="module")
def own_folder(tmp_path_factory):
    """Put the page's files into a folder on the Python path."""
    folder = tmp_path_factory.mktemp("own")
    for name, code in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def test_every_python_block_is_a_file_of_ones_own():
    assert len(FILES) == PAGE.count("```python") == 5
    assert all(ast.get_docstring(ast.parse(code)) for code in FILES.values())


METHOD = "training.algorithm={type: my_methods.rloo, rollouts: 3}"


def test_the_methods_gradient_is_that_of_its_formula(tokenizer):
    policy, samples = tiny_policy(tokenizer), make_samples(6)
    config = TrainingConfig(algorithm={"type": "my_methods.rloo", "rollouts": 3})
    sums = accumulate(gradient_for(policy, config, tokenizer.pad_token_id), samples)
    gradient = flat_gradient(policy)
    policy.zero_grad()
    loss = torch.zeros((), dtype=torch.float64)
    for problem in samples:
        for rollout in problem.autonomous:
            others = [other.reward for other in problem.autonomous if other is not rollout]
            ids = torch.tensor([[*problem.autonomous_prompt, *rollout.token_ids]])
            logits = policy.model(input_ids=ids).logits[0, len(problem.autonomous_prompt) - 1 : -1]
            logprobs = logits.log_softmax(-1).gather(1, torch.tensor(rollout.token_ids)[:, None])
            advantage = rollout.reward - sum(others) / len(others)
            loss = loss - advantage * logprobs.mean() / len(problem.autonomous) / len(samples)
    loss.backward()
    torch.testing.assert_close(gradient, flat_gradient(policy), atol=5e-8, rtol=1e-6)
    assert gradient.abs().max() > 1e-3
    assert sums["reinforced_tokens"] > 0


def test_the_method_is_chosen_checked_trained_and_resumed(tmp_path, model_folder, data_folder):
    config = load_config(None, [*[line for line in SMALL if "algorithm" not in line], METHOD])
    whole, stopped = Recorder(), Recorder(stop_after=1)
    expected = run(tmp_path / "whole", config, model_folder, data_folder, whole)
    assert sum(row["method/reinforced_tokens"] for row in whole.rows.values()) > 0
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", config, model_folder, data_folder, stopped)
    stopped.stop_after = None
    resumed = run(tmp_path / "stopped", config, model_folder, data_folder, stopped)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    with pytest.raises(ConfigError, match=r"unknown key 'training\.algorithm\.rollout' .*rollouts' is nearest"):
        load_config(None, [METHOD.replace("rollouts", "rollout")])


LENGTH = Problem(question="How long?", answer="3.2 km", domain="units")
SUM_OF_TWO = Problem(question="What is 17 + 25?", answer="42")


@pytest.fixture
def installed(own_folder):
    """The page's verifier as a package's metadata registers it, with the page's own lines."""
    lines = re.search(r"```toml\n\[project\.entry-points\.\"(sgpo\.verifiers)\"\]\n(.*?)```", PAGE, re.DOTALL)
    metadata = own_folder / "my_verifiers-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-verifiers\nVersion: 1.0\n", encoding="utf-8")
    entry = lines[2].replace('"', "")
    (metadata / "entry_points.txt").write_text(f"[{lines[1]}]\n{entry}", encoding="utf-8")
    registry._installed.cache_clear()
    yield
    shutil.rmtree(metadata)
    registry._installed.cache_clear()


def test_the_verifier_judges_its_domain_and_half_a_score_is_no_pass(installed):
    texts = ["Answer: 3.2 km", "Answer: 3.2 m", "Answer: 3.3 km", "Answer: far", "3.2 km"]
    with Verifier(workers=1, problems=[LENGTH]) as verifier:
        verdicts = verifier.score_many([(r"\boxed{42}", SUM_OF_TWO), *((text, LENGTH) for text in texts)])
        (report,) = stress([LENGTH, LENGTH.model_copy(update={"id": "b", "answer": "5 s"})], verifier)
    assert [verdict.reason for verdict in verdicts] == [
        "correct", "correct", "wrong", "wrong", "unparsable", "no_answer",
    ]  # fmt: skip
    assert [verdict.score for verdict in verdicts] == [None, 1.0, 0.5, 0.0, None, None]
    assert report.passed, report.lines()


def test_the_recipes_lines_give_the_verifier_its_options(own_folder):
    line = re.search(r"`domains: (\{units: .*\})`", PAGE)
    config = load_config(None, [f"domains={line[1]}"])
    with Verifier(workers=1, domains=config.domains, problems=[LENGTH]) as verifier:
        assert verifier.score("Answer: 3.22 km", LENGTH).correct
        assert not verifier.score("Answer: 3.3 km", LENGTH).correct


def test_the_teacher_is_chosen_by_the_pages_line_and_makes_strategies(tmp_path, own_folder):
    line = re.search(r"```yaml\n(teacher: .*?)```", PAGE, re.DOTALL)
    (tmp_path / "params.yaml").write_text(line[1], encoding="utf-8")
    params, data = load_params(tmp_path / "params.yaml"), tmp_path / "data"
    other = Problem(question="Why?", answer="1")
    write_problems([SUM_OF_TWO, other], data / "problems" / "train.parquet")
    stages.respond(params, data, tmp_path / "work")
    stages.extract(params, data, tmp_path / "work")
    bank = load_strategies(data / "strategies.parquet", [SUM_OF_TWO])
    assert bank[SUM_OF_TWO.id].teacher == "sums"
    refused = (data / "responses_refused.jsonl").read_text(encoding="utf-8")
    assert other.id in refused
    assert "sums: no sum" in refused


@pytest.mark.parametrize(
    ("plugin", "message"),
    [("my_teachers.sums:NoTeacher", "has no attribute 'NoTeacher'"), ("no_such.sums:SumTeacher", "No module named"),
     ("my_teachers.sums:json", "'module' object is not callable")],
)  # fmt: skip
def test_a_teacher_that_is_none_is_named(plugin, message, own_folder):
    with pytest.raises(TeacherError, match=message):
        load_teacher(plugin)


def test_the_engine_draws_what_the_transformers_engine_draws(tokenizer):
    plain_engine = import_module("my_engines.plain").PlainEngine
    model, other = make_model(0, tokenizer), make_model(1, tokenizer)
    engine, known = plain_engine(model, tokenizer), TransformersEngine(model, tokenizer)
    prompts, seeds = make_prompts(12, model.config.vocab_size), list(range(12))
    sampling = SamplingConfig(temperature=0.7, top_p=0.9, max_new_tokens=12)
    responses = engine.generate(prompts, sampling, seeds)
    assert [r.token_ids for r in responses] == [r.token_ids for r in known.generate(prompts, sampling, seeds)]
    assert worst_logprob_error(model, prompts, responses, 0.7) < 1e-4
    engine.load_weights(other.named_parameters(), 7)
    greedy = SamplingConfig(temperature=0.0, top_p=1.0, max_new_tokens=6)
    engine.end_ids = ()  # the plain forward does not end either
    responses = engine.generate(prompts, greedy, seeds)
    assert [r.token_ids for r in responses] == greedy_by_forward(other, prompts, 6)
    assert {r.policy_step for r in responses} == {7}
    with pytest.raises(ValueError, match=r"unknown or missing weights: \['model\.extra'\]"):
        engine.load_weights({**other.state_dict(), "model.extra": torch.zeros(1)}.items())
    engine.release_device()
    assert engine.prompt_ids("1 apple", None) == AlwaysFinished(model, tokenizer).prompt_ids("1 apple", None)


def test_the_world_leaves_what_probe_splits_and_training_need(tmp_path, tokenizer):
    world = import_module("my_worlds.sequences")
    asyncio.run(world.build(tmp_path))
    splits = {split: read_problems(tmp_path / "problems" / f"{split}.parquet") for split in world.SIZES}
    assert {split: len(problems) for split, problems in splits.items()} == world.SIZES
    questions = [problem.question for problems in splits.values() for problem in problems]
    assert len(set(questions)) == len(questions)
    strategies = load_strategies(tmp_path / "strategies.parquet", splits["train"])
    assert strategies.keys() == {problem.id for problem in splits["train"]}
    assert {strategy.problem_type.split()[-1] for strategy in strategies.values()} == {"evenly", "proportion"}
    model = make_model(0, tokenizer)
    texts = {name: strategy.text() for name, strategy in strategies.items()}
    sampler = Sampler(TransformersEngine(model, tokenizer), tokenizer, HashVerifier(), texts, 0)
    samples, _ = sampler.sample(splits["train"][:2], GroupSizes(2, 2), SamplingConfig(max_new_tokens=4), 0)
    assert all(len(problem.guided) == len(problem.autonomous) == 2 for problem in samples)


def test_what_the_page_names_is_there():
    for path in re.findall(r"`((?:sgpo|tests|flows)/[\w./]+)`", PAGE):
        assert (REPOSITORY / path).exists(), path
    for member in ("rows", "groups", "token_loss", "needs"):
        assert f"`{member}" in PAGE
