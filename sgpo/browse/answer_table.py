"""Kept answers in a terminal: a list, and some of them whole, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sgpo.amounts import counted
from sgpo.browse.kept_answers import Kept
from sgpo.report.answers import shorten

STYLES = {"right": "green", "wrong": "red", "cut": "yellow"}
QUESTION = 50
"""Characters of a question that a list shows."""
_STEERS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
_STEERS |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
"""What steers a terminal, by what is printed in its place: a model may say anything."""


def list_answers(answers: Sequence[Kept], console: Console, limit: int = 0) -> None:
    """Print one row an answer, the first `limit` (0: all), and how many there are of each verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("#", justify="right", no_wrap=True)
    for name in ("from", "prompt", "verdict", "why", "problem"):
        table.add_column(name, overflow="fold")
    for one in answers[: limit or None]:
        table.add_row(
            str(one.number), _plain(one.source), _prompt(one), Text(one.verdict, STYLES[one.verdict]), _plain(one.why),
            _plain(shorten(one.question or one.problem_id, QUESTION)),
        )  # fmt: skip
    console.print(table)
    counts = ", ".join(f"{sum(one.verdict == verdict for one in answers)} {verdict}" for verdict in STYLES)
    more = f"; the first {limit} are shown (--limit 0 shows all)" if 0 < limit < len(answers) else ""
    console.print(f"{counted(len(answers), 'answer')}: {counts}{more}", highlight=False)


def show_answers(answers: Sequence[Kept], console: Console) -> None:
    """Print answers whole, side by side, below their question; of several problems each has its own."""
    same = len({one.problem_id for one in answers}) == 1
    table = Table(pad_edge=False, padding=(0, 1), expand=True)
    for one in answers:
        head = _plain(f"{one.number}: {one.source}, {_prompt(one)}\n")
        head.append(_plain(f"{one.verdict}: {one.why}", STYLES[one.verdict]))
        table.add_column(head, ratio=1, overflow="fold")
    if same:
        console.print(_question(answers[0]))
    else:
        table.add_row(*map(_question, answers), end_section=True)
    table.add_row(*(_plain(one.text) for one in answers))
    console.print(table)


def _prompt(one: Kept) -> str:
    return "with strategy" if one.group == "guided" else "without"


def _question(one: Kept) -> Text:
    return _plain(f"{one.question or one.problem_id}\n  gold: {one.gold or 'not kept'}")


def _plain(text: str, style: str = "") -> Text:
    return Text(text.translate(_STEERS), style)
