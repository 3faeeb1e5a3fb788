"""Evaluating a model folder on held-out problems."""

from pathlib import Path

from sgpo.config import RunConfig, config_digest
from sgpo.config.domains import domains_digest
from sgpo.evaluation.measure import measure
from sgpo.evaluation.outcomes import read_outcomes, write_outcomes
from sgpo.evaluation.report import folder_digest
from sgpo.evaluation.scores import Scores, score
from sgpo.files import file_sha256
from sgpo.jsonl import open_journal
from sgpo.problems import Verifier, read_problems
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.lengths import refuse_too_long
from sgpo.rollouts.model_folder import local_folder


def evaluate_model(config: RunConfig, model: str | Path, output: Path, problems_path: Path | None = None) -> Scores:
    """Measure `model` on the held-out split, or `problems_path`, and write the outcomes to `output`.

    Responses are drawn by `config.evaluation.engine`, or else by `config.engine`. An `output` that is about the same
    weights, problems and settings is taken as it is; an evaluation that was interrupted goes on after the last problem
    that was measured.
    """
    settings, precision = config.evaluation, config.sharding.precision
    chosen = settings.engine or config.engine
    path = problems_path or config.data / "splits" / "held_out.parquet"
    problems, folder = read_problems(path), local_folder(model)
    about = {
        "weights": folder_digest(folder),
        "problems": file_sha256(path),
        "settings": config_digest(settings.model_copy(update={"engine": None})),
        "chat": config_digest(config.chat),
        "seed": str(config.seed),
        "engine": f"{chosen.kind}, {precision}",
    }
    if config.domains:
        about["domains"] = domains_digest(config.domains)
    outcomes = read_outcomes(output, about)
    if outcomes is None:
        refuse_too_long(
            problems, folder, chosen, config.chat, {}, settings.sampling.max_new_tokens,
            "evaluation.sampling.max_new_tokens",
        )  # fmt: skip
        journal = open_journal(output.with_name(f"{output.name}.partial"), about)
        with (
            Verifier(settings.verifier_timeout, settings.verifier_workers, config.domains, problems) as verifier,
            open_frozen(
                folder, chosen, precision, settings.sampling.batch_size, output.with_name(f"{output.name}.engine"),
                config.chat,
            ) as (engine, chat),
        ):  # fmt: skip
            sampler = Sampler(engine, chat, verifier, {}, config.seed)
            outcomes = measure(sampler, problems, settings.k, settings.sampling, f"evaluating {model}", journal)
        write_outcomes(outcomes, output, about)
        journal.path.unlink()
    return score(outcomes, settings.confidence, settings.resamples, config.seed)
