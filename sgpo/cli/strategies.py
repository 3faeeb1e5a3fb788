"""`sgpo strategies …`: making the strategies, and looking at what was made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sgpo.cli.options import DATA, PARAMS, WORK, Data, DryRun, Params, Work

if TYPE_CHECKING:
    from sgpo.strategies.schema import Strategy

strategies_app = typer.Typer(
    no_args_is_help=True, help="Make strategies from a strong model's responses, and look at them."
)

Limit = Annotated[int, typer.Option(min=0, help="Show at most this many entries of a kind; 0: all")]


@strategies_app.command("respond")
def strategies_respond(params: Params = PARAMS, data: Data = DATA, work: Work = WORK, dry_run: DryRun = False) -> None:
    """Ask the strong model to answer every training problem."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    if dry_run:
        from sgpo.checks.dry_run import of_teacher

        _print(of_teacher(load_params(params), data, "responses"))
        return
    stages.respond(load_params(params), data, work)


@strategies_app.command("extract")
def strategies_extract(params: Params = PARAMS, data: Data = DATA, work: Work = WORK, dry_run: DryRun = False) -> None:
    """Extract one strategy from every verified response."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    if dry_run:
        from sgpo.checks.dry_run import of_teacher

        _print(of_teacher(load_params(params), data, "strategies"))
        return
    stages.extract(load_params(params), data, work)


@strategies_app.command("list")
def strategies_list(
    band: Annotated[Literal["high", "medium", "low"] | None, typer.Option(help="Only this quality band")] = None,
    text: Annotated[str | None, typer.Option(help="Only strategies with these words")] = None,
    family: Annotated[str | None, typer.Option(help="Only this family: its id, or the first characters")] = None,
    limit: Limit = 20,
    data: Data = DATA,
) -> None:
    """List strategies, best score first."""
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.listing import find_family, list_strategies

    strategies = _strategies(data)
    wanted = None if family is None else find_family(find_families(strategies.values()), family)
    _print(list_strategies(strategies, band=band, text=text, family=wanted, limit=limit or None, width=_width()))


@strategies_app.command("show")
def strategies_show(
    problem: Annotated[str, typer.Argument(help="Problem id, or its first characters")], data: Data = DATA
) -> None:
    """Show one problem with its strategy, scores, family, and what was refused for it."""
    from sgpo.problems import read_problems
    from sgpo.strategies.refusals import read_refusals
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.listing import show

    strategies = _strategies(data)
    problems, refusals = read_problems(data / "problems" / "train.parquet"), data / "strategies_refused.jsonl"
    families = find_families(strategies.values())
    _print(show(problem, problems, strategies, families, read_refusals(refusals), width=_width()))


@strategies_app.command("families")
def strategies_families(
    threshold: Annotated[float, typer.Option(help="Least cosine of strategies in one family")] = 0.85,
    limit: Limit = 20,
    data: Data = DATA,
) -> None:
    """List families of strategies that say the same for different problems, largest first."""
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.listing import list_families

    _print(list_families(find_families(_strategies(data).values(), threshold), limit=limit or None, width=_width()))


@strategies_app.command("diff")
def strategies_diff(
    old: Annotated[str, typer.Argument(help="Parquet file or git revision")],
    new: Annotated[str | None, typer.Argument(help="Parquet file or git revision; default: the current file")] = None,
    limit: Limit = 20,
    data: Data = DATA,
) -> None:
    """Compare two versions of the strategies: files, or what DVC recorded for git revisions."""
    from sgpo.pipeline.bank_versions import read_version
    from sgpo.strategies.view.comparison import compare_versions, describe_diff

    path = data / "strategies.parquet"
    diff = compare_versions(read_version(old, path), read_version(new or str(path), path))
    _print(describe_diff(diff, limit or None))


@strategies_app.command("report")
def strategies_report(
    output: Annotated[Path, typer.Option(help="Folder for report.html and report.png")] = Path("runs/strategies"),
    data: Data = DATA,
) -> None:
    """Write the quality report: bands beside the paper's, criteria, refusals, families."""
    from sgpo.files import file_md5
    from sgpo.strategies.refusals import read_refusals
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.report import summarise
    from sgpo.strategies.view.report_page import write_report

    path, strategies = data / "strategies.parquet", _strategies(data)
    refusals = read_refusals(data / "strategies_refused.jsonl")
    source = f"{path}, md5 {file_md5(path)}"
    page, picture = write_report(summarise(strategies, find_families(strategies.values()), refusals, source), output)
    print(f"{page}\n{picture}")


@strategies_app.command("retrieve")
def strategies_retrieve(
    question: Annotated[str, typer.Argument(help="Text of the problem")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of different strategies")] = 3,
    data: Data = DATA,
) -> None:
    """Find strategies in the bank for a new problem, without a strong model."""
    from sgpo.problems import read_problems
    from sgpo.strategies.view.retrieval import StrategyIndex

    index = StrategyIndex(read_problems(data / "problems" / "train.parquet"), _strategies(data))
    for match in index.nearest([question], k)[0]:
        print(f"similarity {match.similarity:.2f}, extracted for {match.problem_id}\n{match.strategy.text()}\n")


def _strategies(data: Path) -> dict[str, Strategy]:
    from sgpo.strategies.bank import load_strategies

    return load_strategies(data / "strategies.parquet")


def _width() -> int:
    """Columns of the terminal; 140 where the output goes elsewhere."""
    return shutil.get_terminal_size((140, 24)).columns


def _print(lines: list[str]) -> None:
    print("\n".join(lines))
