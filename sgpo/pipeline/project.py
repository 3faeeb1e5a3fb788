"""`sgpo init`: a recipe, params.yaml, dvc.yaml and prefect.yaml for a model and problems of one's own, that agree.

They are made from one record (`Project`): the recipe's lengths and chat are the probe's, its name is what every stage
and every deployment asks for, and a warm-up has its share of the problems.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from sgpo.config import ConfigError, load_config
from sgpo.config.pipeline import load_params
from sgpo.errors import UserError, one_line
from sgpo.evaluation.power import shown_gain
from sgpo.files import is_empty_folder, publish_file
from sgpo.names import is_run_name
from sgpo.pipeline.imports import SPLITS, Split, import_problems
from sgpo.pipeline.recipe_files import stages_for, with_recipe
from sgpo.problems import read_problems
from sgpo.problems.layouts.mapping import FieldMapping
from sgpo.rollouts.model_folder import local_folder

TESTBED = "configs/testbed.yaml"
PASSES, PROBLEMS_PER_STEP, VALIDATIONS = 3, 16, 6
"""Passes over the training problems, problems of a step, and validations of a run where there are tuning problems."""
LONGEST_ANSWER, WORTH_SHOWING, MOST_K = 1024, 0.05, 16
"""Tokens of a response where nothing is said; the gain that an evaluation should be able to show, and its largest k."""
WARMUP_EPOCHS, WARMUP_SHARE = 3, 0.33


class ProjectError(UserError):
    """A project that cannot be made here; the message says what stands in the way."""


@dataclass(frozen=True, slots=True)
class Project:
    """What a person says of a model of their own; everything else follows from it."""

    name: str
    model: str
    sources: Mapping[Split, Sequence[Path]]
    teacher: Mapping[str, Any] = field(default_factory=dict)
    mapping: FieldMapping | None = None
    max_new_tokens: int | None = None
    warmup: bool = False

    @property
    def recipe(self) -> str:
        """Return the recipe's path in the checkout."""
        return f"configs/{self.name}.yaml"


def init_project(folder: Path, project: Project, *, force: bool = False) -> list[str]:
    """Write recipe, params.yaml, dvc.yaml, prefect.yaml and problems into a checkout, or a new clone at `folder`.

    Returns what was done and what to do next, in lines. Raises ProjectError where a recipe of this name is there and
    not `force`, ProblemFileError for problems that cannot be read, ModelFolderError for a model that cannot.
    """
    if not is_run_name(project.name):
        raise ProjectError(f"name '{project.name}' (expected letters, digits, '_', '-' and '.', such as my-model)")
    recipe = folder / project.recipe
    if recipe.exists() and not force:
        raise ProjectError(f"{recipe}: is there already (expected another --name, or --force to replace it)")
    model = local_folder(project.model)  # before a clone is made for nothing
    lines = _checkout(folder)
    if not force and lines and recipe.exists():
        raise ProjectError(f"{recipe}: sgpo has a recipe of this name (expected another --name, or --force)")
    teacher = _teacher_from(folder, project)
    _write(folder / "dvc.yaml", stages_for(folder / "dvc.yaml", project.recipe, teacher.get("recording")))
    for split in SPLITS:
        if sources := project.sources.get(split):
            imported = import_problems(sources, folder / "data", split, force=force, mapping=project.mapping)
            lines += imported.lines()
    problems: dict[Split, int] = {
        split: len(read_problems(file)) if (file := folder / "data" / "problems" / f"{split}.parquet").is_file() else 0
        for split in SPLITS
    }
    params, longest = folder / "params.yaml", _longest(project, model)
    with publish_file(recipe) as new_recipe, publish_file(params) as new_params:  # both, or what was there stays
        new_recipe.write_text(_recipe(project, problems, longest), encoding="utf-8")
        new_params.write_text(_params(project, teacher, problems["train"], longest), encoding="utf-8")
        try:
            settings, _ = load_config(new_recipe), load_params(new_params)
        except ConfigError as error:
            said = str(error).replace(str(new_recipe), str(recipe)).replace(str(new_params), str(params))
            raise ConfigError(said) from None
    _write(folder / "prefect.yaml", _deployments(folder / "prefect.yaml", project.recipe))
    shown = 100 * shown_gain([settings.evaluation.k] * problems["held_out"]) if problems["held_out"] else math.nan
    lines.append(f"{recipe}: {settings.training.steps} steps; the evaluation can show a gain of {shown:.1f} points")
    return [*lines, *_next(folder, project)]


def _checkout(folder: Path) -> list[str]:
    """Make `folder` a clone of the checkout that this code is from, unless it is a checkout already."""
    if (folder / "dvc.yaml").is_file() and (folder / "prefect.yaml").is_file():
        return []
    if folder.exists() and not is_empty_folder(folder):
        raise ProjectError(f"{folder}: is no checkout and not empty (expected a checkout of sgpo, or a new folder)")
    origin = Path(__file__).resolve().parents[2]
    command = ["git", "clone", "--quiet", str(origin), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / "dvc.yaml").is_file():
        said = one_line(done.stderr, 200) or "it has no dvc.yaml"
        raise ProjectError(f"{folder}: cannot be cloned from {origin} ({said}; expected a git checkout of sgpo there)")
    return [f"{folder}: a clone of {origin}; `make setup` there makes its environment"]


def _longest(project: Project, model: Path) -> int:
    try:
        tree = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProjectError(f"{model / 'config.json'}: not JSON: {error} (expected a model's configuration)") from None
    positions = tree.get("max_position_embeddings") if isinstance(tree, dict) else None
    room = positions // 2 if isinstance(positions, int) else LONGEST_ANSWER
    return project.max_new_tokens or min(LONGEST_ANSWER, max(1, room))


def _recipe(project: Project, problems: Mapping[Split, int], longest: int) -> str:
    share = 1.0 - WARMUP_SHARE if project.warmup else 1.0
    per_step = max(1, min(PROBLEMS_PER_STEP, round(share * problems["train"]) or PROBLEMS_PER_STEP))
    steps = max(1, math.ceil(PASSES * share * problems["train"] / per_step))
    enough = (k for k in range(2, MOST_K) if shown_gain([k] * max(1, problems["held_out"])) <= WORTH_SHOWING)
    tree: dict[str, Any] = {
        "seed": 0,
        **({"warmup": {"epochs": WARMUP_EPOCHS}} if project.warmup else {}),
        "training": {
            "steps": steps, "problems_per_step": per_step, "learning_rate": 1.0e-6,
            "sampling": {"max_new_tokens": longest},
            **({"validation": {"every": max(1, steps // VALIDATIONS)}} if problems["tuning"] else {}),
        },
        "evaluation": {"k": next(enough, MOST_K), "sampling": {"temperature": 0.6, "max_new_tokens": longest}},
        "tracking": {"registered_model": f"sgpo-{project.name}"},
    }  # fmt: skip
    return (
        f"# {project.model}, made by `sgpo init`. Everything not named here has the default of sgpo/config/.\n"
        f"# {PASSES} passes over {problems['train']} problems; k so that {problems['held_out']} held-out problems can "
        f"show {100 * WORTH_SHOWING:.0f} points where k of {MOST_K} is enough.\n"
        + yaml.safe_dump(tree, sort_keys=False)
    )  # fmt: skip


def _teacher_from(folder: Path, project: Project) -> dict[str, Any]:
    """Return the teacher's settings with its recording as it is found from the checkout, where commands run."""
    teacher = dict(project.teacher)
    if "recording" in teacher:
        recording = Path(teacher["recording"]).resolve()
        inside = recording.is_relative_to(folder.resolve())
        teacher["recording"] = str(recording.relative_to(folder.resolve()) if inside else recording)
    return teacher


def _params(project: Project, teacher: Mapping[str, Any], problems: int, longest: int) -> str:
    tree: dict[str, Any] = {
        "strategies": {"seed": 0, "candidates": 5},
        "teacher": dict(teacher) or {"kind": "scripted"},
        # As in the recipe, so that the probe measures what training samples.
        "probe": {"seed": 0, "problems": min(120, max(1, problems)), "sampling": {"max_new_tokens": longest}},
        "splits": {"warmup_fraction": WARMUP_SHARE if project.warmup else 0.0, "min_lift": None},
        "domains": {},
    }
    if tree["teacher"]["kind"] != "scripted":  # the stages depend on these keys
        tree["teacher"] = {"model": "recorded", "max_tokens": 16384, **tree["teacher"]}
    else:
        tree["teacher"] |= {"model": "scripted-strong-model", "max_tokens": 16384}
    return (
        "# Settings of the data stages (dvc.yaml), made by `sgpo init`; probe.sampling is as in "
        f"{project.recipe}.\n" + yaml.safe_dump(tree, sort_keys=False)
    )  # fmt: skip


def _deployments(file: Path, recipe: str) -> str:
    """Return prefect.yaml with this recipe in every deployment and trigger that takes one."""
    return with_recipe(file.read_text(encoding="utf-8"), recipe, file)


def _write(path: Path, text: str) -> None:
    with publish_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _next(folder: Path, project: Project) -> list[str]:
    model = quote(str(Path(project.model).resolve()) if Path(project.model).is_dir() else project.model)
    steps = [] if folder.resolve() == Path.cwd() else [f"cd {quote(str(folder))} && make setup && . .venv/bin/activate"]
    steps += [
        "dvc add data/problems",
        f"sgpo registry register {model} --config {project.recipe}",
        f'sgpo registry champion 1 "Where we start." --config {project.recipe}',
        f"sgpo check --model {model} --config {project.recipe}",
        "sgpo up && sgpo retrain --follow",
    ]
    return ["Next:", *(f"  {step}" for step in steps)]
