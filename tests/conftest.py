"""What the tests of several rooms share."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
LONGEST_FIRST = (
    "flows/test_operations.py", "flows/test_domain_retrain.py", "flows/test_demo.py", "flows/test_demo_real.py",
    "study/test_study_runs.py", "flows/test_your_model.py", "flows/test_graphs.py", "training/test_survival.py",
    "training/test_processes.py", "benchmarks/test_roofline.py", "study/test_study_benchmarks.py",
    "golden/test_golden.py", "testbed/test_measured_worlds.py", "training/test_overlap.py",
    "pipeline/test_reproduction.py", "storage/test_readback.py", "storage/test_stored_run.py",
    "registry/test_promotion.py", "training/test_gloo.py",
)  # fmt: skip
"""Files of tests that take half a minute or more; what begins last decides when all are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, when files are shared out among processes."""
    rank = {str(REPOSITORY / "tests" / name): number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(str(item.path), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share files out among processes, as `--dist loadfile` does, but those that use one server all to one process."""
    from xdist.scheduler import LoadFileScheduling

    class ByFileAndServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "Prefect's API" if "prefect_api" in _text(config.rootpath / file) else file

    return ByFileAndServer(config, log) if config.getvalue("dist") == "loadfile" else None


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """pytest's own, without what HTTP clients of earlier tests say: a thread that still tries a dead server logs on."""
    here = threading.get_ident()

    def of_this_test(record: Any) -> bool:
        return record.thread == here or not record.name.startswith("urllib3")

    caplog.handler.addFilter(of_this_test)
    yield caplog
    caplog.handler.removeFilter(of_this_test)


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file for MLflow. Making its tables takes seconds, so all tests share it under names of their own."""
    return tmp_path_factory.mktemp("mlflow") / "new folder" / "mlflow.db"


@pytest.fixture
def tracking(mlflow_database: Path, request: pytest.FixtureRequest) -> Any:
    """A registered model and an experiment of the test's own in the shared database.

    An experiment's artifacts lie where its first user said, so a test that looks at files needs one of its own.
    """
    from sgpo.config import TrackingConfig

    return TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}",
        artifact_root=str(mlflow_database.parent / "artifacts"),
        experiment=f"experiment of {request.node.name}",
        registered_model=f"model of {request.node.name}",
    )


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The smallest folder with everything a Hugging Face model needs; rooms that train have one of their own."""
    import numpy as np
    from safetensors.numpy import save_file

    folder = tmp_path / "model"
    folder.mkdir()
    for name, value in {
        "config.json": {"model_type": "qwen2"},
        "tokenizer.json": {"version": "1.0"},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    save_file({"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, folder / "model.safetensors")
    return folder


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str

    def refusal(self) -> str:
        """The one line that the command ended with."""
        assert self.returncode == 1, self.stderr
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, self.stderr
        return lines[0]


@pytest.fixture
def sgpo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run one command as `sgpo` does, in this process, in the folder `cwd`."""
    from sgpo.cli.main import main

    def run(*arguments: str, cwd: Path) -> Ended:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["sgpo", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code, captured = ended.value.code, capsys.readouterr()
        return Ended(int(code) if isinstance(code, int) else 0, captured.out, captured.err)

    return run


class Checkout:
    """A git checkout of this code with DVC's stages and settings of its own; commands run in it as a user runs them."""

    def __init__(self, folder: Path, params: dict[str, Any]) -> None:
        self.folder = folder
        shutil.copytree(REPOSITORY / "sgpo", folder / "sgpo", ignore=shutil.ignore_patterns("__pycache__"))
        for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "data/.gitignore", "dvc.yaml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
        self.set_params(params)
        self.git("init", "--quiet", "--initial-branch=main")

    def set_params(self, params: dict[str, Any]) -> None:
        """Write this repository's params.yaml with some sections replaced."""
        ours = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
        (self.folder / "params.yaml").write_text(yaml.safe_dump({**ours, **params}), encoding="utf-8")

    def commit(self, tag: str) -> None:
        """Commit everything that git tracks or may track, and tag it."""
        self.git("add", "--all")
        self.git("-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", f"--message={tag}")
        self.git("tag", tag)

    def git(self, *arguments: str) -> str:
        """Run git; returns what it printed."""
        return self.run("git", *arguments).stdout

    def dvc(self, *arguments: str) -> str:
        """Run DVC; returns what it printed."""
        return self.run(sys.executable, "-m", "dvc", *arguments).stdout

    def sgpo(self, *arguments: str, returncode: int = 0) -> str:
        """Run `sgpo`; returns what it printed, errors included."""
        done = self.run(sys.executable, "-m", "sgpo.cli", *arguments, returncode=returncode)
        return done.stdout + done.stderr

    def run(self, *command: str, returncode: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout; its exit code must be `returncode`."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "SGPO"))},
            "PYTHONPATH": str(self.folder), "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == returncode, f"{command}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="session")
def make_checkout() -> Callable[[Path, dict[str, Any]], Checkout]:
    """Make a checkout in an empty folder, with these sections of params.yaml."""
    return Checkout
