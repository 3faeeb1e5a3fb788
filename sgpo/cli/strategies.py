"""`sgpo strategies …`: making the strategies, and looking at what was made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sgpo.cli.options import DATA, PARAMS, WORK, AsJson, Data, DryRun, Params, Work
from sgpo.cli.output import print_forecast, print_json, print_json_file, print_result, stdout_kept

if TYPE_CHECKING:
    from sgpo.strategies.schema import Strategy

strategies_app = typer.Typer(
    no_args_is_help=True, help="Make strategies from a strong model's responses, and look at them."
)

Limit = Annotated[
    int | None, typer.Option(min=0, help="At most this many entries of a kind; 0: all. Default: 20, with --json all")
]
SHOWN = 20


@strategies_app.command("respond")
def strategies_respond(
    params: Params = PARAMS, data: Data = DATA, work: Work = WORK, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Ask the strong model to answer every training problem."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    if dry_run:
        from sgpo.checks.dry_run import of_teacher

        print_forecast(lambda: of_teacher(load_params(params), data, "responses"), as_json)
        return
    with stdout_kept(as_json):
        summary = stages.respond(load_params(params), data, work)
    if as_json:
        print_json(summary)


@strategies_app.command("extract")
def strategies_extract(
    params: Params = PARAMS, data: Data = DATA, work: Work = WORK, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Extract one strategy from every verified response."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    if dry_run:
        from sgpo.checks.dry_run import of_teacher

        print_forecast(lambda: of_teacher(load_params(params), data, "strategies"), as_json)
        return
    with stdout_kept(as_json):
        stages.extract(load_params(params), data, work)
    if as_json:
        print_json_file(data / "strategies.json")


@strategies_app.command("list")
def strategies_list(
    band: Annotated[Literal["high", "medium", "low"] | None, typer.Option(help="Only this quality band")] = None,
    text: Annotated[str | None, typer.Option(help="Only strategies with these words")] = None,
    family: Annotated[str | None, typer.Option(help="Only this family: its id, or the first characters")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """List strategies, best score first."""
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.listing import find_family, list_strategies, select_strategies
    from sgpo.strategies.view.records import strategy_record

    strategies = _strategies(data)
    wanted = None if family is None else find_family(find_families(strategies.values()), family)
    if as_json:
        found = select_strategies(strategies, band=band, text=text, family=wanted)
        print_json([strategy_record(strategy) for strategy in found[: limit or None]])
    else:
        lines = list_strategies(strategies, band=band, text=text, family=wanted, limit=_shown(limit), width=_width())
        _print(lines)


@strategies_app.command("show")
def strategies_show(
    problem: Annotated[str, typer.Argument(help="Problem id, or its first characters")],
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Show one problem with its strategy, scores, family, and what was refused for it."""
    from sgpo.problems import read_problems
    from sgpo.strategies.refusals import read_refusals
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.listing import show
    from sgpo.strategies.view.records import problem_record

    strategies = _strategies(data)
    problems, refusals = read_problems(data / "problems" / "train.parquet"), data / "strategies_refused.jsonl"
    families = find_families(strategies.values())
    if as_json:
        print_json(problem_record(problem, problems, strategies, families, read_refusals(refusals)))
    else:
        _print(show(problem, problems, strategies, families, read_refusals(refusals), width=_width()))


@strategies_app.command("families")
def strategies_families(
    threshold: Annotated[float, typer.Option(help="Least cosine of strategies in one family")] = 0.85,
    limit: Limit = None,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """List families of strategies that say the same for different problems, largest first."""
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.listing import list_families
    from sgpo.strategies.view.records import family_record

    families = find_families(_strategies(data).values(), threshold)
    if as_json:
        print_json([family_record(family) for family in families[: limit or None]])
    else:
        _print(list_families(families, limit=_shown(limit), width=_width()))


@strategies_app.command("diff")
def strategies_diff(
    old: Annotated[str, typer.Argument(help="Parquet file or git revision")],
    new: Annotated[str | None, typer.Argument(help="Parquet file or git revision; default: the current file")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Compare two versions of the strategies: files, or what DVC recorded for git revisions."""
    from sgpo.pipeline.bank_versions import read_version
    from sgpo.strategies.view.comparison import compare_versions, describe_diff
    from sgpo.strategies.view.records import diff_record

    path = data / "strategies.parquet"
    diff = compare_versions(read_version(old, path), read_version(new or str(path), path))
    if as_json:
        print_json(diff_record(diff))
    else:
        _print(describe_diff(diff, _shown(limit)))


@strategies_app.command("report")
def strategies_report(
    output: Annotated[Path, typer.Option(help="Folder for report.html and report.png")] = Path("runs/strategies"),
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Write the quality report: bands beside the paper's, criteria, refusals, families."""
    from sgpo.files import file_md5
    from sgpo.strategies.refusals import read_refusals
    from sgpo.strategies.view.families import find_families
    from sgpo.strategies.view.records import bank_record
    from sgpo.strategies.view.report import summarise
    from sgpo.strategies.view.report_page import write_report

    path, strategies = data / "strategies.parquet", _strategies(data)
    refusals = read_refusals(data / "strategies_refused.jsonl")
    source = f"{path}, md5 {file_md5(path)}"
    report = summarise(strategies, find_families(strategies.values()), refusals, source)
    page, picture = write_report(report, output)
    print_result({"page": page, "picture": picture, **bank_record(report)}, lambda: f"{page}\n{picture}", as_json)


@strategies_app.command("retrieve")
def strategies_retrieve(
    question: Annotated[str, typer.Argument(help="Text of the problem")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of different strategies")] = 3,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Find strategies in the bank for a new problem, without a strong model."""
    from sgpo.problems import read_problems
    from sgpo.strategies.view.records import match_record
    from sgpo.strategies.view.retrieval import StrategyIndex

    index = StrategyIndex(read_problems(data / "problems" / "train.parquet"), _strategies(data))
    matches = index.nearest([question], k)[0]
    if as_json:
        print_json([match_record(match) for match in matches])
        return
    for match in matches:
        print(f"similarity {match.similarity:.2f}, extracted for {match.problem_id}\n{match.strategy.text()}\n")


def _strategies(data: Path) -> dict[str, Strategy]:
    from sgpo.strategies.bank import load_strategies

    return load_strategies(data / "strategies.parquet")


def _width() -> int:
    """Columns of the terminal; 140 where the output goes elsewhere."""
    return shutil.get_terminal_size((140, 24)).columns


def _shown(limit: int | None) -> int | None:
    """Most entries that a person is shown; None: all."""
    return SHOWN if limit is None else limit or None


def _print(lines: list[str]) -> None:
    print("\n".join(lines))
