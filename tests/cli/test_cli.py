"""Bad input at the command line: one line that names file, row or key and what would be right; exit code not 0."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
import yaml

from sgpo.config.strategies import TeacherConfig

GOOD = {"question": "What is 2 + 3?", "answer": "5"}


def test_the_command_itself_ends_with_one_line_and_code_1(workplace):
    (workplace / "params.yaml").write_text("world: [1]\n", encoding="utf-8")
    command = [sys.executable, "-m", "sgpo.cli", "world", "problems"]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "params.yaml: 'world'" in line


def test_an_interruption_while_it_is_imported_ends_it_in_silence(tmp_path):
    # Whoever starts the tests in the background has them ignore the signal.
    heeding = "import os, signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    interrupting = f"{heeding}os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "typer.py").write_text(interrupting, encoding="utf-8")
    for start in (["-m", "sgpo.cli"], ["-c", f"from {script_of('sgpo')} import main; main()"]):
        command = [sys.executable, *start, "runs"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), start


def script_of(name: str) -> str:
    """The module whose `main` a command of this project starts."""
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = scripts["scripts"][name].partition(":")
    assert function == "main"
    return module


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text("world: {train: 6, tuning: 4, held_out: 4}\n", encoding="utf-8")
    return tmp_path


def test_an_unknown_key_is_refused_with_the_known_ones(sgpo, workplace):
    (workplace / "params.yaml").write_text("world: {trian: 6}\n", encoding="utf-8")
    line = sgpo("world", "problems", cwd=workplace).refusal()
    assert "params.yaml: unknown key 'world.trian'" in line
    assert "train" in line
    assert not (workplace / "data").exists()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.steps=-1", "'training.steps' is -1"),
        ("training.algorithm.delta=0", "'training.algorithm.delta' is 0"),
        ("evaluation.sampling.top_p=1.5", "'evaluation.sampling.top_p' is 1.5"),
        ("training.lerning_rate=1", "unknown key 'training.lerning_rate'"),
        ("training.algorithm.guided_rollouts=0", "guided_rollouts' is 0"),
        ("training.steps", "expected key=value"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_key(sgpo, workplace, override, expected):
    done = sgpo("train", "--model", "data/champion", "--run", "runs/x", override, cwd=workplace)
    assert expected in done.refusal()
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (json.dumps(GOOD) + "\n{oops\n", "row 2"),
        (json.dumps({"question": "q", "answer": ""}) + "\n", "answer"),
        (json.dumps({**GOOD, "id": "a"}) + "\n" + json.dumps({**GOOD, "id": "a", "question": "r"}) + "\n", "'a'"),
        (json.dumps({**GOOD, "anser": "5"}) + "\n", "anser"),
    ],
)
def test_a_bad_row_is_refused_by_file_row_and_field(sgpo, workplace, content, expected):
    (workplace / "new.jsonl").write_text(content, encoding="utf-8")
    done = sgpo("evaluate", "--model", "m", "--output", "out.jsonl", "--problems", "new.jsonl", cwd=workplace)
    line = done.refusal()
    assert "new.jsonl" in line
    assert expected in line
    assert not (workplace / "out.jsonl").exists()


def test_a_file_that_is_not_utf8_is_refused(sgpo, workplace):
    (workplace / "new.jsonl").write_bytes(b'{"question": "caf\xe9", "answer": "1"}\n')
    done = sgpo("evaluate", "--model", "m", "--output", "out.jsonl", "--problems", "new.jsonl", cwd=workplace)
    assert "UTF-8" in done.refusal()


def test_a_model_folder_without_tokenizer_is_refused(sgpo, workplace):
    model = workplace / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (workplace / "new.jsonl").write_text(json.dumps(GOOD) + "\n", encoding="utf-8")
    done = sgpo("evaluate", "--model", "model", "--output", "out.jsonl", "--problems", "new.jsonl", cwd=workplace)
    assert "tokenizer.json" in done.refusal()


def test_a_strategy_that_states_the_answer_is_refused(sgpo, workplace):
    from sgpo.problems import read_problems
    from sgpo.problems.table import write_table
    from sgpo.strategies.schema import CRITERIA, Strategy

    assert sgpo("world", "problems", cwd=workplace).returncode == 0
    problem = read_problems(workplace / "data" / "problems" / "train.parquet")[0]
    leaking = Strategy(
        problem_id=problem.id, problem_type="A log", approach="Add.", score=1.0, scores=dict.fromkeys(CRITERIA, 1.0),
        steps=("Add each entry.", f"The final answer is {problem.answer}."), teacher="t", prompt_version="v",
        candidates_seen=1,
    )  # fmt: skip
    write_table([leaking], workplace / "data" / "strategies.parquet")
    line = sgpo("probe", "--model", "data/champion", cwd=workplace).refusal()
    assert "strategies.parquet row 1" in line
    assert problem.answer in line


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("train --model data/champion --run runs/x --config folder", "folder: is a folder (expected a file)"),
        ("world problems --params folder", "folder: is a folder (expected a file)"),
        ("world problems --params list", "list: expected a mapping of settings, found list"),
        ("world problems --data list", "list/problems: leads through a file (expected folders)"),
        ("report run --output list/x.html", "list: is there already, as a file (expected a folder, or a new name)"),
        ("report run --output folder", "folder: is a folder (expected a file)"),
        ("evaluate --model m --output folder --problems p.jsonl", "folder: is a folder (expected a file of outcomes)"),
        ("evaluate --model m --output list --problems p.jsonl", "list row 1: is no outcome (expected a file that"),
        ("evaluate --model m --output p.jsonl --problems p.jsonl", "p.jsonl row 1: is no outcome (expected"),
        ("evaluate --model m --output empty --problems p.jsonl", "empty row 1: is no outcome (expected"),
        ("compare --champion list --challenger list", "list row 1: is no outcome (expected"),
        ("compare --champion torn --challenger torn", "torn row 2: is no outcome (expected"),
        ("model export run --model m --output folder", "folder: holds something else (expected a new or empty folder"),
        ("registry download 1 list", "list: holds something else (expected a new or empty folder"),
        ("world domain-base --output folder", "folder: holds something else (expected a new or empty folder"),
        ("world base-model --pack folder", "folder: holds something else (expected a new or empty folder"),
    ],
)
def test_a_place_that_is_something_else_is_refused_and_stays_as_it_is(sgpo, workplace, model_folder, command, expected):
    (workplace / "folder").mkdir()
    (workplace / "folder" / "mine.txt").write_text("not to be lost", encoding="utf-8")
    (workplace / "list").write_text("- a\n", encoding="utf-8")
    (workplace / "empty").touch()
    (workplace / "torn").write_text('{"about": {}}\n{"problem_id": "a", "rew', encoding="utf-8")
    (workplace / "p.jsonl").write_text(json.dumps(GOOD) + "\n", encoding="utf-8")
    model_folder.rename(workplace / "m")
    checkpoint = workplace / "run" / "checkpoints" / "step-000001"
    checkpoint.mkdir(parents=True)
    (workplace / "run" / "config.yaml").write_text("{}", encoding="utf-8")
    (checkpoint / "manifest.json").write_text("{}", encoding="utf-8")
    before = {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}
    assert expected in sgpo(*command.split(), cwd=workplace).refusal()
    assert {path: path.read_bytes() for path in before} == before


def test_a_key_that_is_there_twice_is_refused_with_both_lines(sgpo, workplace):
    (workplace / "r.yaml").write_text("training:\n  steps: 5\nseed: 1\ntraining:\n  learning_rate: 1\n")
    command = "train --model data/champion --run runs/x --config r.yaml --dry-run"
    line = sgpo(*command.split(), cwd=workplace).refusal()
    assert "r.yaml: not YAML: key 'training' in line 4 is in line 1 already (expected once)" in line


def test_the_recipes_are_valid_and_the_world_is_made_by_one_command(sgpo, workplace):
    from sgpo.config import dump_config, load_config
    from sgpo.config.pipeline import load_params

    repository = Path(__file__).parents[2]
    recipes = sorted((repository / "configs").glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        config = load_config(recipe)
        again = type(config).model_validate(yaml.safe_load(dump_config(config)))
        assert again == config
    load_params(repository / "params.yaml")
    assert sgpo("world", "problems", cwd=workplace).returncode == 0
    assert {file.name for file in (workplace / "data" / "problems").iterdir()} == {
        "train.parquet", "tuning.parquet", "held_out.parquet",
    }  # fmt: skip


def test_commands_that_look_or_check_start_without_the_heavy_libraries():
    heavy = ("torch", "transformers", "sklearn", "matplotlib", "openai", "aiohttp", "dvc", "mlflow", "prefect")
    code = (
        "import sys, sgpo.pipeline.stages, sgpo.pipeline.splits, sgpo.pipeline.imports\n"
        "from sgpo.cli.main import main\n"
        "sys.argv = ['sgpo', 'strategies', 'list', '--data', 'nowhere']\n"
        "try: main()\n"
        f"except SystemExit: print(*(name for name in {heavy} if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    missing = "StrategyFileError: nowhere/strategies.parquet: no such file (`dvc repro strategies` makes it)\n"
    assert (done.stdout, done.stderr) == ("\n", missing)


def test_the_scripted_teacher_answers_at_the_printed_address_until_it_is_interrupted(tmp_path):
    # As at a terminal: what a shell starts in the background has been told to ignore Ctrl-C.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import sgpo.cli.main as c; c.main()"
    )
    command = [sys.executable, "-c", program, "world", "teacher"]
    with subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        address = server.stdout.readline().split()[0]
        settings = yaml.safe_load(server.stdout.readline())["teacher"]
        with urllib.request.urlopen(f"{address}/models", timeout=60) as answer:
            models = json.load(answer)
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
        assert server.stderr.read() == ""
    assert address.startswith("http://127.0.0.1:")
    assert [model["id"] for model in models["data"]] == [settings["model"]]
    assert TeacherConfig.model_validate(settings).base_url == address


def test_a_port_that_is_taken_is_named(sgpo, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = sgpo("world", "teacher", "--port", port, cwd=tmp_path).refusal()
    assert line.startswith(f"TeacherError: port {port}: ")
    assert "expected a free one" in line
