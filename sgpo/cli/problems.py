"""`sgpo problems …`: problems of one's own."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sgpo.cli.options import DATA, AsJson, Data, DryRun, key_values
from sgpo.cli.output import print_forecast, print_result, stdout_kept
from sgpo.forecast import Forecast

problems_app = typer.Typer(no_args_is_help=True, help="Import problems of your own.")


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
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Import problems of your own, or of a procedural task, in place of the testbed's."""
    from sgpo.pipeline.imports import ProblemImportError, import_problems, import_task
    from sgpo.problems.layouts.mapping import FieldMapping

    with stdout_kept(as_json):
        if (task := str(sources[0]).partition("reasoning-gym:")) and task[1] and not task[0]:
            options = key_values([str(source) for source in sources[1:]])
            made = import_task(task[2], size, seed, options, data, split, levels=levels, force=force, dry_run=dry_run)
        else:
            mapping = None
            if question is not None and answer is not None:
                mapping = FieldMapping(question, answer, response, id_field)
            elif (question, answer, response, id_field) != (None, None, None, None):
                raise ProblemImportError(
                    "fields are named together (expected --question FIELD and --answer FIELD at least)"
                )
            made = import_problems(sources, data, split, force=force, mapping=mapping, dry_run=dry_run)
    if dry_run:
        print_forecast(lambda: Forecast(str(made.file), tuple(made.lines()), files=1), as_json)
    else:
        print_result(made, lambda: "\n".join(made.lines()), as_json)
