"""`sgpo runs …`: the runs of a folder, and what of them may be deleted."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sgpo.amounts import counted
from sgpo.cli.options import AsJson, DryRun, console
from sgpo.cli.output import print_json

runs_app = typer.Typer(help="List runs with result and size; delete what finished runs no longer need.")

Folder = Annotated[Path, typer.Option(help="Folder of run directories")]
RUNS = Path("runs")


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context, folder: Folder = RUNS, as_json: AsJson = False) -> None:
    """List the runs of a folder, newest first: method, data, result, decision, size."""
    if context.invoked_subcommand is not None:
        context.obj = folder
        return
    from sgpo.browse.run_list import list_runs

    rows = list_runs(folder)
    if as_json:
        print_json([row.as_dict() for row in rows])
    elif not rows:
        print(f"{folder}: no runs")
    else:
        from sgpo.browse.run_table import show_runs

        show_runs(rows, console())


@runs_app.command("prune")
def runs_prune(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Option(help="Folder of run directories; default: runs")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Newest finished runs to keep completely")] = 3,
    unregistered: Annotated[
        bool,
        typer.Option("--unregistered", help="Also delete models that are in no registry and cannot be fetched again"),
    ] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete finished runs' checkpoints, and models that the registry also has, without an alias."""
    from sgpo.browse.copies import Registry
    from sgpo.browse.pruning import plan_pruning, prune
    from sgpo.browse.run_list import RunListError, list_runs
    from sgpo.browse.run_table import shown_size

    if as_json and not (dry_run or yes):
        raise RunListError("--json cannot ask (expected --dry-run or --yes beside it)")
    plan = plan_pruning(list_runs(folder or context.obj or RUNS), keep, Registry().find, unregistered)
    if not as_json:
        for verb, items in (("stays", plan.stays), ("goes", plan.goes)):
            for item in items:
                print(f"{verb:5}  {shown_size(item.size):>9}  {item.path}: {item.why}")
        print(f"{shown_size(plan.size)} of {counted(len({item.run for item in plan.goes}), 'run')}")
    if plan.goes and not dry_run:
        if not yes and not sys.stdin.isatty():
            raise RunListError("nothing is deleted without being asked (expected --yes, or a terminal)")
        if not yes and not typer.confirm(f"Delete {counted(len(plan.goes), 'folder')}, {shown_size(plan.size)}?"):
            raise typer.Exit(1)
        prune(plan)
    if as_json:
        lists = {
            name: [item.as_dict() for item in items] for name, items in (("goes", plan.goes), ("stays", plan.stays))
        }
        print_json({"deleted": not dry_run, "size": plan.size, **lists})
    elif plan.goes:
        print("nothing was deleted" if dry_run else "deleted")
