"""A stored run: another machine goes on with it, outages cost it nothing, and two machines never have it at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from s3_server import contents
from small_run import SMALL, Killed, changed, of_run, rows, run
from test_lock import another_machine as taken_over
from test_lock import until

from sgpo.config import RunConfig, StorageConfig, dump_config, load_config
from sgpo.files import file_sha256
from sgpo.registry.provenance import dvc_md5, lineage_of_run, note_provenance, read_provenance
from sgpo.storage import LockedError, ObjectStore, list_folders, pull_folder, push_folder, read_manifest, verify_folder
from sgpo.storage.runs import pull_record, push_record
from sgpo.training.checkpoints.checkpoint import CheckpointError
from sgpo.training.checkpoints.stored_run import open_stored_run
from sgpo.training.recovery.interruption import PreemptedError

pytestmark = pytest.mark.slow

CHECKPOINTS = "runs/weekly/checkpoints"


@pytest.fixture
def config(settings, data_folder) -> RunConfig:
    return of_run(settings, data_folder)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, model_folder, data_folder) -> Path:
    """The same run, never disturbed and never stored."""
    return run(of_run(StorageConfig(), data_folder), tmp_path_factory.mktemp("reference"), model_folder)


def check_all_is_stored(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    """The storage holds exactly what the run's folder holds."""
    here = sorted(path.name for path in (folder / "checkpoints").iterdir())
    expected = [*(f"{CHECKPOINTS}/{step}" for step in here), "runs/weekly/model", "runs/weekly/record"]
    assert list_folders(store, unfinished=True) == expected
    for name in expected[:-1]:
        pull_folder(store, name, tmp_path / "pulled")
        assert contents(tmp_path / "pulled") == contents(folder / name.removeprefix("runs/weekly/"))
    pull_folder(store, "runs/weekly/record", tmp_path / "pulled")
    record = contents(tmp_path / "pulled")
    assert record["metrics.jsonl"] == (folder / "metrics.jsonl").read_bytes()
    assert {"config.yaml", "rollouts/step-000000.jsonl"} < record.keys()
    names = {*expected, "locks/runs/weekly.json"}
    assert {key.partition("/content/")[0].removesuffix("/manifest.json") for key in store.keys("")} == names
    for name in expected:  # nothing twice
        manifest = read_manifest(store, name)
        assert manifest is not None
        assert len(store.keys(f"{name}/content/")) == len(manifest.files)


def step_lines(output: str) -> list[str]:
    return [line.split()[1] for line in output.splitlines() if line.startswith("step ")]


def test_a_run_is_stored_as_it_is(config, store, reference, tmp_path, model_folder, capsys):
    folder = run(config, tmp_path / "a", model_folder)
    assert "storage" not in capsys.readouterr().err
    check_all_is_stored(store, folder, tmp_path)
    assert contents(folder / "model") == contents(reference / "model")
    assert rows(folder) == rows(reference)


def test_the_command_stores_its_run_and_what_it_was_made_with(
    sgpo, settings, store, reference, tmp_path, model_folder, data_folder
):
    stored = [f"storage.{name}={value}" for name, value in settings.model_dump().items() if value is not None]
    done = sgpo(
        "train", "--model", str(model_folder), "--run", "runs/weekly", *SMALL, f"data={data_folder}", *stored,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pull_folder(store, "runs/weekly/model", tmp_path / "pulled")
    assert contents(tmp_path / "pulled") == contents(reference / "model")
    pull_folder(store, "runs/weekly/record", tmp_path / "record")
    (provenance,) = read_provenance(tmp_path / "record")
    assert dvc_md5(data_folder / "strategies.parquet") in provenance.data_md5s.values()


def test_another_machine_knows_the_versions_of_data_that_dvc_add_recorded(store, tmp_path):
    """Their *.dvc files are copied into the provenance under the paths that they have beside dvc.lock."""
    here, there = tmp_path / "a" / "weekly", tmp_path / "b" / "weekly"
    (tmp_path / "data" / "splits").mkdir(parents=True)
    (tmp_path / "data" / "problems.dvc").write_text("outs: [{path: problems, md5: abc.dir}]\n")
    config = load_config(None, [f"data={tmp_path / 'data'}"])
    here.mkdir(parents=True)
    (here / "config.yaml").write_text(dump_config(config))
    note_provenance(config, here)
    push_record(store, here)
    assert pull_record(store, there)
    found = [lineage_of_run(run, "1", {}, {}).data_md5s["data/problems"] for run in (here, there)]
    assert found == ["abc.dir", "abc.dir"]


def test_another_machine_goes_on_with_what_is_stored(config, store, reference, tmp_path, model_folder, capsys):
    def kill(step: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        run(config, tmp_path / "a", model_folder, kill)
    capsys.readouterr()
    folder = run(changed(config, attempts=5), tmp_path / "b", model_folder)
    output = capsys.readouterr().out
    assert f"resumes from step-000003 of {store.where('runs/weekly')}" in output
    assert step_lines(output) == ["4/6", "5/6", "6/6"]
    assert contents(folder / "model") == contents(reference / "model")
    assert rows(folder) == rows(reference)
    newest = verify_folder(store, f"{CHECKPOINTS}/step-000006")
    assert newest.files["state.json"].sha256 == file_sha256(folder / "checkpoints" / "step-000006" / "state.json")
    # The first machine comes back: it fetches what the other one did, and has nothing left to do.
    folder = run(config, tmp_path / "a", model_folder)
    assert step_lines(capsys.readouterr().out) == []
    assert contents(folder / "model") == contents(reference / "model")
    assert rows(folder) == rows(reference)


def test_another_machine_exports_the_best_step_that_this_one_validated(
    config, store, tmp_path, model_folder, data_folder, capsys
):
    """No answer of an untrained model is right, so that the first validation stays the best."""
    overrides = [*SMALL, "training.validation={every: 1, k: 2}", "evaluation.sampling.max_new_tokens=8"]
    training = load_config(None, [*overrides, "training.keep_checkpoints=1"])
    validated = training.model_copy(update={"data": data_folder, "storage": config.storage})

    def kill(step: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        run(validated, tmp_path / "a", model_folder, kill)
    assert [name.rpartition("/")[2] for name in list_folders(store, f"{CHECKPOINTS}/")] == [
        "step-000001",
        "step-000003",
    ]
    capsys.readouterr()
    folder = run(validated, tmp_path / "b", model_folder)
    output = capsys.readouterr().out
    assert "resumes from step-000003 of" in output
    assert "keeps the best, step-000001 of" in output
    assert "exported: the weights after step 1, avg@k 0.0; of 6 steps" in output
    undisturbed = run(validated.model_copy(update={"storage": StorageConfig()}), tmp_path / "c", model_folder)
    assert contents(folder / "model") == contents(undisturbed / "model")


def test_a_spoiled_checkpoint_is_passed_over(config, store, reference, tmp_path, model_folder, s3_client, capsys):
    def kill(step: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        run(config, tmp_path / "a", model_folder, kill)
    newest = read_manifest(store, f"{CHECKPOINTS}/step-000003")
    assert newest is not None
    path, file = next((path, file) for path, file in newest.files.items() if path.endswith(".safetensors"))
    key = f"{CHECKPOINTS}/step-000003/content/{file.sha256}/{path}"
    store.put(key, bytes(file.size))
    capsys.readouterr()
    folder = run(config, tmp_path / "b", model_folder)
    output = capsys.readouterr().out
    assert f"passed over: {store.where(key)}: not the file that was published (sha256 differs)" in output
    assert step_lines(output) == ["3/6", "4/6", "5/6", "6/6"]
    assert contents(folder / "model") == contents(reference / "model")
    assert rows(folder) == rows(reference)


@pytest.mark.parametrize("fault", ["503", "drop", "hang"])
def test_an_outage_in_the_run_costs_nothing(
    config, store, proxy, reference, tmp_path, model_folder, capsys, fault
):  # fmt: skip
    refused: list[str] = []
    opened = []

    def refuse(method: str, path: str) -> str:
        refused.append(path)
        return fault

    def outage(step: int) -> None:
        if step == 2:
            proxy.fault = refuse
        if step == 4:  # training has gone on for two checkpoints
            until(lambda: len(refused) >= 1)
            proxy.fault = lambda method, path: None

    folder = run(changed(config, attempts=1, timeout_s=1.0), tmp_path / "a", model_folder, outage, opened.append)
    assert opened[0].failed >= 1
    shown = capsys.readouterr().err
    assert shown.count("not stored (the run goes on, and tries again with its next checkpoint): s3://") == 1
    assert shown.count("all is stored") == 1
    assert contents(folder / "model") == contents(reference / "model")
    assert rows(folder) == rows(reference)
    check_all_is_stored(store, folder, tmp_path)


def test_an_outage_at_the_end_is_waited_for(config, store, proxy, tmp_path, model_folder):
    config = changed(config, attempts=1)

    def outage(step: int) -> None:
        if step == 5:
            ended = time.monotonic() + 3
            proxy.fault = lambda method, path: "503" if time.monotonic() < ended else None

    folder = run(config, tmp_path / "a", model_folder, outage)
    check_all_is_stored(store, folder, tmp_path)


def test_an_outage_longer_than_the_patience_is_said_and_the_same_command_sends_the_rest(
    config, store, proxy, reference, tmp_path, model_folder, capsys
):
    config = changed(config, attempts=1, patience_s=0.5, lease_s=1.0)

    def outage(step: int) -> None:
        if step == 4:
            proxy.fault = lambda method, path: "drop"

    folder = run(config, tmp_path / "a", model_folder, outage)
    assert "storage: not all is stored (the same command sends the rest): s3://" in capsys.readouterr().err
    assert contents(folder / "model") == contents(reference / "model")
    proxy.fault = lambda method, path: None
    run(config, tmp_path / "a", model_folder)
    check_all_is_stored(store, folder, tmp_path)


def test_a_run_that_another_machine_has_is_refused_before_anything_is_written(config, tmp_path, model_folder):
    config = changed(config, lease_s=1.0)
    with open_stored_run(config, tmp_path / "a" / "weekly"):
        with pytest.raises(LockedError, match="runs/weekly: held by process"):
            run(config, tmp_path / "b", model_folder)
        assert contents(tmp_path / "b") == {}


def told_when(lost: threading.Event):
    """What `run` shows the stored run to, so that `lost` is set once it is told to stop: a run may end before."""

    def watch(stored) -> None:
        told = stored._lock._on_lost
        stored._lock._on_lost = lambda why: (told(why), lost.set())

    return watch


def test_a_run_that_lost_its_lock_ends_and_stores_nothing_more(config, store, tmp_path, model_folder, capsys):
    lost = threading.Event()

    def take_over(step: int) -> None:
        if step == 1:
            until(lambda: f"{CHECKPOINTS}/step-000001" in list_folders(store))
            taken_over(store)
        if step == 2:
            assert lost.wait(30)

    with pytest.raises(PreemptedError, match=r"preempted after [23] steps"):
        run(changed(config, lease_s=1.0), tmp_path / "a", model_folder, take_over, told_when(lost))
    shown = capsys.readouterr().err
    assert "storage: runs/weekly: held by process 42 of gpu-7 since" in shown
    assert shown.count("; this run stops") == 1
    assert f"{CHECKPOINTS}/step-000003" not in list_folders(store)


def test_a_run_that_lost_its_lock_while_it_sent_deletes_nothing_of_the_new_holder(
    config, s3_server, proxy, tmp_path, model_folder
):
    """A request that hangs for longer than the lease stands for the machine that was cut off."""
    elsewhere = ObjectStore(config.storage.model_copy(update={"endpoint_url": s3_server}))
    newer, taken, lost = f"{CHECKPOINTS}/step-000009", threading.Event(), threading.Event()
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "state.json").write_text("{}")

    def take_over(method: str, path: str) -> None:
        if method == "PUT" and "step-000002/content" in path and not taken.is_set():
            taken.set()
            taken_over(elsewhere)
            push_folder(elsewhere, tmp_path / "newer", newer)

    proxy.fault = take_over
    with pytest.raises(PreemptedError):
        run(config, tmp_path / "a", model_folder, lambda step: lost.wait(30) if step == 3 else None, told_when(lost))
    assert newer in list_folders(elsewhere)


def test_only_what_the_rule_keeps_stays_stored(config, store, tmp_path, model_folder):
    """The best checkpoint was made on another machine, and is only in the storage."""

    def kill(step: int) -> None:
        if step == 4:
            raise Killed

    one = config.model_copy(update={"training": config.training.model_copy(update={"keep_checkpoints": 1})})
    with pytest.raises(Killed):
        run(one, tmp_path / "a", model_folder, kill)
    here = {path.name for path in (tmp_path / "a" / "weekly" / "checkpoints").iterdir()}
    run(one, tmp_path / "b", model_folder)
    there = {name.rpartition("/")[2] for name in list_folders(store, f"{CHECKPOINTS}/")}
    scores = {step: float(verify_folder(store, f"{CHECKPOINTS}/{step}").notes["score"]) for step in there}
    assert "step-000006" in there
    assert len(there) <= 2
    assert here - {"step-000004"} <= there
    assert all(scores[step] >= scores["step-000006"] for step in there)


def test_other_settings_cannot_go_on_with_a_stored_run(config, tmp_path, model_folder):
    run(config, tmp_path / "a", model_folder)
    with pytest.raises(CheckpointError, match="began with other settings"):
        run(config.model_copy(update={"seed": 1}), tmp_path / "b", model_folder)


def test_a_warm_up_is_stored_and_not_done_again(config, store, tmp_path, model_folder, data_folder, capsys):
    from sgpo.problems import read_problems, write_problems
    from sgpo.problems.schema import Problem

    data = tmp_path / "data"
    (data / "splits").mkdir(parents=True)
    for name in ("splits/train.parquet", "strategies.parquet"):
        (data / name).write_bytes((data_folder / name).read_bytes())
    problems = [
        Problem(question=problem.question, answer=problem.answer, response=f"answer {problem.answer}")
        for problem in read_problems(data / "splits" / "train.parquet")
    ]
    write_problems(problems, data / "splits" / "warmup.parquet")
    warm = config.model_copy(update={"data": data, "warmup": config.warmup.model_copy(update={"epochs": 1})})

    def kill(step: int) -> None:
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        run(warm, tmp_path / "a", model_folder, kill)
    assert "warm-up epoch 1/1" in capsys.readouterr().out
    run(warm, tmp_path / "b", model_folder)
    assert "warm-up epoch" not in capsys.readouterr().out
    there = read_manifest(store, "runs/weekly/warmup")
    assert there is not None
    model = tmp_path / "b" / "weekly" / "warmup" / "model" / "model.safetensors"
    assert file_sha256(model) == there.files["model.safetensors"].sha256
