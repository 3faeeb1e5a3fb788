"""DVC as the flows use it: real stages in a repository of the test's own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow

from flows import data_versions, process
from flows.data_versions import push_data, reproduce
from flows.process import CommandFailed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_api"),
    pytest.mark.filterwarnings(
        "ignore:Logger 'prefect.task_runs' attempted to send logs to the API without a flow run"
    ),
]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stage `double` that reads number.txt, fails on what is no number, and counts its runs."""
    (tmp_path / "double.py").write_text(
        "import sys\nopen('runs', 'a').write('x')\ntext = open('number.txt').read()\n"
        "if not text.strip().isdigit(): sys.exit(f'NumberError: number.txt: {text!r} (expected a number)')\n"
        "open('double.txt', 'w').write(str(2 * int(text)))\n"
    )
    (tmp_path / "number.txt").write_text("21")
    (tmp_path / "dvc.yaml").write_text(
        f"stages: {{double: {{cmd: {sys.executable} double.py, deps: [number.txt], outs: [double.txt]}}}}\n"
    )
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    monkeypatch.setenv("PYTHONPATH", str(process.REPOSITORY))
    for module in (process, data_versions):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    return tmp_path


def test_a_stage_is_made_once_and_its_version_is_the_md5_of_its_output(repository: Path) -> None:
    expected = {"double.txt": hashlib.md5(b"42").hexdigest()}
    assert reproduce("double") == expected
    assert reproduce("double") == expected
    assert data_versions.data_versions() == expected
    assert (repository / "runs").read_text() == "x"


def test_changed_input_makes_a_new_version(repository: Path) -> None:
    before = reproduce("double")
    (repository / "number.txt").write_text("4")
    assert reproduce("double") != before
    assert (repository / "double.txt").read_text() == "8"


def test_bad_input_of_a_stage_is_the_users_error_and_not_tried_again(repository: Path) -> None:
    (repository / "number.txt").write_text("many")
    with pytest.raises(CommandFailed, match=r"exited with 1: .*NumberError: number.txt: 'many'") as failed:
        reproduce("double")
    assert failed.value.code == 1
    assert (repository / "runs").read_text() == "x"
    assert not (repository / "double.txt").exists()


def test_stages_that_are_not_made_have_no_version(repository: Path) -> None:
    assert data_versions.data_versions() == {}
    reproduce("double")
    assert data_versions.data_versions("another stage") == {}


class Pushes:
    """`push_data` in a flow, the pauses of its retries left out; counts the attempts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries = 0
        self._run = data_versions.run_command
        monkeypatch.setattr(data_versions, "run_command", self._counted)

    def push(self, before_the_second: Callable[[], object]) -> None:
        @flow
        def pushing() -> None:
            push_data.with_options(retry_delay_seconds=0)()

        self._before_the_second = before_the_second
        pushing()

    def _counted(self, *arguments, **settings) -> None:
        self.tries += 1
        if self.tries == 2:
            self._before_the_second()
        self._run(*arguments, **settings)


def test_a_push_that_fails_is_tried_again_until_the_remote_is_back(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce("double")
    disk = repository / "disk"
    disk.write_text("no folder yet")
    add = [sys.executable, "-m", "dvc", "remote", "add", "--default", "r", str(disk / "remote")]
    subprocess.run(add, cwd=repository, check=True)
    pushes = Pushes(monkeypatch)
    pushes.push(before_the_second=disk.unlink)
    assert pushes.tries == 2
    assert [path.read_text() for path in disk.rglob("*") if path.is_file()] == ["42"]


def test_a_push_without_a_remote_says_so_and_is_not_tried_again(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce("double")
    pushes = Pushes(monkeypatch)
    with pytest.raises(CommandFailed, match=r"exited with 1: .*no remote specified"):
        pushes.push(before_the_second=lambda: None)
    assert pushes.tries == 1
