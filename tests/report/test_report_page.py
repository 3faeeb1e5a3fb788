"""The report's figures are those of the run to the last digit, and what is missing costs a line and not the report."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_run import summary_of

from sgpo.cli.main import app
from sgpo.evaluation.comparison import Comparison, compare
from sgpo.evaluation.outcomes import write_outcomes
from sgpo.evaluation.scores import Outcome
from sgpo.files import write_json
from sgpo.jsonl import number
from sgpo.report.bank import read_bank
from sgpo.report.charts import draw_gains, draw_panel
from sgpo.report.decision import decision_in_words
from sgpo.report.page import render, write_report
from sgpo.report.panels import PANELS
from sgpo.report.run_record import ReportError, read_run
from sgpo.report.trajectories import pack_trajectories


class Page(HTMLParser):
    """What a browser would see: figures with their names, text outside of scripts, what would be loaded."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", []
        self.scripts: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append((tag, known))
        if tag == "data":
            name, value = known["data-name"], known["value"]
            assert name is not None
            assert value is not None
            assert self.figures.setdefault(name, value) == value
        self._inside = known.get("id") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data
        self.text += data if self._inside is None else ""


def test_a_level_curve_of_a_short_run_lies_inside_its_axes_and_steps_are_whole():
    (panel,) = [panel for panel in PANELS if panel.name == "alpha"]
    svg = draw_panel(panel, [{"step": step, "distill/alpha_mean": 0.72 + 0.01 * step} for step in range(3)])
    assert svg is not None
    paths = re.findall(r'<path d="([^"]+)"[^>]*style="([^"]+)"', re.sub(r"\s+", " ", svg))
    (curve,) = [path for path, style in paths if "stroke: var(--line-1); stroke-width: 1.7" in style]
    heights = [[float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path)] for path in (paths[1][0], curve)]
    assert min(heights[1]) > min(heights[0]) + 4
    assert set(re.findall(r">(\d[\d.]*)</text>", svg)) & {"1", "1.0", "1.00", "1.25", "1.5"} == {"1"}


def page_of(run: Path) -> Page:
    return Page(render(read_run(run)))


def test_every_figure_is_that_of_summary_and_metrics_to_the_last_digit(made: Path):
    figures = page_of(made).figures
    summary = json.loads((made / "summary.json").read_text())
    expected: dict[str, Any] = {f"training.{name}": value for name, value in summary["training"].items()}
    comparison = Comparison.model_validate(summary["comparison"])
    expected["comparison.p_value"] = comparison.p_value
    for name, gain in [*summary["comparison"]["tiers"].items(), ("all problems", summary["comparison"]["overall"])]:
        expected |= {f"comparison.{name}.{what}": gain[what] for what in ("problems", "champion", "challenger")}
        expected |= {f"comparison.{name}.difference.{end}": gain["difference"][end] for end in ("value", "low", "high")}
    for end in ("value", "low", "high"):
        expected[f"comparison.mean of tiers.difference.{end}"] = summary["comparison"]["macro"][end]
    drawn = ("reward/", "validation/", "distill/", "policy/entropy", "response/")
    for row in map(json.loads, (made / "metrics.jsonl").read_text().splitlines()):
        expected |= {f"step.{row['step']}.{name}": row[name] for name in row if name.startswith(drawn)}
    found = {name: float(value) for name, value in figures.items()}
    assert {name: found.get(name) for name in expected} == expected
    rest = found.keys() - expected.keys()
    assert rest == {f"comparison.mean of tiers.{what}" for what in ("problems", "champion", "challenger")}


@pytest.mark.slow
def test_the_curves_are_those_that_mlflow_has(made: Path, tracking, tmp_path: Path):
    from sgpo.tracking.client import connect
    from sgpo.tracking.tracker import RunTracker

    rows = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    logged = tmp_path / "logged"
    with RunTracker(logged, tracking) as tracker:
        for row in rows:
            tracker.log(row["step"], {k: v for k, v in row.items() if "/" in k})
    figures = page_of(logged).figures
    client, run_id = connect(tracking), (logged / "mlflow_run_id").read_text()
    for name in ("reward/guided", "distill/kl_mean", "validation/avg_at_k_low"):
        history = {point.step: point.value for point in client.get_metric_history(run_id, name)}
        assert len(history) == sum(name in row for row in rows)
        assert history == {at: float(figures[f"step.{at}.{name}"]) for at in history}


def test_the_page_loads_nothing_and_no_text_of_a_model_is_markup(made: Path):
    html = render(read_run(made))
    page = Page(html)
    assert "default-src 'none'" in html
    addresses = ("src", "srcset", "href", "xlink:href", "data")
    loading = [(tag, known.get(name) or "") for tag, known in page.tags for name in addresses if tag != "a"]
    assert [one for one in loading if one[1] and not one[1].startswith(("#", "data:"))] == []
    assert re.findall(r"url\((?!#)", html) == []
    assert "document.title = 'taken'" not in re.sub(r'id="index">.*?</script>', "", html)
    assert "\\u003c/script>" in html
    assert json.loads(page.scripts["index"])[0]["question"].endswith("</script>")


def test_all_ids_of_the_page_are_different(made: Path):
    ids = [known["id"] for _, known in page_of(made).tags if "id" in known]
    assert len(ids) == len(set(ids))


def test_the_viewer_has_every_trajectory_with_the_steps_at_which_it_was_measured(made: Path):
    page = page_of(made)
    index = json.loads(page.scripts["index"])
    assert [one["steps"] for one in index if one["problem"] == "problem-0"] == [[1, 11]]
    assert len(index) == 4
    for place, one in enumerate(index):
        whole = json.loads(gzip.decompress(base64.b64decode(page.scripts[f"packed-{place}"])))
        assert len(whole["pieces"]) == len(whole["measured"][0]["kl"]) == one["tokens"] == 30
        assert one["largest"] == max(whole["measured"][0]["kl"]) == 1.75
        assert one["masked"] == len(whole["measured"][0]["masked"])
        assert one["hurt"] == (one["guided"] < one["without"])
        assert len(whole["measured"]) == len(one["steps"])


@pytest.mark.parametrize(
    ("changed", "heading", "sentence"),
    [
        ({}, "Promoted: version 7 is the new champion", "(before: version 3)"),
        (
            {"action": "refuse", "after": "3"}, "Not promoted: version 7", "The champion stays version 3.",
        ),
        ({"action": "unchanged", "after": "3"}, "Nothing changed", "The champion stays version 3."),
    ],
)  # fmt: skip
def test_the_decision_is_said_in_words(made: Path, changed, heading, sentence):
    file = made / "summary.json"
    summary = json.loads(file.read_text())
    summary["decision"] |= changed
    write_json(file, summary)
    record = read_run(made)
    verdict = decision_in_words(record)
    assert verdict.heading == heading
    assert any(sentence in one for one in verdict.sentences)
    assert record.comparison is not None
    gain = record.comparison.overall
    assert f"{100 * gain.challenger:.1f} % of the challenger's answers are right" in verdict.sentences[0]
    assert "more than chance explains" in verdict.sentences[1]
    assert heading in page_of(made).text


def test_the_interval_of_few_problems_does_not_speak_against_the_permutation_test(made: Path):
    three_better = [[Outcome(f"p{number}", "x", (float(who and number < 3),)) for number in range(8)] for who in (0, 1)]
    few = compare(*three_better, confidence=0.95, resamples=2000, seed=0)
    assert few.overall.difference.low > 0
    assert few.p_value == pytest.approx(0.25, abs=0.05)  # 2 of the 8 ways to give three differences their signs
    sentence = decision_in_words(replace(read_run(made), comparison=few)).sentences[1]
    assert f"yet chance could explain it: by a permutation test over the problems p = {few.p_value:.2f}" in sentence


def test_a_run_that_has_not_ended_says_so(made: Path):
    (made / "summary.json").unlink()
    page = page_of(made)
    assert "Trained, not evaluated" in page.text
    assert "No summary.json: the run has not ended" in page.text
    assert not any(name.startswith("comparison") for name in page.figures)
    assert "step.3.reward/guided" in page.figures


def test_a_torn_metrics_file_costs_its_last_row(made: Path):
    file = made / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    page = page_of(made)
    assert "metrics.jsonl: row 20 is not a JSON object: left out." in page.text
    assert "step.18.reward/guided" in page.figures
    assert "step.19.reward/guided" not in page.figures


def test_numbers_that_are_not_finite_are_shown(made: Path):
    file = made / "metrics.jsonl"
    with file.open("a") as stream:
        stream.write('{"step": 20, "reward/guided": "NaN", "policy/entropy": "Infinity"}\n')
    figures = page_of(made).figures
    assert (figures["step.20.reward/guided"], figures["step.20.policy/entropy"]) == ("nan", "inf")


def test_a_run_without_traces_or_metrics_has_a_report_of_the_rest(made: Path):
    for file in (made / "traces").iterdir():
        file.unlink()
    (made / "metrics.jsonl").unlink()
    page = page_of(made)
    assert "No traces: the token viewer is empty." in page.text
    assert "No metrics.jsonl" in page.text
    assert "index" not in page.scripts
    assert "comparison.all problems.champion" in page.figures


def test_a_summary_of_another_version_keeps_what_can_be_read(made: Path):
    file = made / "summary.json"
    summary = json.loads(file.read_text())
    del summary["decision"]["reasons"], summary["decision"]["who"], summary["git_commit"], summary["seconds"]
    write_json(file, {**summary, "of_later_versions": 1})
    page = page_of(made)
    assert "summary.json: 'decision.who' is not as this version writes it" in page.text
    assert "Measured, not decided" in page.text
    assert "comparison.all problems.champion" in page.figures


def test_a_trace_of_another_version_is_left_out_alone(made: Path):
    file = made / "traces" / "step-000000.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    del rows[1]["pass_rates"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "half a li")
    page = page_of(made)
    assert len(json.loads(page.scripts["index"])) == 3
    assert "traces/: 1 trajectories are not as this version writes them" in page.text
    assert "step-000000.jsonl: row 3 is not a JSON object" in page.text


def test_settings_of_an_older_recipe_are_no_obstacle(made: Path):
    (made / "config.yaml").write_text(yaml.safe_dump({"training": {"objective": {"delta": 1.0}}, "data": "nowhere"}))
    page = page_of(made)
    assert "No nowhere/strategies.parquet: nothing is said of strategies." in page.text
    assert "reward/guided" in page.text


def test_strategies_that_have_changed_since_are_not_shown_as_the_runs(made: Path, data_folder: Path):
    record = read_run(made)
    assert read_bank(record).kept == 12
    write_json(made / "made_of.json", {"strategies.parquet": "another"})
    record = read_run(made)
    assert read_bank(record).kept == 0
    assert any("has changed since this run" in note for note in record.notes)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(ReportError, match="expected a run directory"):
        write_report(tmp_path, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_flow_s_summary_stands_in_before_it_is_written(made: Path, tmp_path: Path):
    (made / "summary.json").unlink()
    notes = write_report(made, tmp_path / "page.html", summary_of("named", [], champion_before="2"))
    assert not any("summary.json" in note for note in notes)
    assert "Run named of sgpo-testbed" in Page((tmp_path / "page.html").read_text(encoding="utf-8")).text


def test_the_command_writes_into_the_run_and_says_what_is_missing(made: Path):
    from typer.testing import CliRunner

    (made / "summary.json").unlink()
    result = CliRunner().invoke(app, ["report", str(made)])
    assert result.exit_code == 0, result.output
    assert "No summary.json" in result.output
    assert (made / "report" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_step_s_seconds_are_added_up(made: Path):
    rows = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    total = sum(number(row["time/rollout"]) for row in rows)
    assert f"{total:.3g}" in page_of(made).text


def test_problems_that_changed_are_listed_with_both_answers(made: Path):
    answer = {"text": "So <i>5</i>.", "extracted": "5", "reason": "wrong", "finish_reason": "stop", "reward": 0.0}
    row = {
        "problem_id": "p1",
        "tier": "tier 1",
        "question": "How many?",
        "gold": "6",
        "champion": 1.0,
        "challenger": 0.0,
    }
    worse = {**row, "change": "worse", "champion_answer": None, "challenger_answer": answer}
    better = {**row, "change": "better", "champion": 0.25, "challenger": 0.75, "question": None}
    (made / "evaluation").mkdir()
    lines = "".join(json.dumps(one) + "\n" for one in (worse, better, {"change": "worse"}))
    (made / "evaluation" / "better_worse.jsonl").write_text(lines)
    page = page_of(made)
    assert "Got worse: 1 problems" in page.text
    assert "Got better: 1 problems" in page.text
    assert "100.0 % → 0.0 % right · tier 1 · How many?" in page.text
    assert "So <i>5</i>." in page.text
    assert "another answer, answer 5" in page.text
    assert "better_worse.jsonl: 1 problem not as this version writes them" in page.text


def test_a_trajectory_that_cannot_be_packed_does_not_shift_the_others(made: Path):
    file = min((made / "traces").glob("step-*.jsonl"))
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    del rows[0]["rollouts"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    index, packed = pack_trajectories(read_run(made), {})
    assert len(index) == len(packed) > 0
    for line, text in zip(index, packed, strict=True):
        assert json.loads(gzip.decompress(base64.b64decode(text)))["question"] == line["question"]


def test_a_tier_may_have_dollars_in_its_name():
    outcomes = [[Outcome(f"p{n}", "a $\\frac$ b", (right,)) for n in range(5)] for right in (0.0, 1.0)]
    assert "$\\frac$" in draw_gains(compare(*outcomes, 0.95, 200, 0))


@pytest.mark.parametrize(
    ("file", "row"),
    [("traces/step-000000.jsonl", {"first_step": [1]}), ("metrics.jsonl", {"step": 0, "reward/guided": None}),
     ("traces/step-000000.jsonl", {"kl": [], "pass_rates": {"autonomous": 0, "guided": 0}, "strategy": None}),
     ("evaluation/better_worse.jsonl", {"change": "worse", "problem_id": "p", "tier": "t", "champion": 1,
                                        "challenger": 0, "question": 5, "champion_answer": "x"})],
)  # fmt: skip
def test_a_row_that_is_not_as_this_version_writes_it_is_no_obstacle(made: Path, file: str, row: dict):
    (made / file).parent.mkdir(exist_ok=True)
    (made / file).write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert write_report(made, made / "report.html")


@pytest.mark.parametrize(
    ("domain", "reason", "words"),
    [
        ("math", "no_answer", "no boxed answer"), ("code", "no_answer", "no fenced program"),
        ("code", "wrong", "fails tests"), ("choice", "unparsable", "not one letter of the choices"),
        ("units of my own", "no_answer", "no stated answer"), ("units of my own", "timeout", "judging took too long"),
    ],
)  # fmt: skip
def test_reasons_are_told_in_the_words_of_the_problems_domain(made: Path, domain: str, reason: str, words: str) -> None:
    answer = {"text": "t", "extracted": None, "reason": reason, "finish_reason": "stop", "reward": 0.0, "lenient": None}
    changed = {
        "change": "worse", "problem_id": "p", "tier": "one", "question": "q", "gold": "5", "champion": 1.0,
        "challenger": 0.0, "champion_answer": answer, "challenger_answer": answer, "domain": domain,
    }  # fmt: skip
    (made / "evaluation").mkdir()
    (made / "evaluation" / "better_worse.jsonl").write_text(json.dumps(changed) + "\n")
    file = made / "traces" / "step-000000.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0] |= {"domain": domain}
    rows[0]["rollouts"]["autonomous"][0] |= {"reason": reason, "reward": 0.0, "extracted": None}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = page_of(made)
    assert f"✗ wrong · {words}" in " ".join(page.text.split())
    assert ("boxed" in page.text) == (domain == "math")
    _, packed = pack_trajectories(read_run(made), {})
    whole = json.loads(gzip.decompress(base64.b64decode(packed[0])))
    assert whole["rollouts"]["autonomous"][0]["why"] == f"{words}, 9 tokens"


def test_a_run_that_was_trained_and_evaluated_by_commands_is_measured_and_not_decided(made: Path) -> None:
    (made / "summary.json").unlink()
    for who, reward in (("champion", 0.0), ("challenger", 1.0)):
        rows = [Outcome(problem_id=f"p{n}", tier="one", rewards=(float(n % 4 == 0) or reward,)) for n in range(40)]
        write_outcomes(rows, made / "evaluation" / f"{who}.jsonl", {"model": who})
    record = read_run(made)
    assert record.comparison is not None
    assert record.comparison.overall.difference.value == 0.75
    assert decision_in_words(record).heading == "Measured, not decided"
    assert "There is no decision." in page_of(made).text
    write_outcomes(rows[:5], made / "evaluation" / "challenger.jsonl", {"model": "another"})
    again = read_run(made)
    assert again.comparison is None
    assert any(note.startswith("evaluation/: cannot be compared") for note in again.notes)
