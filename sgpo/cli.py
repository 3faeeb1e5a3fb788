"""`sgpo …`: every stage and every decision as one command. Errors are one line, and the exit code is 1."""

from __future__ import annotations

import getpass
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Strategy-Guided Policy Optimization.")
world_app = typer.Typer(no_args_is_help=True, help="The testbed world: problems and base models.")
strategies_app = typer.Typer(no_args_is_help=True, help="Strategies from a strong model's responses.")
registry_app = typer.Typer(no_args_is_help=True, help="Champion, challenger, previous: the model registry.")
app.add_typer(world_app, name="world")
app.add_typer(strategies_app, name="strategies")
app.add_typer(registry_app, name="registry")

Params = Annotated[Path, typer.Option(help="Settings of the data stages")]
Data = Annotated[Path, typer.Option(help="Folder of the versioned data")]
Work = Annotated[Path, typer.Option(help="Folder for journals and checkpoints of unfinished stages")]
Config = Annotated[Path | None, typer.Option(help="Run recipe, such as configs/testbed.yaml")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings such as training.steps=100")]
Model = Annotated[str, typer.Option(help="Model folder or hub id")]
Run = Annotated[Path, typer.Option(help="Run directory")]

PARAMS, DATA, WORK = Path("params.yaml"), Path("data"), Path(".sgpo/work")


@world_app.command("problems")
def world_problems(params: Params = PARAMS, data: Data = DATA) -> None:
    """Draw the testbed's problems."""
    from sgpo import stages
    from sgpo.params import load_params

    stages.build_world(load_params(params), data)


@world_app.command("base-model")
def world_base_model(params: Params = PARAMS, data: Data = DATA, work: Work = WORK) -> None:
    """Pre-train the testbed's base model."""
    from sgpo import stages
    from sgpo.params import load_params

    stages.build_base(load_params(params), data, work / "base_model")


@strategies_app.command("respond")
def strategies_respond(params: Params = PARAMS, data: Data = DATA, work: Work = WORK) -> None:
    """Ask the strong model to answer every training problem."""
    from sgpo import stages
    from sgpo.params import load_params

    stages.respond(load_params(params), data, work)


@strategies_app.command("extract")
def strategies_extract(params: Params = PARAMS, data: Data = DATA, work: Work = WORK) -> None:
    """Extract one strategy from every verified response."""
    from sgpo import stages
    from sgpo.params import load_params

    stages.extract(load_params(params), data, work)


@app.command()
def probe(model: Model, params: Params = PARAMS, data: Data = DATA) -> None:
    """Measure what the strategies are worth to a model."""
    from sgpo import stages
    from sgpo.params import load_params

    stages.probe(load_params(params), data, Path(model))


@app.command()
def split(params: Params = PARAMS, data: Data = DATA) -> None:
    """Make the training splits."""
    from sgpo import stages
    from sgpo.params import load_params

    stages.split(load_params(params), data)


@app.command()
def train(model: Model, run: Run, config: Config = None, overrides: Overrides = None) -> None:
    """Train with SGPO from `model`; goes on from the newest checkpoint of the run."""
    from sgpo.config import load_config
    from sgpo.tracking import open_tracker
    from sgpo.training.distributed import is_main_process
    from sgpo.training.run import train as train_run

    settings = load_config(config, overrides or ())
    with open_tracker(settings, run) if is_main_process() else nullcontext() as tracker:
        train_run(settings, model, run, tracker)


@app.command()
def evaluate(
    model: Model,
    output: Annotated[Path, typer.Option(help="File for the outcomes (JSONL)")],
    problems: Annotated[Path | None, typer.Option(help="Problems to ask; default: the held-out split")] = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Measure a model on held-out problems."""
    from sgpo.config import load_config
    from sgpo.evaluation.evaluate import evaluate_model
    from sgpo.evaluation.report import describe_scores

    settings = load_config(config, overrides or ())
    print(describe_scores(evaluate_model(settings, Path(model), output, problems)))


@app.command()
def compare(
    champion: Annotated[Path, typer.Option(help="Outcomes of the champion")],
    challenger: Annotated[Path, typer.Option(help="Outcomes of the challenger")],
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Compare two evaluations on the same problems, and say what the gate would decide."""
    from sgpo.config import load_config
    from sgpo.evaluation.report import compare_files, describe_comparison
    from sgpo.registry.gate import decide

    settings = load_config(config, overrides or ())
    comparison = compare_files(settings, champion, challenger)
    decision = decide(comparison, settings.gate)
    print(describe_comparison(comparison))
    print(f"promote: {'yes' if decision.promote else 'no'}. {' '.join(decision.reasons)}")


@registry_app.command("show")
def registry_show(config: Config = None, overrides: Overrides = None) -> None:
    """Aliases, and every decision with who and why."""
    from sgpo.config import load_config
    from sgpo.registry.promotion import aliases, history

    tracking = load_config(config, overrides or ()).tracking
    for alias, version in sorted(aliases(tracking).items()):
        print(f"{tracking.registered_model}@{alias} is version {version}")
    for change in history(tracking):
        print(f"{change.when}  {change.who}: {change.describe()}")


@registry_app.command("champion")
def registry_champion(version: str, why: str, config: Config = None, overrides: Overrides = None) -> None:
    """Make a version the champion without a gate."""
    from sgpo.config import load_config
    from sgpo.registry.promotion import set_champion

    print(set_champion(load_config(config, overrides or ()).tracking, version, getpass.getuser(), why).describe())


@registry_app.command("roll-back")
def registry_roll_back(why: str, config: Config = None, overrides: Overrides = None) -> None:
    """Make the previous champion the champion again."""
    from sgpo.config import load_config
    from sgpo.registry.promotion import roll_back

    print(roll_back(load_config(config, overrides or ()).tracking, getpass.getuser(), why).describe())


@registry_app.command("download")
def registry_download(
    version: Annotated[str, typer.Argument(help="Version number or alias")],
    target: Annotated[Path, typer.Argument(help="Folder to restore into")],
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Restore a registered model's folder, checksums verified."""
    from sgpo.config import load_config
    from sgpo.registry.models import download_version

    print(f"version {download_version(load_config(config, overrides or ()).tracking, version, target)}: {target}")


@app.command()
def replay(run: Run, config: Config = None, overrides: Overrides = None) -> None:
    """Send a run's metrics to MLflow that could not be sent while it ran."""
    from sgpo.config import load_config
    from sgpo.tracking import replay as replay_run

    sent = replay_run(run, load_config(config, overrides or ()).tracking)
    print(f"{sent} values sent")


def main() -> None:
    """Entry point: a known error is one line on stderr and exit code 1."""
    try:
        app()
    except _user_errors() as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


def _user_errors() -> tuple[type[Exception], ...]:
    """Errors that are a message to the user rather than a fault; only of modules that are loaded already."""
    named = {
        "sgpo.config": ("ConfigError",),
        "sgpo.problems.rows": ("ProblemFileError", "TableError"),
        "sgpo.strategies.teacher": ("TeacherError",),
        "sgpo.strategies.extraction": ("ExtractionError",),
        "sgpo.strategies.journal": ("JournalError",),
        "sgpo.rollouts.model_folder": ("ModelFolderError",),
        "sgpo.rollouts.engine": ("PromptTooLongError",),
        "sgpo.training.checkpoint": ("CheckpointError",),
        "sgpo.evaluation.scores": ("EvaluationError",),
        "sgpo.registry.store": ("RegistryError",),
        "sgpo.registry.models": ("ModelFolderError",),
        "sgpo.tracking": ("TrackingError",),
        "sgpo.jsonl": ("JsonlError",),
    }
    return tuple(
        getattr(sys.modules[module], name) for module, names in named.items() if module in sys.modules for name in names
    )


if __name__ == "__main__":
    main()
