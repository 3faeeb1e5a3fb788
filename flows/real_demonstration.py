"""Flow: a real student converted, warmed up and registered; one retraining; SVAMP where its file is given."""

import sys
import time
from pathlib import Path

from prefect import flow

from flows.champion import CHAMPION_FOLDER, fetch_champion
from flows.data_versions import reproduce
from flows.definitions import retried_task
from flows.demonstration import KNOWN_ERRORS, show_where_to_look
from flows.limits import this_checkout
from flows.parameters import setting_arguments
from flows.process import REPOSITORY, run_command, show, training_command
from flows.retrain import PhaseClock, retrain
from flows.runs import demo_run_id, read_start, run_folder
from sgpo.config import RunConfig
from sgpo.evaluation.report import compare_files, describe_comparison
from sgpo.files import write_json
from sgpo.pipeline.report import Summary, describe
from sgpo.registry.models import register_base_model
from sgpo.registry.promotion import set_champion

STUDENT = Path("data/base/student")
WARM_UP = Path("runs/warm-up")
SVAMP = "svamp"
ENDED = "demo_real.json"
"""In the run directory when all is done, SVAMP too."""


def run(
    settings: RunConfig, recipe: str, overrides: tuple[str, ...], gguf: Path, sha256: str, svamp: Path | None
) -> None:
    """Run the demo and print what came of it; a known error is one line and exit code 1."""
    begun = time.perf_counter()
    try:
        run_id = demo_run_id(settings, ENDED)
        show(f"SGPO on a real model, run {run_id}: the student, its warm-up, and one retraining.")
        named = demo_real.with_options(flow_run_name=f"demo-real {run_id}")
        summary, seconds = named(settings, recipe, overrides, run_id, gguf, sha256, svamp)
    except KNOWN_ERRORS as error:
        sys.exit(f"\n{type(error).__name__}: {error}\nThe same command resumes from what is done.")
    folder = run_folder(settings, run_id)
    show(f"\n{'=' * 100}\n{describe(summary)}")
    show("Before and after: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()))
    if svamp is not None:
        files = [_outcomes(folder, who) for who in ("champion", "challenger")]
        comparison = compare_files(settings, *files)
        show(f"\nSVAMP, no strategy in the prompt, avg@{comparison.k} in per cent:\n{describe_comparison(comparison)}")
    show(f"\n{time.perf_counter() - begun:.0f} s since the command was given.")
    show(f"In {REPOSITORY}: report {folder}/report/report.html, numbers {folder}/summary.json")
    show_where_to_look(settings, folder)


@flow(name="demo-real")
def demo_real(
    settings: RunConfig,
    recipe: str,
    overrides: tuple[str, ...],
    run_id: str,
    gguf: Path,
    sha256: str,
    svamp: Path | None,
) -> tuple[Summary, dict[str, float]]:
    """Convert, import, replay the strong model, warm up, crown, retrain, and measure on SVAMP."""
    clock, folder = PhaseClock(), run_folder(settings, run_id)
    with this_checkout():
        with clock.phase("student: converted once"):
            convert(str(gguf), sha256)
        with clock.phase("problems: imported once"):
            import_problems(svamp)
        if read_start(settings, run_id) is None:
            with clock.phase("strategies: the strong model replayed"):
                reproduce("strategies")
            with clock.phase("warm-up: what SGPO adds is measured against the model that knows the form"):
                warm_up(recipe, overrides)
                crown(settings)
        summary = _ended(folder) or retrain(recipe, run_id, overrides=overrides)
        assert summary is not None  # as it is of a dry run
        if svamp is not None:
            with clock.phase("SVAMP: champion and challenger"):
                measure_on_svamp(settings, recipe, overrides, run_id, summary.champion_before)
    write_json(REPOSITORY / folder / ENDED, {"seconds": clock.seconds})
    return summary, clock.seconds


@retried_task("convert the student", 3600, [5])
def convert(gguf: str, sha256: str) -> None:
    """`sgpo model convert`; a folder that was converted from the same file is only checked."""
    expected = ["--sha256", sha256] if sha256 else []
    command = ["model", "convert", gguf, "--output", str(STUDENT), *expected]
    run_command([sys.executable, "-m", "sgpo.cli", *command])


@retried_task("import problems", 3600, [5])
def import_problems(svamp: Path | None) -> None:
    """`sgpo problems import` of the project's own word problems, and of SVAMP into a folder of its own."""
    folder = REPOSITORY / "data"
    for split in ("train", "tuning", "held_out"):
        _import(folder / "word_problems" / f"{split}.jsonl", split, "data")
    if svamp is not None:
        _import(REPOSITORY / svamp, "held_out", f"data/benchmarks/{SVAMP}")
    run_command([sys.executable, "-m", "dvc", "add", "--quiet", "data/problems"])


@retried_task("warm up", 24 * 3600, [5, 30])
def warm_up(recipe: str, overrides: tuple[str, ...]) -> None:
    """`sgpo warm-up`, which resumes from its checkpoint."""
    arguments = ["--model", str(STUDENT), "--run", str(WARM_UP), *setting_arguments(recipe, overrides)]
    run_command(training_command(1, "warm-up", *arguments))


@retried_task("register the warmed-up student", 3600)
def crown(settings: RunConfig) -> None:
    """Make the warmed-up student champion, whatever an earlier demo promoted: every demo shows the same retraining."""
    version = register_base_model(settings.tracking, REPOSITORY / WARM_UP / "model", "the warmed-up student")
    change = set_champion(settings.tracking, version, who="demo-real", why="The demo starts from the warmed-up model.")
    show(f"  {change.describe()}")


@retried_task("measure on SVAMP", 24 * 3600, [5, 20])
def measure_on_svamp(settings: RunConfig, recipe: str, overrides: tuple[str, ...], run_id: str, champion: str) -> None:
    """`sgpo evaluate` of the champion that the run began from and of its challenger; each resumes."""
    folder = run_folder(settings, run_id)
    fetch_champion(settings.tracking, champion)
    for who, model in (("champion", CHAMPION_FOLDER), ("challenger", folder / "model")):
        arguments = ["--model", str(model), "--output", str(_outcomes(folder, who))]
        arguments += ["--problems", f"data/benchmarks/{SVAMP}/problems/held_out.parquet"]
        run_command(training_command(1, "evaluate", *arguments, *setting_arguments(recipe, overrides)))


def _import(source: Path, split: str, data: str) -> None:
    """Import a file unless its problems are there and not older."""
    target = REPOSITORY / data / "problems" / f"{split}.parquet"
    if target.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
        return
    arguments = [str(source), "--split", split, "--data", data, "--force"]
    run_command([sys.executable, "-m", "sgpo.cli", "problems", "import", *arguments])


def _outcomes(folder: Path, who: str) -> Path:
    return folder / "evaluation" / f"{SVAMP}-{who}.jsonl"


def _ended(folder: Path) -> Summary | None:
    file = REPOSITORY / folder / "summary.json"
    return Summary.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None
