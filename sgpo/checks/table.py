"""The findings as one table for a person, and the sampled answers below it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sgpo.checks.check import Checked
from sgpo.checks.finding import Verdict
from sgpo.checks.samples import Answer, Samples

STYLES: dict[Verdict, str] = {"ok": "green", "warning": "yellow", "wrong": "bold red", "skipped": "dim"}
SHOWN = 300
"""Characters of a response that are shown: its beginning and its end."""


def show_findings(checked: Checked, console: Console) -> None:
    """Print one row a finding: what was looked at, the verdict as a word, what was found, and the cure below it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("group", "what", "verdict", "found"):
        table.add_column(name, overflow="fold", no_wrap=name != "found")
    group = None
    for finding in checked.findings:
        found = Text(finding.found)
        if finding.cure and finding.verdict != "ok":
            found.append(f"\n-> {finding.cure}", style="bold")
        verdict = Text(finding.verdict, style=STYLES[finding.verdict])
        table.add_row("" if finding.group == group else finding.group, finding.what, verdict, found)
        group = finding.group
    console.print(table)
    console.print(checked.verdict(), markup=False)


def show_samples(samples: Samples, console: Console) -> None:
    """Print every sampled problem once, with its gold and its answers in both contexts."""
    problems: dict[str, list[Answer]] = {}
    for answer in samples.answers:
        problems.setdefault(answer.problem_id, []).append(answer)
    for answers in problems.values():
        first = answers[0]
        console.print(f"\n{_short(first.question)}\n  gold: {first.gold}", markup=False, highlight=False)
        for answer in answers:
            form = f", right in another form: {answer.stated}" if answer.stated else ""
            head = f"  {answer.context}, {answer.tokens} tokens, {answer.outcome}{form}"
            console.print(head, style="bold" if answer.outcome == "right" else "", markup=False, highlight=False)
            console.print(f"    {_short(answer.text)}", markup=False, highlight=False)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN // 3]} … {line[-2 * SHOWN // 3 :]}"
