"""`sgpo rollouts`: the answers that a run has kept, to be read."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from sgpo.cli.options import AsJson, console


def add_rollouts(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(rollouts)


def rollouts(
    run: Annotated[
        Path, typer.Argument(help="Run directory, or a file of answers such as data/probe_rollouts.parquet")
    ],
    show: Annotated[
        list[int] | None, typer.Option(help="Number of an answer to show whole; several are shown side by side")
    ] = None,
    problem: Annotated[str | None, typer.Option(help="Only of a problem: its id's beginning, or words of it")] = None,
    verdict: Annotated[Literal["right", "wrong", "cut"] | None, typer.Option(help="Only these")] = None,
    reason: Annotated[
        Literal["correct", "wrong", "no_answer", "unparsable", "timeout", "crashed"] | None,
        typer.Option(help="Only where judging ended so (docs/verifier.md)"),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Only from champion, challenger, or step; or one, as 'step 11'")
    ] = None,
    group: Annotated[Literal["autonomous", "guided"] | None, typer.Option(help="Only without or with strategy")] = None,
    shortest: Annotated[int, typer.Option(min=0, help="Only answers of so many tokens or more")] = 0,
    longest: Annotated[int | None, typer.Option(min=0, help="Only answers of so many tokens or fewer")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Most answers that are listed; 0: all")] = 40,
    html: Annotated[Path | None, typer.Option(help="File that gets them as a page which loads nothing")] = None,
    as_json: AsJson = False,
) -> None:
    """List the answers that a run has kept, or show some of them side by side."""
    from sgpo.browse.answer_table import list_answers, show_answers
    from sgpo.browse.kept_answers import Wanted, pick, read_kept

    kept, notes = read_kept(run)
    wanted = Wanted(problem, verdict, reason, source, group, shortest, longest)
    found = pick(kept, show) if show else [one for one in kept if wanted.matches(one)]
    if html is not None:
        from sgpo.browse.answer_page import write_answers_page

        write_answers_page(found, html, f"Answers of {run.absolute().name}")
    if as_json:
        print(json.dumps([one.as_dict() for one in found], indent=2, ensure_ascii=False))
        return
    for note in notes:
        print(note)
    if html is not None:
        print(f"{html}: {len(found)} answers")
    elif show:
        show_answers(found, console())
    else:
        list_answers(found, console(), limit)
