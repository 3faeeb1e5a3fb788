"""The data stages, in the order of dvc.yaml: each is one function, one `sgpo` command, and one stage there.

world -> base model -> responses -> strategies -> probe -> splits (splits.py). A stage reads and writes files under the
data folder only, whole or not at all, and can be killed and run again. What takes seconds to import is imported where
it is used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sgpo.amounts import counted
from sgpo.config import config_digest
from sgpo.config.domains import Domains
from sgpo.config.pipeline import PipelineParams, ProbeConfig
from sgpo.files import write_json
from sgpo.jsonl import open_journal
from sgpo.pipeline.splits import ProbedProblem, check_probed, problems_for_warmup
from sgpo.problems import Problem, Verifier, read_problems, write_problems
from sgpo.problems.domains.digest import verifiers_digest
from sgpo.problems.table import write_table
from sgpo.strategies.bank import load_strategies, quality_bands
from sgpo.strategies.extraction import ExtractionSummary, extract_all
from sgpo.strategies.responses import ResponseSummary, respond_all
from sgpo.strategies.teacher.concurrency import run
from sgpo.testbed.world import build_split

if TYPE_CHECKING:
    from sgpo.rollouts.schema import ProblemSamples


def build_world(params: PipelineParams, data: Path) -> None:
    """Draw the testbed's problems: data/problems/{train,tuning,held_out}.parquet."""
    splits: tuple[Literal["train", "tuning", "held_out"], ...] = ("train", "tuning", "held_out")
    for split in splits:
        problems = build_split(params.world, split)
        write_problems(problems, data / "problems" / f"{split}.parquet")
        print(f"{split}: {counted(len(problems), 'problem')}")


def build_functions(sizes: Mapping[Literal["train", "tuning", "held_out"], int], seed: int, data: Path) -> None:
    """Draw tiny functions with their tests: data/problems/{train,tuning,held_out}.parquet."""
    from sgpo.testbed.functions import draw_functions

    for split, size in sizes.items():
        problems = draw_functions(split, size, seed)
        write_problems(problems, data / "problems" / f"{split}.parquet")
        print(f"{split}: {counted(len(problems), 'problem')}")


def build_base(
    params: PipelineParams, data: Path, work: Path, *, build: bool = False, packed: Path | None = None
) -> Path:
    """Make and return data/base/<family>: the package's base model when its settings are these, else one pre-trained.

    `build` pre-trains in any case; `work` keeps checkpoints until that is done. `packed` is a folder that gets the
    model as the package ships it.
    """
    from sgpo.testbed.base_model import build_base_model
    from sgpo.testbed.bases import find_shipped, pack, unpack
    from sgpo.training.world import open_world

    config, decisions = params.base_model, params.world.decisions
    folder = data / "base" / config.family
    shipped, why = (None, "--build") if build else find_shipped(config, decisions)
    with open_world() as world:
        if world.is_main:
            print(f"base model: {'pre-trained here' if shipped is None else 'from the package'} ({why})", flush=True)
        if shipped is None:
            build_base_model(config, decisions, folder, work, world)
        elif world.is_main:
            unpack(shipped, folder)
        if packed is not None and world.is_main:
            pack(folder, config, decisions, packed, world.size)
        world.barrier()
    return folder


def respond(params: PipelineParams, data: Path, work: Path) -> ResponseSummary:
    """Collect the strong model's verified responses: data/responses.parquet, and what was refused with its reason."""
    from sgpo.pipeline.teacher import describe_requests, recorded_teacher

    problems = read_problems(data / "problems" / "train.parquet")

    async def ask() -> ResponseSummary:
        with Verifier(domains=params.domains, problems=problems) as verifier:
            async with recorded_teacher(params, problems, work) as teacher:
                summary = await respond_all(
                    problems, teacher, verifier.score, params.strategies,
                    responses=data / "responses.parquet", refusals=data / "responses_refused.jsonl",
                    domains=params.domains,
                )  # fmt: skip
        refused = sum(summary.refused.values())
        print(f"{summary.kept} of {len(problems)} problems have a verified response; {refused} texts refused")
        print(describe_requests(teacher))
        return summary

    return run(ask())


def extract(params: PipelineParams, data: Path, work: Path) -> None:
    """One strategy per response: data/strategies.parquet and .json, and what was refused with its reason."""
    from sgpo.pipeline.teacher import describe_requests, recorded_teacher, unused_records

    problems = read_problems(data / "problems" / "train.parquet")

    async def ask() -> ExtractionSummary:
        with Verifier(domains=params.domains, problems=problems) as verifier:
            async with recorded_teacher(params, problems, work) as teacher:
                summary = await extract_all(
                    problems, teacher, params.strategies, responses=data / "responses.parquet",
                    strategies=data / "strategies.parquet", refusals=data / "strategies_refused.jsonl",
                    verify=verifier.score, unused=unused_records(params, problems), domains=params.domains,
                )  # fmt: skip
        print(describe_requests(teacher))
        return summary

    summary = run(ask())
    bands = quality_bands(load_strategies(data / "strategies.parquet", problems).values())
    write_json(
        data / "strategies.json",
        {"kept": summary.kept, "refused": dict(sorted(summary.refused.items())), "high": bands.high,
         "medium": bands.medium, "low": bands.low},
    )  # fmt: skip
    print(f"{summary.kept} strategies; {bands.high:.0%} high, {bands.medium:.0%} medium, {bands.low:.0%} low quality")


def probe(params: PipelineParams, data: Path, work: Path, model: str | Path) -> None:
    """Measure what the strategies are worth to `model`: data/probe.parquet, its rollouts, the means in data/probe.json.

    `work` keeps the rollouts of an interrupted probe, which goes on after them.
    """
    settings = params.probe
    problems = read_problems(data / "problems" / "train.parquet")
    strategies = load_strategies(data / "strategies.parquet", problems)
    candidates = [problem for problem in problems if problem.id in strategies]
    candidates = candidates[len(problems_for_warmup(candidates, params.splits)) :]
    chosen = candidates[: settings.problems]
    check_probed(params, len(candidates), len(chosen))  # now, rather than after hours of sampling
    texts = {problem.id: strategies[problem.id].text() for problem in chosen}
    samples = _probe_samples(settings, model, chosen, texts, work / "probe", params.domains)
    rows = [_probed(problem) for problem in samples]
    rollouts = [rollout for problem in samples for rollout in problem.kept()]
    write_table(rollouts, data / "probe_rollouts.parquet")
    write_table(rows, data / "probe.parquet")
    means = {name: statistics.fmean(getattr(row, name) for row in rows) for name in ("autonomous", "guided", "lift")}
    write_json(data / "probe.json", {"problems": len(rows), **means})
    shutil.rmtree(work / "probe")
    print(f"pass rate without strategy {means['autonomous']:.3f}, with strategy {means['guided']:.3f}")


def _probe_samples(
    settings: ProbeConfig,
    model: str | Path,
    problems: list[Problem],
    strategies: dict[str, str],
    work: Path,
    domains: Domains,
) -> list[ProblemSamples]:
    """Both groups of every problem, each kept in `work` as soon as it is drawn."""
    from pydantic import TypeAdapter

    from sgpo.evaluation.measure import draw
    from sgpo.evaluation.report import digest_of_ends, folder_digest
    from sgpo.rollouts.frozen import open_frozen
    from sgpo.rollouts.groups import Sampler
    from sgpo.rollouts.lengths import refuse_too_long
    from sgpo.rollouts.model_folder import local_folder
    from sgpo.rollouts.schema import GroupSizes, ProblemSamples

    folder, row = local_folder(model), TypeAdapter(ProblemSamples)
    refuse_too_long(
        problems, folder, settings.engine, settings.chat, strategies, settings.sampling.max_new_tokens,
        "probe.sampling.max_new_tokens",
    )  # fmt: skip
    asked = [[problem.id, problem.question, strategies[problem.id]] for problem in problems]
    about = {
        "weights": folder_digest(folder),
        "ends": digest_of_ends(folder),
        "asked": hashlib.sha256(json.dumps(asked).encode()).hexdigest(),
        "settings": config_digest(settings),
    }
    if (judged_by := verifiers_digest(problems, domains)) is not None:
        about["domains"] = judged_by
    journal = open_journal(work / "rollouts.jsonl", about)
    done = {samples.problem_id: samples for samples in map(row.validate_python, journal.rows[1:])}
    missing = [problem for problem in problems if problem.id not in done]
    sizes, sampling = GroupSizes(settings.autonomous_rollouts, settings.guided_rollouts), settings.sampling
    with (
        Verifier(domains=domains, problems=problems) as verifier,
        open_frozen(folder, settings.engine, settings.precision, sampling.batch_size, work, settings.chat) as (
            engine,
            chat,
        ),
    ):
        sampler = Sampler(engine, chat, verifier, strategies, settings.seed, lenient=True)
        for samples in draw(sampler, missing, sizes, sampling, "probe", len(done)):
            done[samples.problem_id] = samples
            journal.append(row.dump_python(samples, mode="json"))
    return [done[problem.id] for problem in problems]


def _probed(samples: ProblemSamples) -> ProbedProblem:
    autonomous, guided = samples.pass_rate("autonomous"), samples.pass_rate("guided")
    return ProbedProblem(problem_id=samples.problem_id, autonomous=autonomous, guided=guided, lift=guided - autonomous)
