"""A checkout of this code with a world and a model that take seconds, to run the whole loop in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from warm_python import interpreter

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_PARAMS = {
    "world": {"seed": 0, "decisions": 3, "train": 24, "tuning": 4, "held_out": 16},
    "base_model": {"family": "qwen2", "seed": 0, "steps": 30, "hidden_size": 32, "layers": 1},
    "strategies": {"seed": 0, "candidates": 5},
    "teacher": {"kind": "scripted", "model": "scripted-strong-model", "max_tokens": 16384},
    "probe": {"seed": 0, "problems": 8},
    "splits": {"warmup_fraction": 0.0},
    "domains": {},
}
TINY_OVERRIDES = (
    "training.steps=3", "training.problems_per_step=4", "training.algorithm.autonomous_rollouts=2",
    "training.algorithm.guided_rollouts=2", "training.checkpoint_every=1", "evaluation.k=2",
    # So small a model writes no box: it has nothing to learn, and its challenger is the champion once more.
    "checks.before_training=false", "checks.refuse_unchanged=false", "training.stop_after_equal_steps=null",
)  # fmt: skip


def make_tiny_checkout(folder: Path, prefect_database: Path | None = None) -> Path:
    """A checkout of this code, with a world and a model that take seconds; Prefect's tables where they are given."""
    for name in ("flows", "sgpo", "configs"):
        shutil.copytree(REPOSITORY / name, folder / name)  # what is compiled too: files keep their times
    for name in (
        ".gitignore",
        ".dvcignore",
        ".dvc/config",
        ".dvc/.gitignore",
        "data/.gitignore",
        "dvc.yaml",
        "prefect.yaml",
    ):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(TINY_PARAMS, sort_keys=False), encoding="utf-8")
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    for arguments in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message=tiny")):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    if prefect_database is not None:
        home = folder / ".sgpo" / "prefect"
        home.mkdir(parents=True)
        shutil.copy(prefect_database, home)
    return folder


def environment_of(checkout: Path) -> dict[str, str]:
    """The environment in which that checkout's code runs, as the Makefile would set it."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW", "SGPO"))}
    return {
        **ours,
        "PYTHONPATH": str(checkout),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(checkout / ".sgpo" / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def warm_environment_of(checkout: Path) -> dict[str, str]:
    """The same, and what training's interpreter and torchrun start begins with everything imported."""
    warm = str(interpreter(checkout.parent))
    return {**environment_of(checkout), "SGPO_TRAINING_PYTHON": warm, "PYTHON_EXEC": warm}
