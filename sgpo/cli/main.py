"""`sgpo …`: every stage and every decision as one command. Errors are one line, and the exit code is not 0."""

import errno
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgpo.amounts import counted
from sgpo.cli.checking import add_checking
from sgpo.cli.models import model_app
from sgpo.cli.options import DATA, PARAMS, WORK, AsJson, Config, Data, DryRun, Model, Overrides, Params, Run, Work
from sgpo.cli.output import print_forecast, print_json, print_json_file, print_result, stdout_kept
from sgpo.cli.planning import add_planning
from sgpo.cli.problems import problems_app
from sgpo.cli.project import add_project
from sgpo.cli.registry import registry_app
from sgpo.cli.report import add_report
from sgpo.cli.rollouts import add_rollouts
from sgpo.cli.runs import runs_app
from sgpo.cli.services import add_services
from sgpo.cli.storage import storage_app
from sgpo.cli.strategies import strategies_app
from sgpo.cli.study import add_study
from sgpo.cli.verifiers import verifiers_app
from sgpo.cli.world import world_app
from sgpo.errors import UserError
from sgpo.progress import QUIET

if TYPE_CHECKING:
    from sgpo.config import RunConfig
    from sgpo.tracking.tracker import RunTracker

app = typer.Typer(no_args_is_help=True)
app.add_typer(problems_app, name="problems")
app.add_typer(world_app, name="world")
app.add_typer(strategies_app, name="strategies")
app.add_typer(model_app, name="model")
app.add_typer(verifiers_app, name="verifiers")
app.add_typer(registry_app, name="registry")
app.add_typer(runs_app, name="runs")
app.add_typer(storage_app, name="storage")
add_services(app)
add_planning(app)
add_checking(app)
add_project(app)
add_study(app)
add_report(app)
add_rollouts(app)


@app.callback()
def sgpo(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress bars and the line of each step")] = False,
) -> None:
    """Strategy-Guided Policy Optimization."""
    if quiet:
        os.environ[QUIET] = "1"


@app.command()
def probe(
    model: Model,
    params: Params = PARAMS,
    data: Data = DATA,
    work: Work = WORK,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Measure a model's pass rate with and without strategies."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    if dry_run:
        from sgpo.checks.dry_run import of_probe

        print_forecast(lambda: of_probe(load_params(params), data, model), as_json)
        return
    with stdout_kept(as_json):
        stages.probe(load_params(params), data, work, model)
    if as_json:
        print_json_file(data / "probe.json")


@app.command("warm-up")
def warm_up(
    model: Model,
    run: Run,
    params: Params = PARAMS,
    config: Config = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    overrides: Overrides = None,
) -> None:
    """Warm up a model on strong-model responses, to make a first champion that knows the form; resumes."""
    from sgpo.config import load_config
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline.warm_up import warm_up_model

    settings, of_data = load_config(config, overrides or ()), load_params(params)
    if dry_run:
        from sgpo.checks.dry_run import of_warmup

        print_forecast(lambda: of_warmup(settings, of_data, model, run), as_json)
        return
    with stdout_kept(as_json):
        warm = warm_up_model(settings, of_data, model, run)
    print_result({"model": warm}, lambda: f"{warm}: warmed up", as_json)


@app.command("split")
def split_problems(params: Params = PARAMS, data: Data = DATA, as_json: AsJson = False) -> None:
    """Make the training splits."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline.splits import split

    with stdout_kept(as_json):
        split(load_params(params), data)
    if as_json:
        print_json_file(data / "splits.json")


@app.command()
def train(
    model: Model,
    run: Run,
    restart: Annotated[bool, typer.Option("--restart", help="Start over if model, data or settings differ")] = False,
    parent: Annotated[Path | None, typer.Option(help="Run directory of the run that this one is part of")] = None,
    config: Config = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    overrides: Overrides = None,
) -> None:
    """Train by the recipe's method; resumes from the run's newest checkpoint, here or in storage."""
    from sgpo.config import load_config
    from sgpo.training.best import record_of_best
    from sgpo.training.checkpoints.stored_run import open_stored_run
    from sgpo.training.run import train as train_run
    from sgpo.training.world import is_main_process

    settings = load_config(config, overrides or ())
    if dry_run:
        from sgpo.checks.dry_run import of_training

        print_forecast(lambda: of_training(settings, model, run), as_json)
        return
    with (
        stdout_kept(as_json),
        open_stored_run(settings, run) as stored,  # first: it may bring the record of a run that got further elsewhere
    ):
        logged = _log_of(settings, run, parent) if is_main_process() else None
        trained = train_run(settings, model, run, logged, stored, restart)
    if as_json and is_main_process():
        print_json({"model": trained, "validation": record_of_best(run)})


@contextmanager
def _log_of(settings: "RunConfig", run: Path, parent: Path | None) -> "Iterator[RunTracker]":
    """Note what a run is made with, and yield its tracker, which gets why it stopped or which step is exported."""
    from sgpo.registry.provenance import note_provenance
    from sgpo.tracking.tracker import open_tracker, parent_of
    from sgpo.training.best import tags_of
    from sgpo.training.recovery.session import StoppedError

    note_provenance(settings, run)
    with open_tracker(settings, run, parent or (parent_of(run) if parent_of(run).is_dir() else None)) as tracker:
        try:
            yield tracker
        except StoppedError as error:
            tracker.set_tags({"sgpo.stopped": str(error)})
            raise
        tracker.set_tags(tags_of(run))


@app.command()
def evaluate(
    model: Model,
    output: Annotated[Path, typer.Option(help="File for the outcomes (JSONL)")],
    problems: Annotated[Path | None, typer.Option(help="Problems to answer; default: the held-out split")] = None,
    as_json: AsJson = False,
    config: Config = None,
    dry_run: DryRun = False,
    overrides: Overrides = None,
) -> None:
    """Measure a model on held-out problems."""
    from sgpo.config import load_config
    from sgpo.evaluation.evaluate import evaluate_model
    from sgpo.evaluation.report import describe_scores

    settings = load_config(config, overrides or ())
    if dry_run:
        from sgpo.checks.dry_run import of_evaluation

        print_forecast(lambda: of_evaluation(settings, model, output, problems), as_json)
        return
    with stdout_kept(as_json):
        scores = evaluate_model(settings, model, output, problems)
    print_result(scores, lambda: describe_scores(scores), as_json)


@app.command()
def compare(
    champion: Annotated[Path, typer.Option(help="Outcomes of the champion")],
    challenger: Annotated[Path, typer.Option(help="Outcomes of the challenger")],
    better_worse: Annotated[
        Path | None, typer.Option(help="File for problems that got better or worse, with answers (JSONL)")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Compare two evaluations on the same problems, and say what the gate would decide."""
    from sgpo.config import load_config
    from sgpo.evaluation.better_worse import describe_better_worse, write_better_worse
    from sgpo.evaluation.report import compare_files, describe_comparison
    from sgpo.registry.gate import decide

    settings = load_config(config, overrides or ())
    comparison = compare_files(settings, champion, challenger)
    decision = decide(comparison, settings.gate)
    changed = None if better_worse is None else write_better_worse(champion, challenger, better_worse)
    if as_json:
        print_json({"comparison": comparison, "decision": decision})
        return
    print(describe_comparison(comparison))
    if changed is not None:
        print(f"{describe_better_worse(changed)}: {better_worse}")
    print(f"promote: {'yes' if decision.promote else 'no'}. {' '.join(decision.reasons)}")


@app.command()
def replay(run: Run, config: Config = None, overrides: Overrides = None) -> None:
    """Send MLflow what it missed while the run trained; without settings, to where the run logs."""
    from sgpo.config import load_config
    from sgpo.tracking.tracker import replay as replay_run

    given = load_config(config, overrides or ()).tracking if config or overrides else None
    sent = replay_run(run, given)
    print(f"{counted(sent, 'value')} sent")


_WRONG_PLACES = {
    errno.EISDIR: "is a folder (expected a file)",
    errno.ENOTDIR: "leads through a file (expected folders)",
    errno.EEXIST: "is there already, as a file (expected a folder, or a new name)",
    errno.EACCES: "may not be opened or made by this user (expected the right to)",
    errno.EPERM: "may not be opened or made by this user (expected the right to)",
}
"""What is wrong with a path that a person gave, where no command has said it in words of its own."""


def main() -> None:
    """Run the command line."""
    run(app)


def run(commands: typer.Typer) -> None:
    """Run commands: a message to a person is one line on stderr, and the exit code is the error's own."""
    # torch and transformers are half a million objects, none of them garbage: looking took an eighth of their import.
    gc.set_threshold(700, 10, 100)
    try:
        commands()
    except UserError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            print(f"{error.filename or 'a file'}: cannot be written ({error.strerror})", file=sys.stderr)
            sys.exit(1)
        path = error.filename2 or error.filename
        if path is None or error.errno not in _WRONG_PLACES:
            raise
        print(f"{os.fspath(path)}: {_WRONG_PLACES[error.errno]}", file=sys.stderr)
        sys.exit(1)
