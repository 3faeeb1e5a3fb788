"""Kept answers as one HTML file that loads nothing: by problem, side by side, in the style of the report."""

from collections.abc import Sequence
from pathlib import Path

from sgpo.browse.kept_answers import Kept
from sgpo.files import publish_file
from sgpo.report.template import load_template


def write_answers_page(answers: Sequence[Kept], output: Path, title: str) -> None:
    """Write the page, whole or not at all; problems in the order of their first answer, few of them open."""
    problems: dict[str, list[Kept]] = {}
    for one in answers:
        problems.setdefault(one.problem_id, []).append(one)
    html = load_template("answers.html.jinja").render(
        title=title, problems=list(problems.values()), number=len(answers)
    )
    with publish_file(output) as aside:
        aside.write_text(html, encoding="utf-8")
