"""Files and folders are published whole; what a killed writer has left goes, what a living one writes does not."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest

from sgpo.files import publish_file, publish_folder

Publish = Callable[[Path], AbstractContextManager[Path]]
BOTH = pytest.mark.parametrize("publish", [publish_file, publish_folder])

KILLED = """
import os, signal, sys
from pathlib import Path
import sgpo.files
with getattr(sgpo.files, sys.argv[1])(Path(sys.argv[2])) as aside:
    (aside / "weights" if aside.is_dir() else aside).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def write(aside: Path, text: str) -> None:
    (aside / "weights" if aside.is_dir() else aside).write_text(text, encoding="utf-8")


def read(path: Path) -> str:
    return (path / "weights" if path.is_dir() else path).read_text(encoding="utf-8")


@BOTH
def test_what_a_killed_writer_has_left_is_deleted_by_the_next_writer_of_the_same_name(
    publish: Publish, tmp_path: Path
) -> None:
    for name in ("model[1]", "other"):
        command = [sys.executable, "-c", KILLED, publish.__name__, str(tmp_path / name)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
    left = set(os.listdir(tmp_path))
    with publish(tmp_path / "model[1]") as aside:
        write(aside, "whole")
    assert read(tmp_path / "model[1]") == "whole"
    assert set(os.listdir(tmp_path)) == {"model[1]"} | {name for name in left if name.startswith(".other.")}


@BOTH
def test_writers_of_one_name_and_process_id_as_in_two_containers_leave_each_others_files_alone(
    publish: Publish, tmp_path: Path
) -> None:
    with publish(tmp_path / "model") as first:
        write(first, "first")
        with publish(tmp_path / "model") as second:
            write(second, "second")
        assert read(tmp_path / "model") == "second"
        assert read(first) == "first"
    assert read(tmp_path / "model") == "first"
    assert os.listdir(tmp_path) == ["model"]


@BOTH
def test_nothing_is_left_beside_what_an_error_kept_from_being_published(publish: Publish, tmp_path: Path) -> None:
    def fail(aside: Path) -> None:
        write(aside, "half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), publish(tmp_path / "model") as aside:
        fail(aside)
    assert os.listdir(tmp_path) == []


@BOTH
def test_a_writer_that_the_file_system_refuses_a_lock_publishes_and_is_not_taken_for_dead(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as writing:
        with monkeypatch.context() as without_locks:
            without_locks.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
            first = writing.enter_context(publish(tmp_path / "model"))
        write(first, "first")
        with publish(tmp_path / "model") as second:
            write(second, "second")
        assert read(first) == "first"
    assert (read(tmp_path / "model"), os.listdir(tmp_path)) == ("first", ["model"])
