"""Training problems that a run leaves out: those the settings name, and those too long for the model.

Both settings may change when a run is resumed. From then on the order is that of a run which never had these problems,
so it stays a function of the seed, the step and the problems; left_out.jsonl in the run's folder says since when.
"""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from sgpo.algorithms import registry
from sgpo.amounts import counted
from sgpo.config import ConfigError, RunConfig
from sgpo.jsonl import JsonlFile
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.lengths import describe, positions_of, too_long
from sgpo.rollouts.model_folder import open_chat, open_ending_tokenizer
from sgpo.training.inputs import TrainingInputs

FILE = "left_out.jsonl"


def without_left_out(config: RunConfig, inputs: TrainingInputs, folder: Path) -> tuple[TrainingInputs, dict[str, Any]]:
    """Return the inputs without what is left out, and what that is: `excluded` ids, `too_long` ids with their tokens.

    `folder` is the model's. Raises ConfigError for an id that is no training problem, or when no problem is left, and
    PromptTooLongError for problems that do not fit the model and are not to be left out.
    """
    training, known = config.training, [problem.id for problem in inputs.problems]
    for name in training.exclude_problems:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ConfigError(
                f"training.exclude_problems: '{name}' is no training problem ({hint}expected ids of "
                f"{config.data / 'splits' / 'train.parquet'})"
            )
    excluded = set(training.exclude_problems)
    kept = dataclasses.replace(inputs, problems=[problem for problem in inputs.problems if problem.id not in excluded])
    found = _too_long(config, kept, folder)
    kept = dataclasses.replace(kept, problems=[problem for problem in kept.problems if problem.id not in found])
    if not kept.problems:
        raise ConfigError(
            f"{config.data / 'splits' / 'train.parquet'}: no problem left to train on, all {len(known)} are left out "
            f"({len(excluded)} by training.exclude_problems, {len(found)} too long)"
        )
    return kept, {"excluded": sorted(excluded), "too_long": found}


def _too_long(config: RunConfig, inputs: TrainingInputs, folder: Path) -> dict[str, int]:
    training, positions = config.training, positions_of(folder, config.engine)
    chat = open_chat(folder, open_ending_tokenizer(folder, folder), config.chat)
    guided = inputs.strategies if registry.build(training, config.seed).groups().guided else {}
    longest = training.sampling.max_new_tokens
    found = too_long(inputs.problems, chat, inputs.contrasts, longest, positions)
    found |= too_long(inputs.problems, chat, guided, longest, positions, inputs.experts(chat))
    if found and not training.leave_out_too_long:
        raise PromptTooLongError(
            f"{describe(found, len(inputs.problems), positions)} "
            f"(expected shorter ones, training.sampling.max_new_tokens below {longest}, "
            "training.leave_out_too_long=true, or their ids in training.exclude_problems)"
        )
    return found


def record_left_out(left_out: dict[str, Any], run_folder: Path) -> None:
    """Note and say what a run leaves out from here on; one process calls this."""
    saved = [int(path.name.removeprefix("step-")) for path in (run_folder / "checkpoints").glob("step-*[0-9]")]
    file = JsonlFile(run_folder / FILE)
    before = {name: file.rows[-1][name] for name in left_out} if file.rows else {"excluded": [], "too_long": {}}
    if left_out != before:
        file.append({"after_step": max(saved, default=0), **left_out})
    if left_out["excluded"] or left_out["too_long"]:
        print(
            f"left out: {counted(len(left_out['excluded']), 'problem')} excluded, {len(left_out['too_long'])} too long "
            f"({run_folder / FILE})",
            flush=True,
        )
