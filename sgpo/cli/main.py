"""`sgpo …`: every stage and every decision as one command. Errors are one line, and the exit code is not 0."""

import errno
import json
import os
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from sgpo.cli.checking import add_checking
from sgpo.cli.models import model_app
from sgpo.cli.options import (
    DATA,
    PARAMS,
    WORK,
    AsJson,
    Config,
    Data,
    DryRun,
    Model,
    Overrides,
    Params,
    Run,
    Work,
    key_values,
)
from sgpo.cli.planning import add_planning
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

app = typer.Typer(no_args_is_help=True)
problems_app = typer.Typer(no_args_is_help=True, help="Import problems of your own.")
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


@problems_app.command("import")
def problems_import(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Parquet, JSONL, JSON or CSV files, also in published layouts; or reasoning-gym:TASK key=value …"
        ),
    ],
    split: Annotated[Literal["train", "tuning", "held_out"], typer.Option(help="What the problems are for")],
    force: Annotated[bool, typer.Option("--force", help="Replace existing problems")] = False,
    data: Data = DATA,
    question: Annotated[str | None, typer.Option(help="Field with the question, text or messages")] = None,
    answer: Annotated[str | None, typer.Option(help="Field with the answer, or a solution with #### or a box")] = None,
    response: Annotated[str | None, typer.Option(help="Field with a strong model's response")] = None,
    id_field: Annotated[str | None, typer.Option("--id", help="Field with an id; default: from the content")] = None,
    size: Annotated[int, typer.Option(min=1, help="Problems to draw from a task")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a task: another one draws other problems")] = 0,
    levels: Annotated[int, typer.Option(min=0, help="Difficulty levels of a task, as tiers; 0: its defaults")] = 0,
) -> None:
    """Import problems of your own, or of a procedural task, in place of the testbed's."""
    from sgpo.pipeline.imports import ProblemImportError, import_problems, import_task
    from sgpo.problems.layouts.mapping import FieldMapping

    if (task := str(sources[0]).partition("reasoning-gym:")) and task[1] and not task[0]:
        options = key_values([str(source) for source in sources[1:]])
        print("\n".join(import_task(task[2], size, seed, options, data, split, levels=levels, force=force)))
        return
    mapping = None
    if question is not None and answer is not None:
        mapping = FieldMapping(question, answer, response, id_field)
    elif (question, answer, response, id_field) != (None, None, None, None):
        raise ProblemImportError("fields are named together (expected --question FIELD and --answer FIELD at least)")
    print("\n".join(import_problems(sources, data, split, force=force, mapping=mapping)))


@app.command()
def probe(model: Model, params: Params = PARAMS, data: Data = DATA, work: Work = WORK, dry_run: DryRun = False) -> None:
    """Measure a model's pass rate with and without strategies."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    if dry_run:
        from sgpo.checks.dry_run import of_probe

        print("\n".join(of_probe(load_params(params), data, model)))
        return
    stages.probe(load_params(params), data, work, model)


@app.command("warm-up")
def warm_up(
    model: Model,
    run: Run,
    params: Params = PARAMS,
    config: Config = None,
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

        print("\n".join(of_warmup(settings, of_data, model, run)))
        return
    print(f"{warm_up_model(settings, of_data, model, run)}: warmed up")


@app.command("split")
def split_problems(params: Params = PARAMS, data: Data = DATA) -> None:
    """Make the training splits."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline.splits import split

    split(load_params(params), data)


@app.command()
def train(
    model: Model,
    run: Run,
    restart: Annotated[bool, typer.Option("--restart", help="Start over if model, data or settings differ")] = False,
    parent: Annotated[Path | None, typer.Option(help="Run directory of the run that this one is part of")] = None,
    config: Config = None,
    dry_run: DryRun = False,
    overrides: Overrides = None,
) -> None:
    """Train by the recipe's method; resumes from the run's newest checkpoint, here or in storage."""
    from sgpo.config import load_config
    from sgpo.registry.provenance import note_provenance
    from sgpo.tracking.tracker import open_tracker, parent_of
    from sgpo.training.best import tags_of
    from sgpo.training.checkpoints.stored_run import open_stored_run
    from sgpo.training.recovery.session import StoppedError
    from sgpo.training.run import train as train_run
    from sgpo.training.world import is_main_process

    settings = load_config(config, overrides or ())
    if dry_run:
        from sgpo.checks.dry_run import of_training

        print("\n".join(of_training(settings, model, run)))
        return
    parent = parent or (parent_of(run) if parent_of(run).is_dir() else None)
    with open_stored_run(settings, run) as stored:  # first: it may bring the record of a run that got further elsewhere
        if is_main_process():
            note_provenance(settings, run)
        with open_tracker(settings, run, parent) if is_main_process() else nullcontext() as tracker:
            try:
                train_run(settings, model, run, tracker, stored, restart)
            except StoppedError as error:
                if tracker is not None:
                    tracker.set_tags({"sgpo.stopped": str(error)})
                raise
            if tracker is not None:
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

        print("\n".join(of_evaluation(settings, model, output, problems)))
        return
    if not as_json:
        print(describe_scores(evaluate_model(settings, model, output, problems)))
        return
    with redirect_stdout(sys.stderr):  # what is told meanwhile
        scores = evaluate_model(settings, model, output, problems)
    print(scores.model_dump_json(indent=2))


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
        whole = {"comparison": comparison.model_dump(mode="json"), "decision": decision.model_dump(mode="json")}
        print(json.dumps(whole, indent=2))
        return
    print(describe_comparison(comparison))
    if changed is not None:
        print(f"{describe_better_worse(changed)}: {better_worse}")
    print(f"promote: {'yes' if decision.promote else 'no'}. {' '.join(decision.reasons)}")


@app.command()
def replay(run: Run, config: Config = None, overrides: Overrides = None) -> None:
    """Send MLflow the metrics that it missed while the run trained."""
    from sgpo.config import load_config
    from sgpo.tracking.tracker import replay as replay_run

    sent = replay_run(run, load_config(config, overrides or ()).tracking)
    print(f"{sent} values sent")


def main() -> None:
    """Run the command line."""
    run(app)


def run(commands: typer.Typer) -> None:
    """Run commands: a message to a person is one line on stderr, and the exit code is the error's own."""
    try:
        commands()
    except UserError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        print(f"{error.filename or 'a file'}: cannot be written ({error.strerror})", file=sys.stderr)
        sys.exit(1)
