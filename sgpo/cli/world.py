"""`sgpo world …`: the testbed's problems, base models and strong model."""

from pathlib import Path
from typing import Annotated

import typer

from sgpo.cli.options import DATA, PARAMS, WORK, AsJson, Config, Data, DryRun, Overrides, Params, Work
from sgpo.cli.output import print_forecast, print_json, stdout_kept

world_app = typer.Typer(no_args_is_help=True, help="Make the testbed's problems, base models and strong model.")


@world_app.command("problems")
def world_problems(params: Params = PARAMS, data: Data = DATA) -> None:
    """Draw the testbed's problems."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    stages.build_world(load_params(params), data)


@world_app.command("functions")
def world_functions(
    train: Annotated[int, typer.Option(min=1, help="Problems to train on")] = 300,
    tuning: Annotated[int, typer.Option(min=1, help="Problems for choosing settings")] = 60,
    held_out: Annotated[int, typer.Option(min=1, help="Problems for final figures")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other problems")] = 0,
    data: Data = DATA,
) -> None:
    """Draw tiny functions with unit tests (problems of domain code), in place of the testbed's problems."""
    from sgpo.pipeline import stages

    stages.build_functions({"train": train, "tuning": tuning, "held_out": held_out}, seed, data)


@world_app.command("base-model")
def world_base_model(
    params: Params = PARAMS,
    data: Data = DATA,
    work: Work = WORK,
    build: Annotated[bool, typer.Option("--build", help="Pre-train even if the package includes it")] = False,
    pack: Annotated[
        Path | None,
        typer.Option(help="Also write it to this folder, in the form in which the package ships base models"),
    ] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make the testbed's base model: the package's if the settings match, else pre-trained here."""
    from sgpo.config.pipeline import load_params
    from sgpo.files import check_model_place
    from sgpo.pipeline import stages

    if pack is not None:
        check_model_place(pack)
    settings, checkpoints = load_params(params), work / "base_model"
    if dry_run:
        from sgpo.testbed.forecasts import forecast_base

        print_forecast(lambda: forecast_base(settings, data, checkpoints, build=build), as_json)
        return
    with stdout_kept(as_json):
        folder = stages.build_base(settings, data, checkpoints, build=build, packed=pack)
    if as_json:
        print_json({"folder": folder})


@world_app.command("domain-base")
def world_domain_base(
    output: Annotated[Path, typer.Option(help="Folder for the model")],
    config: Config = None,
    steps: Annotated[int, typer.Option(min=1, help="Pre-training steps")] = 800,
    right: Annotated[float, typer.Option(min=0.0, max=1.0, help="Fraction of unguided examples that are right")] = 0.3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data: Data = DATA,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    overrides: Overrides = None,
) -> None:
    """Make a tiny base model for a worked domain, from its problems, responses and strategies."""
    from sgpo.config import load_config
    from sgpo.files import check_model_place
    from sgpo.testbed.domain_base import build_domain_base

    check_model_place(output)
    if dry_run:
        from sgpo.testbed.forecasts import forecast_domain_base

        print_forecast(lambda: forecast_domain_base(data, output, steps), as_json)
        return
    with stdout_kept(as_json):
        build_domain_base(data, output, load_config(config, overrides or ()).chat, steps, right, seed)
    if as_json:
        print_json({"folder": output})


@world_app.command("teacher")
def world_teacher(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0: any free one")] = 0,
) -> None:
    """Serve the scripted strong model until Ctrl-C, for a teacher of kind openai."""
    import asyncio

    from sgpo.strategies.teacher.concurrency import run
    from sgpo.strategies.teacher.teacher import TeacherError
    from sgpo.testbed.strong_model import ScriptedStrongModel
    from sgpo.testbed.teacher_server import scripted_endpoint

    async def serve() -> None:
        async with scripted_endpoint(port) as address:
            settings = f"kind: openai, base_url: '{address}', model: {ScriptedStrongModel.name}, api_key_env: ''"
            print(f"{address} until Ctrl-C. In params.yaml:\nteacher: {{{settings}}}", flush=True)
            await asyncio.Event().wait()

    try:
        run(serve())
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise TeacherError(f"port {port}: {error.strerror} (expected a free one; 0 takes any)") from None
