"""`sgpo verifiers …`: what judges which domain, and whether it may."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sgpo.cli.options import AsJson
from sgpo.cli.output import print_json, print_result, stdout_kept

verifiers_app = typer.Typer(no_args_is_help=True, help="List and try the verifiers that judge each domain's responses.")

Config = Annotated[Path | None, typer.Option(help="Run recipe, for its `domains`")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings such as domains.mine.verifier=my_package:judge")]


@verifiers_app.command("list")
def verifiers_list(as_json: AsJson = False, config: Config = None, overrides: Overrides = None) -> None:
    """List the domains' verifiers: where each is, who registered it, its passing score, its fault."""
    from sgpo.config import load_config
    from sgpo.problems.domains.judges import DomainJudges
    from sgpo.problems.domains.registry import known_domains

    settings = load_config(config, overrides or ())
    known = known_domains(settings.domains)
    judges = DomainJudges(settings.domains, settings.evaluation.verifier_timeout, workers=1)
    try:
        broken = judges.broken(name for name, spec in known.items() if spec.origin != "built in")
    finally:
        judges.stop()
    faults = {name: text.removeprefix(f"domain '{name}': ") for name, text in broken.items()}
    if as_json:
        print_json(
            [
                {**asdict(spec), "options": dict(spec.options), "fault": faults.get(name)}
                for name, spec in sorted(known.items())
            ]
        )
        return
    for name, spec in sorted(known.items()):
        options = "".join(f" {key}={value}" for key, value in spec.options.items())
        fault = f"; cannot judge: {faults[name]}" if name in faults else ""
        print(
            f"{name}: {spec.verifier}{options} ({spec.origin}; passes from {spec.threshold:g}; prompts: "
            f"{spec.prompts}){fault}"
        )


@verifiers_app.command("check")
def verifiers_check(
    problems: Annotated[Path, typer.Option(help="Problems on which verifiers are tried")] = Path(
        "data/problems/train.parquet"
    ),
    most: Annotated[int, typer.Option(min=1, help="Try at most this many problems per domain")] = 20,
    as_json: AsJson = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Try verifiers on gold answers and on responses without an answer; exit code 1 if one is unfit to reward."""
    from sgpo.config import load_config
    from sgpo.problems import Verifier, read_problems
    from sgpo.problems.domains.stress import stress

    settings, asked = load_config(config, overrides or ()), read_problems(problems)
    evaluation = settings.evaluation
    with (
        stdout_kept(as_json),
        Verifier(evaluation.verifier_timeout, evaluation.verifier_workers, settings.domains, asked) as verifier,
    ):
        reports = stress(asked, verifier, most)
    tried = [{"passed": report.passed, **asdict(report)} for report in reports]
    print_result(tried, lambda: "\n".join(line for report in reports for line in report.lines()), as_json)
    if not all(report.passed for report in reports):
        raise typer.Exit(1)
