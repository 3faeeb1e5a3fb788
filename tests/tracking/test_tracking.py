"""What a run logs is in its files always, and in MLflow once, whenever it answers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from sgpo.cli.main import app
from sgpo.config import RunConfig, TrackingConfig, config_digest
from sgpo.jsonl import JsonlError, JsonlFile
from sgpo.storage.objects import UnreachableError
from sgpo.tracking.client import connect, experiment_id
from sgpo.tracking.tracker import METRICS, RunTracker, TrackingError, evaluation_metric, open_tracker, replay
from sgpo.training.recovery.interruption import PreemptedError

pytestmark = pytest.mark.slow

DOWN = TrackingConfig(mlflow_uri="http://127.0.0.1:9")


@pytest.fixture
def tracking(mlflow_database: Path, request: pytest.FixtureRequest) -> TrackingConfig:
    """An experiment of the test's own in the shared database."""
    return TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}",
        artifact_root=str(mlflow_database.parent / "artifacts"),
        experiment=f"experiment of {request.node.name}",
    )


def rows(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def values_in_mlflow(tracking: TrackingConfig, run_dir: Path, name: str) -> list[tuple[int, float]]:
    run_id = (run_dir / "mlflow_run_id").read_text()
    return [(metric.step, metric.value) for metric in connect(tracking).get_metric_history(run_id, name)]


def runs_in_mlflow(tracking: TrackingConfig) -> list:
    client = connect(tracking)
    experiment = client.get_experiment_by_name(tracking.experiment)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_every_metric_of_a_step_is_in_its_row_and_in_mlflow(tracking: TrackingConfig, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    metrics = {name: 0.25 + place for place, name in enumerate(METRICS) if name != "distill/alpha_hist"}
    metrics[evaluation_metric("AIME-24 v1", 4)] = 0.5
    with RunTracker(run_dir, tracking) as tracker:
        tracker.log(0, metrics)
        tracker.log(1, {"distill/alpha_hist": [3, 0, 5]})
    first, second = rows(run_dir)
    assert {name: first[name] for name in metrics} == metrics
    assert (first["step"], second["step"], second["distill/alpha_hist"]) == (0, 1, [3.0, 0.0, 5.0])
    logged = runs_in_mlflow(tracking)[0].data.metrics
    assert logged == metrics | {f"distill/alpha_hist/0{bin}": count for bin, count in enumerate((3.0, 0.0, 5.0))}
    assert "eval/AIME-24 v1/avg_at_4" in logged


def test_metric_names_are_those_of_the_design() -> None:
    design = Path(__file__).parents[2] / "shared" / "DESIGN.md"
    if not design.exists():
        pytest.skip("the design is beside the repository, not in it")
    section = design.read_text(encoding="utf-8").split("## 6. Names on the metrics")[1]
    assert set(section.split("`")[1::2]) - {"eval/<benchmark>/avg_at_k"} <= set(METRICS)


@pytest.mark.parametrize("name", ["pass@1", "a//b", "/a", "", "step"])
def test_a_name_that_mlflow_would_refuse_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no name for MLflow"):
        RunTracker(tmp_path / "run", DOWN).log(0, {name: 1.0})
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_numbers_that_are_not_finite_are_kept_and_the_file_stays_json(tracking: TrackingConfig, tmp_path: Path) -> None:
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.log(0, {"optim/grad_norm": float("nan"), "policy/ratio_max": float("inf")})
    line = (tmp_path / "run" / "metrics.jsonl").read_text()

    def no_constant(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    row = json.loads(line, parse_constant=no_constant)
    assert (row["optim/grad_norm"], row["policy/ratio_max"]) == ("NaN", "Infinity")
    value = values_in_mlflow(tracking, tmp_path / "run", "optim/grad_norm")[0][1]
    assert value != value


def test_a_resumed_run_goes_on_in_the_same_mlflow_run_with_no_step_twice(
    tracking: TrackingConfig, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    tracker = RunTracker(run_dir, tracking)
    for step in range(6):
        tracker.log(step, {"reward/guided": float(step)})
    tracker.flush()
    run_id = tracker.mlflow_run_id  # killed here: no close
    with RunTracker(run_dir, tracking) as tracker:
        tracker.resume_at(4)
        assert [row["step"] for row in rows(run_dir)] == [0, 1, 2, 3]
        for step in range(4, 8):
            tracker.log(step, {"reward/guided": float(step)})
        tracker.flush()
        assert tracker.mlflow_run_id == run_id
    assert [row["step"] for row in rows(run_dir)] == list(range(8))
    assert values_in_mlflow(tracking, run_dir, "reward/guided") == [(step, float(step)) for step in range(8)]
    assert len(runs_in_mlflow(tracking)) == 1


def test_a_row_torn_by_a_kill_is_dropped_and_a_spoilt_one_is_named(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    RunTracker(run_dir, DOWN).log(0, {"reward/guided": 0.5})
    file = run_dir / "metrics.jsonl"
    whole = file.read_text()
    file.write_text(whole + whole[:20])
    RunTracker(run_dir, DOWN).log(1, {"reward/guided": 0.6})
    assert [row["step"] for row in rows(run_dir)] == [0, 1]
    file.write_text(whole + "{]\n" + whole)
    with pytest.raises(JsonlError, match=r"metrics\.jsonl row 2: not JSON"):
        RunTracker(run_dir, DOWN)


def test_a_row_that_a_full_disk_cut_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    """A limit on the file's size stands for the disk: it takes the beginning of the row, then nothing."""
    code = (
        "import resource, sys; from pathlib import Path; from sgpo.jsonl import JsonlFile\n"
        "file = JsonlFile(Path(sys.argv[1])); file.append({'step': 0})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))\n"
        "try:\n    file.append({'step': 1, 'reward/guided': 0.5})\n"
        "except OSError:\n    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "    file.append({'step': 1})\n"
    )
    file = tmp_path / "metrics.jsonl"
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)
    assert [row["step"] for row in JsonlFile(file).rows] == [0, 1]


def test_a_killed_process_leaves_every_row_it_logged(tracking: TrackingConfig, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from sgpo.config import TrackingConfig; from sgpo.tracking.tracker import RunTracker\n"
        "tracker = RunTracker(Path(sys.argv[1]), TrackingConfig(mlflow_uri='http://127.0.0.1:9'))\n"
        "for step in range(3): tracker.log(step, {'reward/guided': float(step)})\n"
        "print('logged', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "logged\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [row["step"] for row in rows(tmp_path / "run")] == [0, 1, 2]
    assert replay(tmp_path / "run", tracking) == 3


def test_with_no_mlflow_the_run_completes_quickly_says_so_once_and_replays_later(
    tracking: TrackingConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    begin = time.monotonic()
    with RunTracker(run_dir, DOWN, tags={"team": "maths"}) as tracker:
        tracker.log_params({"training": {"steps": 3}})
        tracker.log_dict({"promote": True}, "report/gate.json")
        for step in range(50):
            tracker.log(step, {"reward/guided": 0.1 * step, "optim/lr": 1e-6})
        assert tracker.mlflow_run_id is None
    assert time.monotonic() - begin < 5.0
    said = capfd.readouterr().err
    assert said.count("no MLflow at http://127.0.0.1:9: [Errno 111] Connection refused") == 1
    assert len(said.splitlines()) == 1
    assert str(run_dir / "metrics.jsonl") in said

    with pytest.raises(TrackingError, match=r"run: not replayed: .*Connection refused"):
        replay(run_dir)
    assert replay(run_dir, tracking) == 100
    assert replay(run_dir, tracking) == 0
    (run,) = runs_in_mlflow(tracking)
    assert run.info.status == "FINISHED"
    events = [json.loads(line) for line in (run_dir / "tracking.jsonl").read_text().splitlines()]
    assert run.info.start_time == events[0]["timestamp_ms"]  # not when MLflow heard of it, which is after its end
    assert run.info.start_time <= run.info.end_time == events[-1]["timestamp_ms"]
    assert run.data.params == {"training.steps": "3"}
    assert run.data.tags["team"] == "maths"
    assert values_in_mlflow(tracking, run_dir, "reward/guided") == [(step, 0.1 * step) for step in range(50)]
    listed = connect(tracking).list_artifacts(run.info.run_id, "report")
    assert [artifact.path for artifact in listed] == ["report/gate.json"]


def test_what_waited_is_delivered_when_mlflow_answers_again(
    tracking: TrackingConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The database's folder is a file at first: MLflow cannot open it until that is out of the way."""
    obstacle = tmp_path / "folder"
    obstacle.write_text("in the way")
    blocked = tracking.model_copy(update={"mlflow_uri": f"sqlite:///{obstacle}/mlflow.db"})
    tracker = RunTracker(tmp_path / "run", blocked)
    tracker.log(0, {"reward/guided": 0.5})
    tracker.flush()
    assert "no MLflow at" in capfd.readouterr().err
    obstacle.unlink()
    obstacle.symlink_to(Path(tracking.mlflow_uri.removeprefix("sqlite:///")).parent)
    tracker.close()
    assert "answers again, all was delivered" in capfd.readouterr().err
    assert values_in_mlflow(tracking, tmp_path / "run", "reward/guided") == [(0, 0.5)]


def test_without_mlflow_installed_the_run_completes_and_says_so(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from pathlib import Path\nfrom sgpo.config import TrackingConfig\n"
        "from sgpo.tracking.tracker import RunTracker\n"
        "with RunTracker(Path(sys.argv[1]), TrackingConfig()) as tracker: tracker.log(0, {'reward/guided': 1.0})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0
    assert "mlflow is not installed here" in result.stderr
    assert len(rows(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"), (ValueError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED"),
        (PreemptedError("asked to stop"), "KILLED"), (UnreachableError("no answer"), "FAILED"),
    ],
)  # fmt: skip
def test_a_run_ends_in_mlflow_as_it_ended(
    tracking: TrackingConfig, tmp_path: Path, error: BaseException | None, status: str
) -> None:
    tracker = RunTracker(tmp_path / "run", tracking)
    tracker.flush()
    assert runs_in_mlflow(tracking)[0].info.status == "RUNNING"
    with pytest.raises(type(error)) if error else nullcontext(), tracker:
        if error:
            raise error
    assert runs_in_mlflow(tracking)[0].info.status == status


def test_an_opened_tracker_has_the_settings_as_parameters(tracking: TrackingConfig, tmp_path: Path) -> None:
    config = RunConfig(seed=7, tracking=tracking)
    with open_tracker(config, tmp_path / "run"):
        pass
    (run,) = runs_in_mlflow(tracking)
    assert (run.data.params["seed"], run.data.params["training.algorithm.delta"]) == ("7", "1.0")
    assert run.data.tags["sgpo.config_digest"] == config_digest(config)


def test_a_child_run_hangs_under_its_parent(tracking: TrackingConfig, tmp_path: Path) -> None:
    parent, child = tmp_path / "retrain", tmp_path / "train"
    with RunTracker(parent, tracking, name="retrain weekly") as outer:
        outer.flush()
        RunTracker(child, tracking, parent=parent).close()
    tags = {run.data.tags["sgpo.run_id"]: run.data.tags for run in runs_in_mlflow(tracking)}
    assert tags["train"]["mlflow.parentRunId"] == outer.mlflow_run_id
    assert "mlflow.parentRunId" not in tags["retrain weekly"]


def test_a_process_killed_before_it_wrote_the_run_id_still_finds_its_run(
    tracking: TrackingConfig, tmp_path: Path
) -> None:
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.flush()
        first = tracker.mlflow_run_id
    (tmp_path / "run" / "mlflow_run_id").unlink()
    RunTracker(tmp_path / "run", tracking).close()
    assert first is not None
    assert tracker.mlflow_run_id == first


def test_a_run_deleted_in_mlflow_is_logged_anew_and_whole(
    tracking: TrackingConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = RunTracker(tmp_path / "run", tracking)
    tracker.log(0, {"reward/guided": 0.5})
    tracker.close()
    assert tracker.mlflow_run_id
    connect(tracking).delete_run(tracker.mlflow_run_id)
    with RunTracker(tmp_path / "run", tracking) as again:
        again.log(1, {"reward/guided": 0.6})
    assert "is deleted or of another server" in capfd.readouterr().err
    assert again.mlflow_run_id
    assert values_in_mlflow(tracking, tmp_path / "run", "reward/guided") == [(0, 0.5), (1, 0.6)]


def test_a_data_set_carries_its_digest_and_mlflow_can_find_its_source(tracking: TrackingConfig, tmp_path: Path) -> None:
    import mlflow.data

    digest = "0123456789abcdef" * 3
    for _ in range(2):  # a resumed run says it again
        with RunTracker(tmp_path / "run", tracking) as tracker:
            tracker.log_dataset(Path("data/train.parquet"), "train", digest, "/remote/files", "training")
            tracker.log_dataset(Path("data/far.parquet"), "far", "d", "s3://bucket/far.parquet", "evaluation")
    inputs = {item.dataset.name: item for item in runs_in_mlflow(tracking)[0].inputs.dataset_inputs}
    assert set(inputs) == {"train", "far"}
    train = inputs["train"]
    assert train.dataset.digest == digest[:36]
    assert {tag.key: tag.value for tag in train.tags} == {
        "mlflow.data.context": "training",
        "sgpo.path": "data/train.parquet",
        "sgpo.digest": digest,
    }
    assert mlflow.data.get_source(train).uri == "/remote/files"
    assert mlflow.data.get_source(inputs["far"]).uri == "s3://bucket/far.parquet"


def test_parameters_that_changed_are_said_and_the_others_are_logged(
    tracking: TrackingConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.log_params({f"p{number}": number for number in range(150)})
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.log_params({"p0": 0, "p1": "other", "new": None})
    assert "first values of the changed parameters p1" in capfd.readouterr().err
    params = runs_in_mlflow(tracking)[0].data.params
    assert (len(params), params["p1"], params["new"]) == (151, "1", "None")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sqlite:///mlflow.db", "{here}/artifacts"), ("postgresql+psycopg2://db.example/mlflow", "{here}/artifacts"),
        ("http://mlflow.example", None), ("https://mlflow.example", None),
    ],
)  # fmt: skip
def test_artifacts_of_a_database_go_where_the_recipe_says_and_a_server_knows_its_place(
    uri: str, place: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = Mock(**{"get_experiment_by_name.return_value": None, "create_experiment.return_value": "1"})
    assert experiment_id(client, TrackingConfig(mlflow_uri=uri, artifact_root="artifacts")) == "1"
    expected = place and place.format(here=tmp_path)
    client.create_experiment.assert_called_once_with("sgpo", artifact_location=expected)


def test_a_figure_is_a_file_of_the_run_and_an_artifact(tracking: TrackingConfig, tmp_path: Path) -> None:
    (tmp_path / "reward.svg").write_text("<svg/>")
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.log_artifact(tmp_path / "reward.svg", "report")
        with pytest.raises(FileNotFoundError, match="no such file to log"):
            tracker.log_artifact(tmp_path / "nothing")
    file = tmp_path / "reward.svg"
    assert tracker.mlflow_run_id
    stored = connect(tracking).download_artifacts(tracker.mlflow_run_id, "report/reward.svg", str(tmp_path))
    assert Path(stored).read_bytes() == file.read_bytes()


def test_what_mlflow_refuses_for_good_does_not_hold_up_the_rest(
    tracking: TrackingConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.log_params({"a name with @": 1})
        tracker.log(0, {"reward/guided": 0.5})
    assert "MLflow refused something" in capfd.readouterr().err
    assert values_in_mlflow(tracking, tmp_path / "run", "reward/guided") == [(0, 0.5)]


def test_the_command_that_a_run_advises_replays_to_the_server_that_the_run_logs_to(
    tracking: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.log(0, {"reward/guided": 0.5})
    known = (tmp_path / "run" / "mlflow_run_id").read_text()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["replay", "--run", "run"], catch_exceptions=False)
    assert done.output == "0 values sent\n"
    assert (tmp_path / "run" / "mlflow_run_id").read_text() == known
    assert not (tmp_path / ".sgpo").exists()  # the database of the default settings
    elsewhere = CliRunner().invoke(app, ["replay", "--run", "run", f"tracking.mlflow_uri={DOWN.mlflow_uri}"])
    assert "Connection refused" in str(elsewhere.exception)


def test_replaying_what_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no tracking.jsonl \(expected a run directory\)"):
        replay(tmp_path)


def test_the_clients_patience_ends_with_the_call(tmp_path: Path) -> None:
    RunTracker(tmp_path / "run", DOWN).close()
    assert not {name for name in os.environ if name.startswith("MLFLOW_HTTP_REQUEST")}


def test_a_server_that_never_answers_does_not_hold_up_whoever_logs(tmp_path: Path) -> None:
    """It takes the connection and says nothing; what is logged is in the files long before its client gives up."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tracking = TrackingConfig(mlflow_uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracker = RunTracker(tmp_path / "run", tracking)
        connection, _ = silent.accept()  # its thread waits for the answer now
        tracker.log(0, {"reward/guided": 0.5})
        assert [row["step"] for row in rows(tmp_path / "run")] == [0]
        connection.close()
    tracker.close()
    assert tracker.mlflow_run_id is None
