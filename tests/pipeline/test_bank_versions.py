import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "strategies"))

from banks import PARITY, strategy

from sgpo.pipeline.bank_versions import VersionError, read_version
from sgpo.problems.table import write_table
from sgpo.strategies.bank import StrategyFileError
from sgpo.strategies.view.comparison import compare_versions

pytestmark = pytest.mark.slow

FIRST = [strategy("a"), strategy("b")]
SECOND = [strategy("b", PARITY), strategy("c")]


def run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)


def dvc(folder: Path, *arguments: str) -> None:
    run(folder, sys.executable, "-m", "dvc", *arguments)


def tag(folder: Path, name: str) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", name)
    run(folder, "git", "tag", name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two tagged versions of data/strategies.parquet, held only by the DVC remote, and a bad one."""
    folder = tmp_path_factory.mktemp("checkout")
    path = folder / "data" / "strategies.parquet"
    run(folder, "git", "init", "-q", "-b", "main")
    (folder / "README").write_text("strategies\n")
    dvc(folder, "init", "-q")
    dvc(folder, "config", "core.analytics", "false")
    tag(folder, "empty")
    dvc(folder, "remote", "add", "-q", "-d", "local", str(tmp_path_factory.mktemp("remote")))
    for name, rows in (("first", FIRST), ("releases/second", SECOND), ("doubled", [*FIRST, *FIRST])):
        write_table(rows, path)
        dvc(folder, "add", "-q", "data/strategies.parquet")
        dvc(folder, "push", "-q")
        tag(folder, name)
    shutil.rmtree(folder / ".dvc" / "cache")
    write_table(FIRST, path)
    return folder


def test_a_tagged_version_comes_from_the_remote_and_the_working_tree_stays(checkout: Path) -> None:
    path = checkout / "data" / "strategies.parquet"
    before = path.read_bytes()
    assert list(read_version("first", path).values()) == FIRST
    assert list(read_version("releases/second", path).values()) == SECOND
    assert path.read_bytes() == before


def test_the_path_is_relative_to_the_working_directory(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout / "data")
    assert list(read_version("first", Path("strategies.parquet")).values()) == FIRST


def test_two_versions_are_compared(checkout: Path) -> None:
    path = checkout / "data" / "strategies.parquet"
    diff = compare_versions(read_version("first", path), read_version("releases/second", path))
    assert (diff.added, diff.removed, [change.problem_id for change in diff.changed]) == (("c",), ("a",), ["b"])


def test_a_file_is_a_version_too(checkout: Path, tmp_path: Path) -> None:
    write_table(SECOND, tmp_path / "other.parquet")
    path = checkout / "data" / "strategies.parquet"
    assert list(read_version(str(tmp_path / "other.parquet"), path).values()) == SECOND


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("third", r"^'third' is no file and no git revision"),
        ("other.parquet", r"^other\.parquet: no such file \(expected a Parquet file or a git revision\)"),
        ("empty", r"strategies\.parquet@empty: DVC has no record of it, or its content is neither in the"),
    ],
)
def test_a_version_that_is_not_there_is_named(checkout: Path, spec: str, message: str) -> None:
    with pytest.raises(VersionError, match=message) as caught:
        read_version(spec, checkout / "data" / "strategies.parquet")
    assert "\n" not in str(caught.value)


def test_a_version_that_is_no_strategy_file_is_named_by_path_and_revision(checkout: Path) -> None:
    path = checkout / "data" / "strategies.parquet"
    with pytest.raises(StrategyFileError, match=r"strategies\.parquet@doubled row 3: problem_id 'a' occurs twice"):
        read_version("doubled", path)


def test_outside_a_repository_there_are_no_revisions(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match=r"not in a DVC repository \(expected one, to look up 'first' in\)"):
        read_version("first", tmp_path / "data" / "strategies.parquet")
