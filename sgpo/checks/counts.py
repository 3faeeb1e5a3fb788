"""How much a recipe asks for, of the data as they are: responses of evaluations and validations, rows of a warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from sgpo.config import RunConfig
from sgpo.config.pipeline import PipelineParams
from sgpo.problems import read_problems
from sgpo.training.validation import PROBLEMS
from sgpo.training.warmup import record_of
from sgpo.training.warmup_rows import data_digest


def responses_to_evaluate(config: RunConfig) -> tuple[int, int]:
    """Return the problems and responses of one evaluation, each benchmark's k; none where they are not there yet."""
    places = [config.data / folder / "held_out.parquet" for folder in ("splits", "problems")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return 0, 0
    sources = pq.read_table(file, columns=["source"])["source"].to_pylist()
    return len(sources), sum(config.evaluation.k_of(source) for source in sources)


def responses_to_validate(config: RunConfig) -> tuple[int, int]:
    """Return how often training validates, and how many responses it draws each time."""
    settings, steps, file = config.training.validation, config.training.steps, config.data / PROBLEMS
    if settings.every is None or not file.is_file():
        return 0, 0
    there = pq.read_metadata(file).num_rows
    problems = there if settings.problems is None else min(settings.problems, there)
    return -(-steps // settings.every), problems * settings.k


def warmup_rows(
    config: RunConfig, folder: Path, params: PipelineParams | None, problems: int, texts: Mapping[str, str]
) -> int:
    """Return how many rows the warm-up has in all its epochs; 0 for a model that was warmed up on the same data.

    Where the problems are not split yet, it is the share of `problems` that `params` keep for it.
    """
    file = config.data / "splits" / "warmup.parquet"
    if not config.warmup.epochs:
        return 0
    if not file.is_file():
        share = 0.0 if params is None or record_of(folder) is not None else params.splits.warmup_fraction
        return config.warmup.epochs * round(problems * share)
    taught = read_problems(file)
    same = record_of(folder) == data_digest(taught, texts, config.warmup)
    return 0 if same else config.warmup.epochs * len(taught)
