"""`make bench-check`: what counts as worse, and that every baseline is a figure that can be measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPT = """
import json, sys
file = sys.argv[sys.argv.index("--json") + 1]
print("a table")
open(file, "w").write(json.dumps({"speed": {"ratio": float(sys.argv[1])}, "cost": 2.0, "product_rate": 5e10}))
"""


def written(folder: Path, ratio: float, **changes: object) -> Path:
    """A file of two baselines of a script that gives a ratio and a cost of 2."""
    (folder / "measured.py").write_text(SCRIPT)
    command = f"{folder / 'measured.py'} {ratio}"
    common = {"command": command, "product_rate": 1e10, "date": "2026-01-01"}
    rows = [
        {"name": "ratio", "value": 2.0, "direction": "higher is better", "key": "speed.ratio", **common, **changes},
        {"name": "cost", "value": 1.9, "direction": "lower is better", "key": "cost", **common},
    ]
    (folder / "baselines.json").write_text(json.dumps(rows))
    return folder / "baselines.json"


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "check.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("ratio", "worse"), [(1.85, False), (1.75, True), (5.0, False)])
def test_more_than_a_tenth_worse_is_named_and_is_exit_code_1(tmp_path: Path, ratio: float, worse: bool) -> None:
    done = check("--baselines", written(tmp_path, ratio))
    assert done.returncode == int(worse), done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| ratio")]
    assert ("WORSE" in line) == worse
    (cost,) = [line for line in done.stdout.splitlines() if line.startswith("| cost")]
    assert "-5%" in cost
    assert "WORSE" not in cost


def test_update_writes_what_was_measured_and_is_never_worse(tmp_path: Path) -> None:
    path = written(tmp_path, 1.0)
    assert check("--baselines", path, "--update").returncode == 0
    ratio, cost = json.loads(path.read_text())
    assert (ratio["value"], cost["value"], ratio["product_rate"]) == (1.0, 2.0, 5e10)
    assert ratio["date"] > "2026-01-01"
    assert check("--baselines", path).returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "speed.nothing"}, "no number at 'speed.nothing' (expected a key of the benchmark's --json file)"),
        ({"direction": "up"}, "row 1: 'direction' is 'up' (expected 'higher is better' or 'lower is better')"),
        ({"worth": 3}, "row 1: "),
    ],
)
def test_a_baseline_that_cannot_be_read_or_measured_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    done = check("--baselines", written(tmp_path, 2.0, **changes))
    assert done.returncode != 0
    assert message in done.stderr


def test_a_benchmark_that_fails_ends_the_check_with_its_own_words(tmp_path: Path) -> None:
    path = written(tmp_path, 2.0)
    (tmp_path / "measured.py").write_text("raise SystemExit('no model here')")
    done = check("--baselines", path)
    assert done.returncode != 0
    assert "no model here" in done.stderr


def test_every_baseline_has_a_value_and_a_script() -> None:
    rows = json.loads((BENCHMARKS / "baselines.json").read_text())
    assert len({row["name"] for row in rows}) == len(rows) >= 5
    for row in rows:
        assert (BENCHMARKS / row["command"].split()[0]).is_file()
        assert row["value"] > 0
        assert row["product_rate"] > 1e9
        assert row["date"]
