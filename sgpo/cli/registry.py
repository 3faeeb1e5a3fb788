"""`sgpo registry …`: the champion, where a version comes from, and how to reproduce it."""

from __future__ import annotations

import getpass
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgpo.cli.options import AsJson, Config, DryRun
from sgpo.cli.output import STDERR, print_forecast, print_json, print_result, stdout_kept

if TYPE_CHECKING:
    from sgpo.config import TrackingConfig

registry_app = typer.Typer(no_args_is_help=True, help="The model registry: champion, roll-back, lineage.")

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings such as tracking.mlflow_uri=http://127.0.0.1:5000")
]
Version = Annotated[str, typer.Argument(help="Version number or alias")]
Number = Annotated[str, typer.Argument(help="Version number")]
Why = Annotated[str, typer.Argument(help="Reason, for the record")]


@registry_app.command("show")
def registry_show(as_json: AsJson = False, config: Config = None, overrides: Overrides = None) -> None:
    """Show aliases, every decision with who and why, and gaps in the record."""
    from sgpo.registry.records import CHAMPION, aliases, gaps, history

    tracking = _tracking(config, overrides)
    now, decisions = aliases(tracking), history(tracking)
    if as_json:
        missed = gaps(decisions, now.get(CHAMPION))
        known = {"registered_model": tracking.registered_model, "aliases": now, "history": decisions, "gaps": missed}
        print_json(known)
        return
    for alias, version in sorted(now.items()):
        print(f"{tracking.registered_model}@{alias} is version {version}")
    if CHAMPION not in now:
        print(
            f"{tracking.registered_model} has no champion yet: `sgpo registry register MODEL`, then "
            "`sgpo registry champion VERSION WHY`, with the same --config, make the first one"
        )
    for change in decisions:
        print(f"{change.when}  {change.who}: {change.describe()}")
    for gap in gaps(decisions, now.get(CHAMPION)):
        print(f"warning: {gap}")


@registry_app.command("register")
def registry_register(
    model: Annotated[str, typer.Argument(help="Model folder or hub id")],
    as_json: AsJson = False,
    dry_run: DryRun = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Register a model that no run has trained, such as the first champion; the same model only once."""
    from sgpo.config import load_config
    from sgpo.registry.forecasts import forecast_registration
    from sgpo.registry.models import register_base_model
    from sgpo.rollouts.examination import examine
    from sgpo.rollouts.model_folder import local_folder

    settings = load_config(config, overrides or ())
    if dry_run:
        folder = local_folder(model)
        print_forecast(lambda: forecast_registration(settings.tracking, folder, model), as_json)
        return
    with stdout_kept(as_json):
        found = examine(model, settings.chat, settings.engine.kind)
        print(found.describe())
        version = register_base_model(settings.tracking, found.folder, model)
    name = settings.tracking.registered_model
    made = {"registered_model": name, "version": version, "model": model}
    print_result(made, lambda: f"{name} version {version}: {model}", as_json)


@registry_app.command("champion")
def registry_champion(
    version: Number, why: Why, as_json: AsJson = False, config: Config = None, overrides: Overrides = None
) -> None:
    """Make a version the champion, without a gate."""
    from sgpo.registry.promotion import set_champion

    change = set_champion(_tracking(config, overrides), version, getpass.getuser(), why)
    print_result(change, change.describe, as_json)


@registry_app.command("roll-back")
def registry_roll_back(why: Why, as_json: AsJson = False, config: Config = None, overrides: Overrides = None) -> None:
    """Make the previous champion the champion again."""
    from sgpo.registry.promotion import roll_back

    change = roll_back(_tracking(config, overrides), getpass.getuser(), why)
    print_result(change, change.describe, as_json)


@registry_app.command("download")
def registry_download(
    version: Version,
    target: Annotated[Path, typer.Argument(help="Folder to write, new or a model's")],
    as_json: AsJson = False,
    dry_run: DryRun = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Download a registered model's folder; verifies checksums."""
    from sgpo.files import check_model_place
    from sgpo.registry.forecasts import forecast_download
    from sgpo.registry.models import download_version

    check_model_place(target)
    tracking = _tracking(config, overrides)
    if dry_run:
        print_forecast(lambda: forecast_download(tracking, version, target), as_json)
        return
    number = download_version(tracking, version, target)
    made = {"registered_model": tracking.registered_model, "version": number, "folder": target}
    print_result(made, lambda: f"version {number}: {target}", as_json)


@registry_app.command("lineage")
def registry_lineage(
    version: Version, as_json: AsJson = False, config: Config = None, overrides: Overrides = None
) -> None:
    """Show a version's data, code, parents, settings and decision, and the command that reproduces it."""
    from sgpo.pipeline.reproduction import what_is_missing
    from sgpo.registry.ancestry import ancestry, describe_ancestry

    records = ancestry(_tracking(config, overrides), version)
    number = records[0].version
    missing = what_is_missing(records)
    arguments = [*(["--config", str(config)] if config else []), *(overrides or [])]
    command = shlex.join(["sgpo", "registry", "reproduce", number, "--output", f"runs/reproduced-{number}", *arguments])
    if as_json:
        print_json({"versions": records, "reproduce": None if missing else command})
        return
    print(describe_ancestry(records))
    print(f"It cannot be made again from the registry: {missing}" if missing else f"To make it again: {command}")


@registry_app.command("reproduce")
def registry_reproduce(
    version: Version,
    output: Annotated[Path, typer.Option(help="New folder for code, data, parent and the reproduced model")],
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="Do not train; print the command")] = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Train a version again from its record, and compare it byte for byte. Run in the repository."""
    from sgpo.pipeline.reproduction import forecast_reproduction, prepare

    tracking = _tracking(config, overrides)
    if dry_run:
        print_forecast(lambda: forecast_reproduction(tracking, version, output, Path.cwd()), as_json)
        return
    with stdout_kept(as_json):
        again = prepare(tracking, version, output, Path.cwd())
        print(again.shell_line(), flush=True)
    made = {"version": again.record.version, "model": again.model, "command": again.shell_line()}
    if prepare_only:
        if as_json:
            print_json(made)
        return
    again.train(STDERR if as_json else None)
    reasons = again.same_bytes()
    if as_json:
        print_json({**made, "files": list(again.record.files), "although": reasons})
        return
    print(f"{again.model}: version {again.record.version}, byte for byte ({len(again.record.files)} files)")
    for reason in reasons:
        print(f"although {reason}")


def _tracking(config: Path | None, overrides: list[str] | None) -> TrackingConfig:
    from sgpo.config import load_config

    return load_config(config, overrides or ()).tracking
