"""`sgpo init`: from a model, problems and a strong model of your own to consistent settings."""

from pathlib import Path
from typing import Annotated, Any

import typer


def add_project(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(init)


def init(
    folder: Annotated[Path, typer.Argument(help="A checkout of sgpo, or a new folder that becomes a clone of it")],
    model: Annotated[str, typer.Option(help="Model folder or hub id")],
    train: Annotated[list[Path], typer.Option(help="File of problems to train on; repeat for more files")],
    held_out: Annotated[list[Path], typer.Option(help="File of problems that decide promotion; repeat for more")],
    tuning: Annotated[
        list[Path] | None, typer.Option(help="File of problems for validation during training; repeat for more")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the recipe; default: the last part of the model's name")
    ] = None,
    question: Annotated[str | None, typer.Option(help="Field with the question, text or messages")] = None,
    answer: Annotated[str | None, typer.Option(help="Field with the answer, or a solution with #### or a box")] = None,
    response: Annotated[str | None, typer.Option(help="Field with a strong model's response")] = None,
    id_field: Annotated[str | None, typer.Option("--id", help="Field with an id; default: from the content")] = None,
    teacher_url: Annotated[str | None, typer.Option(help="The strong model's endpoint, including /v1")] = None,
    teacher_model: Annotated[str | None, typer.Option(help="The endpoint's name of the strong model")] = None,
    recording: Annotated[
        Path | None, typer.Option(help="Recorded answers of a strong model, instead of an endpoint")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest response, in tokens")] = None,
    warmup: Annotated[
        bool, typer.Option("--warmup", help="Begin with a supervised warm-up on a third of the problems")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing recipe and problems")] = False,
) -> None:
    """Write recipe, params.yaml, dvc.yaml and prefect.yaml for a model of your own, and import its problems."""
    from sgpo.pipeline.imports import Split
    from sgpo.pipeline.project import Project, ProjectError, init_project
    from sgpo.problems.layouts.mapping import FieldMapping

    mapping = None
    if question is not None and answer is not None:
        mapping = FieldMapping(question, answer, response, id_field)
    elif (question, answer, response, id_field) != (None, None, None, None):
        raise ProjectError("fields are named together (expected --question FIELD and --answer FIELD at least)")
    teacher: dict[str, Any] = {}
    if teacher_url is not None:
        teacher = {"kind": "openai", "base_url": teacher_url, "model": teacher_model or ""}
        if not teacher_model:
            raise ProjectError("--teacher-url is given without --teacher-model (expected what the endpoint calls it)")
    if recording is not None:
        if teacher:
            raise ProjectError("--recording and --teacher-url are both given (expected one strong model)")
        teacher = {
            "kind": "recorded",
            "recording": str(recording),
            **({"model": teacher_model} if teacher_model else {}),
        }
    if not teacher:
        raise ProjectError("no strong model (expected --teacher-url and --teacher-model, or --recording)")
    sources: dict[Split, list[Path]] = {"train": train, "tuning": tuning or [], "held_out": held_out}
    project = Project(
        name or Path(model).name.lower(), model, sources, teacher, mapping, max_new_tokens, warmup
    )  # fmt: skip
    print("\n".join(init_project(folder, project, force=force)))
