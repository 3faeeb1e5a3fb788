"""Evaluating a model folder on held-out problems."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sgpo.config import RunConfig, config_digest
from sgpo.evaluation.measure import measure
from sgpo.evaluation.outcomes import read_outcomes, write_outcomes
from sgpo.evaluation.report import folder_digest
from sgpo.evaluation.scores import Scores, score
from sgpo.problems import Verifier, read_problems
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.transformers_engine import TransformersEngine


def evaluate_model(config: RunConfig, model: Path, output: Path, problems_path: Path | None = None) -> Scores:
    """Measure `model` on the held-out split, or `problems_path`, and write the outcomes to `output`.

    An `output` that is about the same weights, problems and settings is taken as it is.
    """
    settings = config.evaluation
    path = problems_path or config.data / "splits" / "held_out.parquet"
    problems = read_problems(path)
    about = {
        "weights": folder_digest(model),
        "problems": hashlib.sha256(path.read_bytes()).hexdigest(),
        "settings": config_digest(settings),
        "seed": str(config.seed),
    }
    outcomes = read_outcomes(output, about)
    if outcomes is None:
        network, tokenizer = load_model(model)
        with Verifier(timeout_s=settings.verifier_timeout, workers=settings.verifier_workers) as verifier:
            sampler = Sampler(TransformersEngine(network, tokenizer), tokenizer, verifier, {}, config.seed)
            outcomes = measure(sampler, problems, settings.k, settings.sampling, f"evaluating {model.name}")
        write_outcomes(outcomes, output, about)
    return score(outcomes, settings.confidence, settings.resamples, config.seed)
