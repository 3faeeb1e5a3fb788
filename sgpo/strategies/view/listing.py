"""Strategies as lines for a terminal: a filtered list, and everything that is known of one problem's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from sgpo.amounts import counted
from sgpo.errors import UserError
from sgpo.problems.schema import Problem
from sgpo.strategies.bank import Band, band_of
from sgpo.strategies.refusals import RefusedText
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.strategies.view.families import Family, family_by_problem

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_SHOWN_MEMBERS = 8
_WORDED = ("problem type", "strategy")
_NUMBERS = ("score", "problems")


class ListingError(UserError):
    """Something asked for that is not there; the message says what would be right."""


def select_strategies(
    strategies: Mapping[str, Strategy],
    *,
    band: Band | None = None,
    text: str | None = None,
    family: Family | None = None,
) -> list[Strategy]:
    """Return strategies of `band`, with `text` in their words (upper or lower case), of `family`; best score first."""
    members = None if family is None else set(family.members)
    return [
        strategy
        for strategy in sorted(strategies.values(), key=lambda strategy: (-strategy.score, strategy.problem_id))
        if (band is None or band_of(strategy.score) == band)
        and (text is None or text.casefold() in strategy.text().casefold())
        and (members is None or strategy.problem_id in members)
    ]


def list_strategies(
    strategies: Mapping[str, Strategy],
    *,
    band: Band | None = None,
    text: str | None = None,
    family: Family | None = None,
    limit: int | None = None,
    width: int = 140,
) -> list[str]:
    """One line per strategy of the first `limit` that are selected, cut to `width` columns, and one with the count."""
    found = select_strategies(strategies, band=band, text=text, family=family)
    shown = found[:limit]
    rows = [
        (
            strategy.problem_id,
            f"{strategy.score:.2f}",
            band_of(strategy.score),
            strategy.problem_type,
            strategy.approach,
        )
        for strategy in shown
    ]
    shown_of = f"{len(shown)} of " if len(shown) < len(found) else ""
    found_of = " found" if len(found) < len(strategies) else ""
    table = _aligned(("problem", "score", "band", *_WORDED), rows, width)
    return [*table, f"{shown_of}{len(found)} strategies{found_of}"]


def find_family(families: Sequence[Family], family_id: str) -> Family:
    """Return the family with this id, cut short where its beginning is unique; else raises ListingError."""
    by_id = {family.id: family for family in families}
    return by_id[_by_prefix(list(by_id), family_id, "family")]


def find_problem(problem_id: str, problems: Sequence[Problem]) -> Problem:
    """Return the problem with this id, cut short where its beginning is unique; else raises ListingError."""
    asked = {problem.id: problem for problem in problems}
    return asked[_by_prefix(list(asked), problem_id, "problem")]


def list_families(families: Sequence[Family], *, limit: int | None = None, width: int = 140) -> list[str]:
    """One line per family, in the order given, cut to `width` columns, and a last line with the count."""
    rows = [
        (family.id, str(len(family.members)), f"{family.score:.2f}", family.problem_type, family.approach)
        for family in families[:limit]
    ]
    members = sum(len(family.members) for family in families)
    table = _aligned(("family", "problems", "score", *_WORDED), rows, width)
    return [*table, f"{len(families)} families of {members} strategies"]


def show(
    problem_id: str,
    problems: Sequence[Problem],
    strategies: Mapping[str, Strategy],
    families: Sequence[Family],
    refusals: Iterable[RefusedText],
    *,
    width: int = 140,
) -> list[str]:
    """All that is known of one problem's strategy: question, strategy, scores, family, and what was refused for it.

    The id may be cut short where its beginning is unique. Raises ListingError where it names no problem, or several.
    """
    problem = find_problem(problem_id, problems)
    sections = [("Problem", problem.id), ("Question", problem.question), ("Answer", problem.answer)]
    strategy = strategies.get(problem.id)
    if strategy is None:
        sections.append(("Strategy", "none"))
    else:
        sections += _strategy_sections(strategy, family_by_problem(families).get(problem.id))
    refused = [refusal for refusal in refusals if refusal.problem_id == problem.id]
    sections.append(("Refused", "\n".join(map(_describe_refusal, refused)) or "nothing"))
    return _sections(sections, width)


def _strategy_sections(strategy: Strategy, family: Family | None) -> list[tuple[str, str]]:
    scores = ", ".join(f"{name} {strategy.scores[name]:.2f}" for name in CRITERIA)
    sections = [
        ("Type", strategy.problem_type),
        ("Strategy", strategy.approach),
        ("Steps", "\n".join(f"{number}. {step}" for number, step in enumerate(strategy.steps, start=1))),
        ("Score", f"{strategy.score:.2f} ({band_of(strategy.score)}): {scores}"),
        ("Teacher", f"{strategy.teacher}, prompts {strategy.prompt_version}, {strategy.candidates_seen} candidates"),
    ]
    if family is not None:
        others = [member for member in family.members if member != strategy.problem_id]
        named = ", ".join(others[:_SHOWN_MEMBERS]) + (", …" if len(others) > _SHOWN_MEMBERS else "")
        sections.append(
            ("Family", f"{family.id}, {counted(len(family.members), 'problem')}" + (f": also {named}" if named else ""))
        )
    return sections


def _describe_refusal(refusal: RefusedText) -> str:
    which = refusal.stage if refusal.index is None else f"{refusal.stage} {refusal.index}"
    return f"{which}: {refusal.reason}, {' '.join(refusal.detail.split())}"


def _by_prefix(names: Sequence[str], prefix: str, what: str) -> str:
    """Return the name that is `prefix`, or the only one that begins with it."""
    found = [prefix] if prefix in names else [name for name in names if name.startswith(prefix)]
    if not found:
        raise ListingError(f"no {what} '{prefix}' (expected the id, or its beginning, of one of {len(names)})")
    if len(found) > 1:
        raise ListingError(f"{what} '{prefix}' is the beginning of {len(found)} ids (expected that of one)")
    return found[0]


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Rows of one line each under the names of their columns; where the width is short, the worded columns are cut."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:  # rich narrows the columns that may wrap, and the texts do not wrap all the same
        justify = "right" if name in _NUMBERS else "left"
        table.add_column(_one_line(name), justify=justify, no_wrap=name not in _WORDED)
    for row in rows:
        table.add_row(*map(_one_line, row))
    return _lines(table, width) if rows else []


def _sections(sections: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return a label and its text each, which goes on over as many lines as it needs."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, content in sections:
        table.add_row(Text(label), Text(content))
    return _lines(table, width)


def _one_line(cell: str) -> Text:
    """Text as it is: a bracket in a strategy is no markup."""
    from rich.text import Text

    return Text(" ".join(cell.split()), no_wrap=True, overflow="ellipsis")


def _lines(table: Table, width: int) -> list[str]:
    from rich.console import Console

    file = StringIO()
    Console(file=file, width=width, color_system=None, force_terminal=False).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]
