"""What a run is made of: resuming with another model, data or settings would mix two runs without a word."""

import functools
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sgpo.algorithms.registry import method
from sgpo.config import RunConfig
from sgpo.evaluation.report import digest_of_ends, folder_digest
from sgpo.files import file_sha256, first_difference, write_json
from sgpo.problems.domains.digest import verifier_digests
from sgpo.training import best
from sgpo.training.checkpoints.checkpoint import CheckpointError
from sgpo.training.checkpoints.stored_run import StoredRun
from sgpo.training.validation import PROBLEMS

FILE = "made_of.json"
_VERIFIER, _ENDS = "verifier of domain ", "generation_config.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """Hold what a run is made of now, and what of it is `different` from what it began with; None where nothing is."""

    made_of: dict[str, str]
    different: str | None


def check_origin(config: RunConfig, model_folder: Path, run_folder: Path, restart: bool = False) -> Origin:
    """Compare what a run is made of with what it began with, and write nothing.

    Where that differs and the run is not to `restart`, CheckpointError names the first difference.
    """
    now, file = _origin(config, model_folder), run_folder / FILE
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else now
    # A run older than these keys has noted neither verifiers nor ends: it goes on with today's.
    before = {**{key: digest for key, digest in now.items() if key.startswith((_VERIFIER, _ENDS))}, **before}
    different = first_difference(before, now)
    if different and not restart:
        raise CheckpointError(
            f"{run_folder}: this run began with other {different} (expected the same, another run directory, or "
            "--restart to start again)"
        )
    return Origin(now, different)


def note_origin(origin: Origin, run_folder: Path, stored: StoredRun | None = None) -> None:
    """Note what a run is made of; one that is made of something else now restarts.

    It does so without its checkpoints and warm-up, here and where it is `stored`.
    """
    if origin.different:
        print(f"{run_folder}: restarted, with other {origin.different}", flush=True)
        if stored is not None:  # before FILE says that the run is made of what is there now
            stored.delete_training()
        for part in ("checkpoints", "warmup", "model"):
            shutil.rmtree(run_folder / part, ignore_errors=True)
        (run_folder / best.FILE).unlink(missing_ok=True)
    write_json(run_folder / FILE, origin.made_of)


LEFT_OUT_WHEN_OFF = (
    ("training", "refill_rounds"), ("training", "algorithm", "contrast"), ("warmup", "guided_fraction"),
)  # fmt: skip
"""Settings newer than runs that are still to be resumed: while one is off, a run is what it was before there was it."""


def digest_of_what_is_computed(config: RunConfig) -> str:
    """Return a hash of the settings that weights depend on; where results go and how they are measured may change."""
    wanted: dict[str, Any] = {
        "seed": True, "chat": True, "domains": True, "warmup": True, "training": True, "sharding": {"precision": True},
    }  # fmt: skip
    # What is left out may change in the middle of a run, and left_out.jsonl says when; traces and when it stops
    # change no weight.
    left_out = {"exclude_problems", "leave_out_too_long", "trace", "stop_after_equal_steps"}
    if config.training.validation.every is None:  # its other settings are idle, and older runs have none
        left_out.add("validation")
    else:
        wanted["evaluation"] = {"sampling": True}  # what is exported depends on it
    tree = config.model_dump(mode="json", include=wanted, exclude={"training": left_out})
    for *groups, name in LEFT_OUT_WHEN_OFF:
        group = functools.reduce(dict.__getitem__, groups, tree)
        if not group.get(name):
            group.pop(name, None)
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def _domains_in(files: Sequence[Path]) -> set[str]:
    """Return the domains of problem files, from that column alone."""
    columns = [
        pq.read_table(file, columns=["domain"])["domain"] for file in files if "domain" in pq.read_schema(file).names
    ]
    return {domain for column in columns for domain in column.unique().to_pylist() if domain is not None}


def _origin(config: RunConfig, model_folder: Path) -> dict[str, str]:
    judged = ["splits/train.parquet"] + ([PROBLEMS] if config.training.validation.every is not None else [])
    files = [*judged, "strategies.parquet"]
    files += ["splits/warmup.parquet"] if config.warmup.epochs else []
    files += ["responses.parquet"] if "responses" in method(config.training.algorithm.type).needs else []
    domains = _domains_in([config.data / name for name in judged])
    return {
        "settings": digest_of_what_is_computed(config),
        "model": folder_digest(model_folder),
        _ENDS: digest_of_ends(model_folder),
        **{name: file_sha256(config.data / name) for name in files},
        **{f"{_VERIFIER}'{domain}'": digest for domain, digest in verifier_digests(domains, config.domains).items()},
    }
