"""Evaluating a model folder on held-out problems."""

from collections.abc import Sequence
from pathlib import Path

from sgpo.config import RunConfig, config_digest
from sgpo.evaluation.answers import write_answers
from sgpo.evaluation.measure import batches_of, check_benchmarks, measure
from sgpo.evaluation.outcomes import read_outcomes, write_outcomes
from sgpo.evaluation.report import digest_of_ends, folder_digest
from sgpo.evaluation.reuse import code_digest, copy_outcomes, find_same
from sgpo.evaluation.scores import Outcome, Scores, score
from sgpo.files import file_sha256
from sgpo.jsonl import open_journal
from sgpo.problems import Problem, Verifier, read_problems
from sgpo.problems.domains.digest import verifiers_digest
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.lengths import refuse_too_long
from sgpo.rollouts.model_folder import local_folder

_OF_THE_SCORES = {"engine": None, "confidence": 0.95, "resamples": 2000, "verifier_workers": 2}
"""Settings that outcomes do not depend on, or that are noted elsewhere."""


def evaluate_model(config: RunConfig, model: str | Path, output: Path, problems_path: Path | None = None) -> Scores:
    """Measure `model` on the held-out split, or `problems_path`, and write the outcomes to `output`.

    Responses are drawn by `config.evaluation.engine`, or else by `config.engine`; the answers are kept beside the
    outcomes (`answers_path`). An `output` that is about the same weights, problems, settings and code is taken as it
    is, and so is one of another run in `config.runs`; an evaluation that was interrupted goes on after the last problem
    that was measured.
    """
    settings, path = config.evaluation, problems_path or config.data / "splits" / "held_out.parquet"
    problems, folder = read_problems(path), local_folder(model)
    if idle := check_benchmarks(problems, settings):
        print(f"{path}: no problems of {', '.join(idle)}, which evaluation.benchmarks has settings for", flush=True)
    about = {
        "weights": folder_digest(folder),
        "ends": digest_of_ends(folder),
        "problems": file_sha256(path),
        "settings": config_digest(settings.model_copy(update=_OF_THE_SCORES)),
        "chat": config_digest(config.chat),
        "seed": str(config.seed),
        "engine": f"{(settings.engine or config.engine).kind}, {config.sharding.precision}",
        "code": code_digest(),
    }
    if (judged_by := verifiers_digest(problems, config.domains)) is not None:
        about["domains"] = judged_by
    outcomes = read_outcomes(output, about)
    if outcomes is None and (found := find_same(config.runs, about)):
        print(f"evaluating {model}: taken from {found} (same weights, problems, seeds, sampling and code)", flush=True)
        copy_outcomes(found, output)
        outcomes = read_outcomes(output, about)
    if outcomes is None:
        outcomes = _measure(config, model, folder, problems, output, about)
    return score(outcomes, settings.confidence, settings.resamples, config.seed)


def _measure(
    config: RunConfig, model: str | Path, folder: Path, problems: Sequence[Problem], output: Path, about: dict[str, str]
) -> list[Outcome]:
    """Draw and judge what is missing, and write outcomes and answers."""
    settings, batch_size = config.evaluation, config.evaluation.sampling.batch_size
    chosen = settings.engine or config.engine
    for batch in batches_of(problems, settings):
        refuse_too_long(
            batch.problems, folder, chosen, config.chat, {}, batch.sampling.max_new_tokens, batch.setting
        )  # fmt: skip
    journal = open_journal(output.with_name(f"{output.name}.partial"), about)
    with (
        Verifier(settings.verifier_timeout, settings.verifier_workers, config.domains, problems) as verifier,
        open_frozen(
            folder, chosen, config.sharding.precision, batch_size, output.with_name(f"{output.name}.engine"),
            config.chat,
        ) as (engine, chat),
    ):  # fmt: skip
        sampler = Sampler(engine, chat, verifier, {}, config.seed, lenient=True)
        measured = measure(sampler, problems, settings, f"evaluating {model}", journal)
    write_answers([answer for one in measured for answer in one.answers], output)
    outcomes = [one.outcome for one in measured]
    write_outcomes(outcomes, output, about)
    journal.path.unlink()
    return outcomes
