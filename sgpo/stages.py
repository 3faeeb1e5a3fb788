"""The data stages, in the order of dvc.yaml: each is one function here, one `sgpo` command, and one stage there.

world -> base model -> responses -> strategies -> probe -> splits. A stage reads and writes files under the data folder
only, whole or not at all, and can be killed and run again.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Literal

from sgpo.config import ConfigError, SamplingConfig, Settings
from sgpo.evaluation.measure import draw
from sgpo.files import write_json
from sgpo.params import PipelineParams
from sgpo.problems import Problem, Verifier, read_problems, write_problems
from sgpo.problems.table import read_table, write_table
from sgpo.problems.testbed.strong_model import ScriptedStrongModel
from sgpo.problems.testbed.world import build_split
from sgpo.rollouts.groups import GroupSizes, ProblemSamples, Sampler
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.schema import Rollout
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.strategies.bank import load_strategies, quality_bands
from sgpo.strategies.extraction import extract_all
from sgpo.strategies.refusals import write_refusals
from sgpo.strategies.responses import respond_all
from sgpo.strategies.schema import StrongResponse
from sgpo.training.base_model import build_base_model
from sgpo.training.distributed import open_world


class ProbedProblem(Settings):
    """The champion's pass rate on one problem without and with its strategy; `lift` is the difference."""

    problem_id: str
    autonomous: float
    guided: float
    lift: float


def build_world(params: PipelineParams, data: Path) -> None:
    """The testbed's problems: data/problems/{train,tuning,held_out}.parquet."""
    splits: tuple[Literal["train", "tuning", "held_out"], ...] = ("train", "tuning", "held_out")
    for split in splits:
        problems = build_split(params.world, split)
        write_problems(problems, data / "problems" / f"{split}.parquet")
        print(f"{split}: {len(problems)} problems")


def build_base(params: PipelineParams, data: Path, work: Path) -> None:
    """The testbed's base model: data/base/<family>; `work` keeps checkpoints until it is done."""
    family = params.base_model.family
    with open_world() as world:
        build_base_model(params.base_model, data / "base" / family, work, world)


def respond(params: PipelineParams, data: Path, work: Path) -> None:
    """The strong model's verified responses: data/responses.parquet, and what was refused with its reason."""
    problems = read_problems(data / "problems" / "train.parquet")
    with Verifier() as verifier:
        responses, refusals = respond_all(
            problems, ScriptedStrongModel(), verifier.score, params.strategies, journal=work / "responses.jsonl"
        )
    write_refusals(refusals, data / "responses_refused.jsonl")
    write_table(responses, data / "responses.parquet")
    print(f"{len(responses)} of {len(problems)} problems have a verified response; {len(refusals)} texts refused")


def extract(params: PipelineParams, data: Path, work: Path) -> None:
    """One strategy per problem: data/strategies.parquet, and what was refused with its reason."""
    problems = read_problems(data / "problems" / "train.parquet")
    responses = read_table(data / "responses.parquet", StrongResponse)
    answered = {response.problem_id for response in responses}
    summary = extract_all(
        [problem for problem in problems if problem.id in answered],
        responses,
        ScriptedStrongModel(),
        params.strategies,
        strategies=data / "strategies.parquet",
        refusals=data / "strategies_refused.jsonl",
        journal=work / "strategies.jsonl",
    )
    bands = quality_bands(load_strategies(data / "strategies.parquet", problems).values())
    write_json(
        data / "strategies.json",
        {"kept": summary.kept, "refused": dict(sorted(summary.refused.items())), "high": bands.high,
         "medium": bands.medium, "low": bands.low},
    )  # fmt: skip
    print(f"{summary.kept} strategies; {bands.high:.0%} high, {bands.medium:.0%} medium, {bands.low:.0%} low quality")


def probe(params: PipelineParams, data: Path, model: Path) -> None:
    """What the strategies are worth to `model`: data/probe.parquet, its rollouts, and the means in data/probe.json."""
    settings = params.probe
    problems = read_problems(data / "problems" / "train.parquet")
    strategies = load_strategies(data / "strategies.parquet", problems)
    chosen = [problem for problem in problems if problem.id in strategies][: settings.problems]
    samples = sample_problems(
        model, chosen, {key: strategy.text() for key, strategy in strategies.items()},
        GroupSizes(settings.autonomous_rollouts, settings.guided_rollouts), settings.sampling, settings.seed, "probe",
    )  # fmt: skip
    rows = [_probed(problem) for problem in samples]
    rollouts: list[Rollout] = [rollout for problem in samples for rollout in (*problem.autonomous, *problem.guided)]
    write_table(rollouts, data / "probe_rollouts.parquet")
    write_table(rows, data / "probe.parquet")
    means = {name: statistics.fmean(getattr(row, name) for row in rows) for name in ("autonomous", "guided", "lift")}
    write_json(data / "probe.json", {"problems": len(rows), **means})
    print(f"pass rate without strategy {means['autonomous']:.3f}, with strategy {means['guided']:.3f}")


def split(params: PipelineParams, data: Path) -> None:
    """data/splits/{warmup,train,held_out}.parquet from problems, strategies and the probe's pass rates."""
    settings = params.splits
    problems = read_problems(data / "problems" / "train.parquet")
    strategies = load_strategies(data / "strategies.parquet", problems)
    responses = {row.problem_id: row.text for row in read_table(data / "responses.parquet", StrongResponse)}
    solved = {row.problem_id for row in read_table(data / "probe.parquet", ProbedProblem) if row.autonomous == 1.0}
    usable = [p for p in problems if p.id in strategies and not (settings.drop_solved and p.id in solved)]
    if not usable:
        raise ConfigError(f"{data / 'splits'}: no problem left to train on (expected some with a strategy, unsolved)")
    warmup = usable[: round(settings.warmup_fraction * len(usable))]
    with_response = [problem.model_copy(update={"response": responses[problem.id]}) for problem in warmup]
    folder = data / "splits"
    if with_response:
        write_problems(with_response, folder / "warmup.parquet")
    write_problems(usable[len(warmup) :], folder / "train.parquet")
    write_problems(read_problems(data / "problems" / "held_out.parquet"), folder / "held_out.parquet")
    print(f"{len(warmup)} problems for warm-up, {len(usable) - len(warmup)} for RL")


def sample_problems(
    model: Path,
    problems: list[Problem],
    strategies: dict[str, str],
    sizes: GroupSizes,
    sampling: SamplingConfig,
    seed: int,
    description: str,
) -> list[ProblemSamples]:
    """Both groups of every problem from the model in a folder."""
    network, tokenizer = load_model(model)
    with Verifier() as verifier:
        sampler = Sampler(TransformersEngine(network, tokenizer), tokenizer, verifier, strategies, seed)
        return draw(sampler, problems, sizes, sampling, description)


def _probed(samples: ProblemSamples) -> ProbedProblem:
    autonomous, guided = samples.pass_rate("autonomous"), samples.pass_rate("guided")
    return ProbedProblem(problem_id=samples.problem_id, autonomous=autonomous, guided=guided, lift=guided - autonomous)
