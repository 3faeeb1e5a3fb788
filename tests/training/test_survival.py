"""What happens to a run happens to its clock only: kills, other numbers of processes, full disks and memories."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from warm_python import WarmProcess, WarmRanks, interpreter

sys.path.insert(0, str(Path(__file__).parent))

from test_loop import SMALL, Recorder, run

from sgpo.config import load_config
from sgpo.training.checkpoints import checkpoint as checkpoints
from sgpo.training.checkpoints.checkpoint import newest_checkpoint
from sgpo.training.microbatches import Microbatches
from sgpo.training.recovery.interruption import PREEMPTED, PreemptedError
from sgpo.training.recovery.memory import OutOfMemoryError
from sgpo.training.recovery.session import StoppedError

pytestmark = pytest.mark.slow

SETTINGS = (
    "training.steps=6", "training.problems_per_step=4",
    "training.algorithm.autonomous_rollouts=3", "training.algorithm.guided_rollouts=2",
    "training.sampling.max_new_tokens=8", "training.checkpoint_every=2", "training.learning_rate=0.001",
    "training.algorithm.entropy_coefficient=0.1",
)  # fmt: skip


def launch(
    processes: int, model: Path, data: Path, folder: Path, *overrides: str, torchrun: tuple[str, ...] | None = None
) -> Any:
    """`sgpo train`; with options of torchrun, be they none, under it as flows start it."""
    command = ["sgpo.cli", "train", "--model", str(model), "--run", str(folder), f"data={data}", *SETTINGS]
    command += [f"tracking.mlflow_uri=sqlite:///{data.parent}/mlflow.db", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": ""}
    if torchrun is None and processes == 1:
        return WarmProcess(["-m", *command], folder.parent, environment)
    if torchrun is None:
        return WarmRanks(processes, ["-m", *command], folder.parent, environment)
    if not torchrun:  # whoever kills a process wants the process itself
        environment["PYTHON_EXEC"] = str(interpreter(folder.parent))
    launcher = ["-m", "sgpo.training.launch", *torchrun, "--standalone", f"--nproc-per-node={processes}", "-m", "--"]
    return subprocess.Popen(
        [sys.executable, *launcher, *command], env=environment, cwd=folder.parent, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: Any, expected: int = 0) -> str:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == expected, output[-4000:]
    return output


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def rows(folder: Path) -> list[dict[str, float]]:
    """Metrics without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {key: value for key, value in line.items() if not key.startswith(("time", "throughput/"))} for line in lines
    ]


@pytest.fixture(scope="module")
def reference(model_folder, data_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    finish(launch(1, model_folder, data_folder, folder))
    return folder


def stop(number: signal.Signals, process: Any) -> str:
    """Send the signal after the first step that the process does; what it said."""
    line = next(line for line in process.stdout if line.startswith("step "))
    process.send_signal(number)
    return line + finish(process, PREEMPTED)


def assert_same_curve(folder: Path, reference: Path) -> None:
    """The same metrics of every step, but for the order of sums."""
    assert len(rows(folder)) == len(rows(reference)) == 6
    for ours, theirs in zip(rows(folder), rows(reference), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=1e-3, abs=1e-5), key


def test_signals_end_the_run_with_a_checkpoint_and_the_rest_is_the_same(reference, model_folder, data_folder, tmp_path):
    folder, done = tmp_path / "run", 0
    for number in (signal.SIGTERM, signal.SIGINT):
        output = stop(number, launch(1, model_folder, data_folder, folder))
        assert "PreemptedError: preempted after" in output, output
        newest = newest_checkpoint(folder / "checkpoints")
        assert newest is not None
        assert done < len(rows(folder)) == int(newest.name.removeprefix("step-")) < 6
        done = len(rows(folder))
    finish(launch(1, model_folder, data_folder, folder))
    assert weights(folder) == weights(reference)
    assert rows(folder) == rows(reference)


@pytest.fixture(scope="module")
def stopped_on_two(model_folder, data_folder, tmp_path_factory) -> Path:
    """A run of two processes that was asked to stop."""
    folder = tmp_path_factory.mktemp("two") / "run"
    stop(signal.SIGTERM, launch(2, model_folder, data_folder, folder, torchrun=()))
    assert 0 < len(rows(folder)) < 6
    return folder


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 4])
def test_a_run_of_two_processes_goes_on_with_any_number(
    processes, stopped_on_two, reference, model_folder, data_folder
):
    folder = stopped_on_two.parent / f"on-{processes}"
    shutil.copytree(stopped_on_two, folder)
    newest = newest_checkpoint(folder / "checkpoints")
    assert newest is not None
    assert len(list(newest.glob("shard-*"))) == 2
    damaged = shutil.copytree(newest, newest.with_name("step-000006"))
    shard = min(damaged.glob("shard-00002-*"))
    shard.write_bytes(shard.read_bytes()[:-100])
    output = finish(launch(processes, model_folder, data_folder, folder))
    assert output.count("passed over") == 1
    assert_same_curve(folder, reference)
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in (folder, reference))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-4, rtol=0.0)


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(tmp_path, model_folder, data_folder, monkeypatch, capsys):
    """The kernel refuses the third checkpoint's bytes, so that the error comes from where it really comes from."""
    expected = run(tmp_path / "whole", load_config(None, SMALL), model_folder, data_folder, Recorder())
    refuse_the_bytes_of(3, monkeypatch)
    got = run(tmp_path / "full", load_config(None, SMALL), model_folder, data_folder, Recorder())
    assert "step-000003: not written (OSError: [Errno 27] File too large); the checkpoints before it stay" in (
        capsys.readouterr().out
    )
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    kept = {path.name for path in (tmp_path / "full" / "checkpoints").iterdir()}
    # The newest two and perhaps the best; nothing half-written takes the room.
    assert {"step-000002", "step-000004"} <= kept <= {"step-000001", "step-000002", "step-000004"}


def refuse_the_bytes_of(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the kernel refuses the bytes of the checkpoint that is the `number`th to be written."""
    real, written = checkpoints.write, []

    def full_once(*arguments):
        written.append(1)
        with files_of_at_most(1000 if len(written) == number else resource.RLIM_INFINITY):
            real(*arguments)

    monkeypatch.setattr(checkpoints, "write", full_once)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class AsksToStop(Recorder):
    """A run that gets SIGTERM in its third step."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        super().log(step, metrics)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_checkpoint_that_failed_is_written_again_when_the_run_is_asked_to_stop(
    tmp_path, model_folder, data_folder, monkeypatch
):
    refuse_the_bytes_of(1, monkeypatch)
    sparse = load_config(None, [*SMALL, "training.checkpoint_every=3", "training.steps=9"])
    with pytest.raises(PreemptedError, match="preempted after 3 steps; the same command resumes from there"):
        run(tmp_path, sparse, model_folder, data_folder, AsksToStop())
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.name == "step-000003"


def test_a_damaged_later_checkpoint_does_not_push_out_the_good_ones(tmp_path, model_folder, data_folder):
    config = load_config(None, [*SMALL, "training.keep_checkpoints=1"])
    run(tmp_path, config, model_folder, data_folder, Recorder())
    folder = tmp_path / "checkpoints"
    (folder / "step-000004").rename(folder / "step-000009")
    (folder / "step-000009" / "state.json").write_text("{}")
    run(tmp_path, config, model_folder, data_folder, Recorder())
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert newest.name == "step-000004"
    assert not (folder / "step-000009").exists()


class Full(Recorder):
    """A sink on a disk that is full from the third step on."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        if step == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().log(step, metrics)


def test_a_step_that_cannot_be_recorded_ends_the_run_in_one_line_and_is_done_again(tmp_path, model_folder, data_folder):
    expected = run(tmp_path / "whole", load_config(None, SMALL), model_folder, data_folder, Recorder())
    with pytest.raises(StoppedError, match=r"cannot be written \(No space left on device\); mend that, and the same"):
        run(tmp_path / "full", load_config(None, SMALL), model_folder, data_folder, Full())
    newest = newest_checkpoint(tmp_path / "full" / "checkpoints")
    assert newest is not None
    assert newest.name == "step-000002"
    recorder = Recorder()
    got = run(tmp_path / "full", load_config(None, SMALL), model_folder, data_folder, recorder)
    assert sorted(recorder.rows) == [2, 3]
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_when_memory_runs_out_the_same_step_is_done_in_smaller_pieces(
    tmp_path, model_folder, data_folder, monkeypatch, capsys
):
    config = load_config(None, [*SMALL, "training.shared_prompts=false"])  # more rows in a micro-batch
    expected = run(tmp_path / "whole", config, model_folder, data_folder, Recorder())
    real = Microbatches.batch

    def cramped(self, rows):
        if sum(len(row) for row in rows) > 300:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, rows)

    monkeypatch.setattr(Microbatches, "batch", cramped)
    got = run(tmp_path / "cramped", config, model_folder, data_folder, Recorder())
    assert re.search(r"out of memory: resuming with micro-batches of (512|256) tokens", capsys.readouterr().out)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=1e-5, rtol=0)


def test_memory_that_never_suffices_is_an_error_that_says_how_little_was_tried(
    tmp_path, model_folder, data_folder, monkeypatch
):
    def full(self, rows):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Microbatches, "batch", full)
    with pytest.raises(OutOfMemoryError, match="micro-batches of 256 tokens do not fit") as error:
        run(tmp_path, load_config(None, SMALL), model_folder, data_folder, Recorder())
    assert error.value.exit_code == 1


def test_steps_that_fail_in_a_row_end_the_run_with_a_report(tmp_path, model_folder, data_folder):
    config = load_config(None, [*SMALL, "training.steps=9", "training.skip_grad_norm=1e-12",
                                "training.max_skipped_steps=3"])  # fmt: skip
    recorder = Recorder()
    with pytest.raises(StoppedError, match="3 steps in a row"):
        run(tmp_path, config, model_folder, data_folder, recorder)
    report = json.loads((tmp_path / "stopped.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in report["skipped"]] == [0, 1, 2]
    assert all(row["grad_norm"] > 1e-12 and len(row["problems"]) == 3 for row in report["skipped"])
    # A run that is started again knows how many failed before.
    with pytest.raises(StoppedError, match="3 steps in a row"):
        run(tmp_path, config, model_folder, data_folder, Recorder())


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path, model_folder, data_folder):
    config = load_config(None, [*SMALL, "training.keep_checkpoints=1", "training.steps=6"])
    recorder = Recorder()
    run(tmp_path, config, model_folder, data_folder, recorder)
    rewards = [recorder.rows[step]["reward/autonomous"] for step in range(6)]
    best = max(range(6), key=lambda step: rewards[step])
    kept = {path.name for path in (tmp_path / "checkpoints").glob("step-*")}
    assert kept == {"step-000006", f"step-{best + 1:06d}"}


@pytest.mark.parametrize(
    ("sharding", "atol"),
    [
        ("sharding.activation_checkpointing=true", 1e-5),
        ("sharding.cpu_offload=true", 1e-5),
        ("sharding.precision=bfloat16", 0.1),
        ("training.shared_prompts=false", 1e-5),
    ],
)
def test_how_the_model_lies_in_memory_changes_rounding_only(
    sharding, atol, reference, model_folder, data_folder, tmp_path
):
    folder = tmp_path / "run"
    finish(launch(1, model_folder, data_folder, folder, "training.steps=1", sharding))
    ours, plain = rows(folder)[0], rows(reference)[0]
    assert ours["optim/grad_norm"] == pytest.approx(plain["optim/grad_norm"], rel=max(atol, 1e-4))
    assert ours["reward/guided"] is not None


def test_replicas_of_shards_are_the_same_update_with_shared_prompts_and_activations_computed_again(
    reference, model_folder, data_folder, tmp_path
):
    folder, also = tmp_path / "run", ("sharding.activation_checkpointing=true",)
    finish(launch(4, model_folder, data_folder, folder, "sharding.replicas=2", "training.steps=1", *also))
    ours, theirs = rows(folder)[0], rows(reference)[0]
    assert ours["optim/grad_norm"] == pytest.approx(theirs["optim/grad_norm"], rel=1e-5)
    assert ours["loss/total"] == pytest.approx(theirs["loss/total"], rel=1e-5)


def test_replicas_must_divide_the_processes(model_folder, data_folder, tmp_path):
    output = finish(launch(1, model_folder, data_folder, tmp_path / "run", "sharding.replicas=2"), expected=1)
    assert "ConfigError: sharding.replicas is 2 (expected a divisor of 1 processes)" in output


@pytest.mark.long
def test_torchrun_starts_killed_processes_again_and_the_result_is_the_same(
    reference, model_folder, data_folder, tmp_path
):
    import psutil

    folder = tmp_path / "run"
    started = launch(
        2, model_folder, data_folder, folder, "training.checkpoint_every=1", torchrun=("--max-restarts=2",)
    )
    next(line for line in started.stdout if line.startswith("step    2"))
    workers = [child for child in psutil.Process(started.pid).children() if "sgpo.cli" in " ".join(child.cmdline())]
    workers[-1].kill()
    finish(started)
    assert len(rows(folder)) == 6
    for ours, theirs in zip(rows(folder), rows(reference), strict=True):
        assert ours["optim/grad_norm"] == pytest.approx(theirs["optim/grad_norm"], rel=1e-2)


def test_the_grace_ends_a_step_that_does_not(tmp_path):
    script = tmp_path / "stuck.py"
    script.write_text(
        "import time\nfrom sgpo.training.recovery.interruption import Interruption\n"
        "with Interruption(0.5):\n    print('ready', flush=True)\n    time.sleep(60)\n",
        encoding="utf-8",
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == PREEMPTED
    assert time.monotonic() - begun < 30
