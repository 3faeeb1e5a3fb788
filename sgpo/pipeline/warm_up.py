"""`sgpo warm-up`: the first champion of a model that has to learn the form of an answer before RL can teach it more.

What SGPO adds is then measured against a model that knows the form already.
"""

import json
import shutil
from pathlib import Path

from sgpo.config import ConfigError, RunConfig
from sgpo.config.pipeline import PipelineParams
from sgpo.evaluation.report import folder_digest
from sgpo.files import first_difference, write_json
from sgpo.pipeline.splits import check_warmup, problems_for_warmup, with_responses
from sgpo.problems import Problem, read_problems
from sgpo.rollouts.model_folder import local_folder
from sgpo.strategies.bank import load_strategies
from sgpo.training.recovery.origin import digest_of_what_is_computed
from sgpo.training.warmup import warm_up
from sgpo.training.warmup_rows import data_digest
from sgpo.training.world import open_world

FILE = "made_of.json"


def warm_up_model(config: RunConfig, params: PipelineParams, model: str | Path, run: Path) -> Path:
    """Warm `model` up on the problems that are kept for it, and return the folder of the result, `run`/model.

    Needs problems, responses and strategies in `config.data`, and no probe. The same command resumes, and starts again
    where model, data or settings are others. Raises ConfigError where no warm-up is asked for.
    """
    check_warmup(config.warmup, params)
    if not config.warmup.epochs:
        raise ConfigError("warmup.epochs is 0 (expected at least one epoch for a warm-up)")
    problems, strategies = warmup_inputs(config, params)
    folder = local_folder(model)
    made_of = {
        "settings": digest_of_what_is_computed(config),
        "model": folder_digest(folder),
        "data": data_digest(problems, strategies, config.warmup),
    }
    with open_world() as world:
        if world.is_main:
            _start_again_where_different(run, made_of)
        world.barrier()
        return warm_up(config, problems, folder, run, world, strategies)


def warmup_inputs(config: RunConfig, params: PipelineParams) -> tuple[list[Problem], dict[str, str]]:
    """Return the problems that are kept for the warm-up, with their responses, and the strategies' texts by problem."""
    problems = read_problems(config.data / "problems" / "train.parquet")
    strategies = load_strategies(config.data / "strategies.parquet", problems)
    candidates = [problem for problem in problems if problem.id in strategies]
    chosen = problems_for_warmup(candidates, params.splits)
    texts = {problem_id: strategy.text() for problem_id, strategy in strategies.items()}
    return with_responses(chosen, config.data / "responses.parquet"), texts


def _start_again_where_different(run: Path, made_of: dict[str, str]) -> None:
    file = run / FILE
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        before = made_of
    except ValueError:
        raise ConfigError(f"{file}: not JSON (expected what `sgpo warm-up` has written; remove {run})") from None
    if different := first_difference(before, made_of):
        print(f"{run}: started again, with other {different}", flush=True)
        shutil.rmtree(run)
    write_json(file, made_of)
