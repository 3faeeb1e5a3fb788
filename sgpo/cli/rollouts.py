"""`sgpo rollouts`: the answers that a run has kept, to be read."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sgpo.amounts import counted
from sgpo.cli.options import AsJson, console
from sgpo.cli.output import print_json


def add_rollouts(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(rollouts)


def rollouts(
    run: Annotated[
        Path, typer.Argument(help="Run directory, or a file of answers such as data/probe_rollouts.parquet")
    ],
    show: Annotated[
        list[int] | None, typer.Option(help="Number of an answer to show in full; repeat to show several side by side")
    ] = None,
    problem: Annotated[
        str | None, typer.Option(help="Only this problem: first characters of its id, or words of it")
    ] = None,
    verdict: Annotated[
        Literal["right", "wrong", "cut"] | None, typer.Option(help="Only answers with this verdict")
    ] = None,
    reason: Annotated[
        Literal["correct", "wrong", "no_answer", "unparsable", "timeout", "crashed"] | None,
        typer.Option(help="Only answers with this reason (docs/verifier.md)"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Only from champion, challenger or step; or one step, such as 'step 11'"),
    ] = None,
    group: Annotated[Literal["autonomous", "guided"] | None, typer.Option(help="Only without or with strategy")] = None,
    shortest: Annotated[int, typer.Option(min=0, help="Only answers of at least this many tokens")] = 0,
    longest: Annotated[int | None, typer.Option(min=0, help="Only answers of at most this many tokens")] = None,
    limit: Annotated[int, typer.Option(min=0, help="List at most this many answers; 0: all")] = 40,
    html: Annotated[Path | None, typer.Option(help="Write them to this HTML file, which loads nothing")] = None,
    as_json: AsJson = False,
) -> None:
    """List the answers that a run kept, or show some side by side."""
    from sgpo.browse.answer_table import list_answers, show_answers
    from sgpo.browse.kept_answers import Wanted, check_source, pick, read_kept

    kept, notes = read_kept(run)
    check_source(kept, source)
    wanted = Wanted(problem, verdict, reason, source, group, shortest, longest)
    found = pick(kept, show) if show else [one for one in kept if wanted.matches(one)]
    if html is not None:
        from sgpo.browse.answer_page import write_answers_page

        write_answers_page(found, html, f"Answers of {run.absolute().name}")
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    for note in notes:
        print(note)
    if html is not None:
        print(f"{html}: {counted(len(found), 'answer')}")
    elif show:
        show_answers(found, console())
    else:
        list_answers(found, console(), limit)
