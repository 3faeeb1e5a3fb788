"""Making a model version again: its code, data, parent and settings in a folder of their own, trained, and compared.

The folder is a git clone at the version's commit with the dvc.lock and params.yaml that its run noted; DVC fills in the
data from this repository's cache or remotes. Nothing in the repository or its working tree is changed. On a CPU of the
same kind, with the same number of threads and processes and the same versions of the libraries, the bytes are the same.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from sgpo.config import TrackingConfig
from sgpo.errors import UserError, one_line
from sgpo.files import file_sha256
from sgpo.forecast import Forecast
from sgpo.registry.ancestry import VersionRecord, ancestry
from sgpo.registry.forecasts import forecast_download
from sgpo.registry.models import download_version, read_attachments
from sgpo.registry.provenance import BESIDE_THE_DATA, CONFIGURATION, dvc_md5, read_provenance

PARENT = Path("data/champion")
"""The parent's folder in the clone: where flows put it, too."""
RUN = Path("runs/reproduced")


class ReproductionError(UserError):
    """A version that cannot be made again here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A version's folder that is ready, and the command that makes the model in it."""

    record: VersionRecord
    folder: Path
    command: tuple[str, ...]
    environment: dict[str, str]

    @property
    def model(self) -> Path:
        """Where the model will be."""
        return self.folder / RUN / "model"

    def shell_line(self) -> str:
        """Return the command, for a person's shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return f"cd {shlex.quote(str(self.folder))} && {' '.join([*variables, shlex.join(self.command)])}"

    def train(self, stdout: int | None = None) -> None:
        """Run the command, with its output to the file descriptor `stdout`; ReproductionError when it fails."""
        done = subprocess.run(
            self.command, cwd=self.folder, env={**os.environ, **self.environment}, stdout=stdout, check=False
        )
        if done.returncode:
            raise ReproductionError(f"version {self.record.version}: training exited with {done.returncode}")

    def reasons_to_differ(self) -> list[str]:
        """Return what was not the same as when the version was made, one phrase each; to be asked after `train`."""
        lineage, entries = self.record.lineage, read_provenance(self.folder / RUN)
        noted, here = lineage.environment, entries[-1].environment if entries else {}
        found = ["it was made with local changes that are in no commit"] if lineage.git_dirty else []
        if resumed := noted.get("resumed"):
            found.append(f"it was resumed under other conditions ({resumed})")
        return found + [
            f"{name} was {noted[name]}, here {here[name]}"
            for name in noted
            if here.get(name, noted[name]) != noted[name]
        ]

    def same_bytes(self) -> list[str]:
        """Return `reasons_to_differ` that made no difference. Raises ReproductionError where the bytes are not those.

        To be asked after `train`.
        """
        reasons = self.reasons_to_differ()
        if differing := self.differing():
            because = "; ".join(reasons) or "nothing recorded explains it"
            raise ReproductionError(
                f"{self.model}: not the bytes of version {self.record.version}: {', '.join(differing)} ({because})"
            )
        return reasons

    def differing(self) -> list[str]:
        """Return the registered files that were not made again byte for byte."""
        return [
            name
            for name, digest in self.record.files.items()
            if not (self.model / name).is_file() or file_sha256(self.model / name) != digest
        ]


def prepare(tracking: TrackingConfig, version_or_alias: str, output: Path, repository: Path) -> Reproduction:
    """Put together in `output`, which must not be there, what a version was made of.

    `repository` is a clone of the code's repository with the DVC settings of the data. Raises ReproductionError naming
    what is missing, RegistryError when the registry has no such version.
    """
    output, repository = output.absolute(), repository.absolute()
    record = _reproducible(tracking, version_or_alias, output)
    lineage, where = record.lineage, f"{record.registered_model} version {record.version}"
    assert lineage.git_commit is not None
    assert lineage.parent_version is not None
    attachments = read_attachments(tracking, record.version)
    _clone(repository, lineage.git_commit, output)
    for name in (CONFIGURATION, *BESIDE_THE_DATA):
        if name in attachments:
            (output / name).write_bytes(attachments[name].encode())
    data = _restore_data(repository, output, lineage.data_md5s, where)
    download_version(tracking, lineage.parent_version, output / PARENT)
    return Reproduction(
        record, output, _command(lineage.environment.get("processes", "1"), data), _environment(record, output)
    )


def forecast_reproduction(tracking: TrackingConfig, version_or_alias: str, output: Path, repository: Path) -> Forecast:
    """Return what `prepare` and training would do; clones and fetches nothing. Raises as `prepare`, but for data."""
    record = _reproducible(tracking, version_or_alias, output)
    lineage, settings = record.lineage, read_attachments(tracking, record.version)[CONFIGURATION]
    assert lineage.git_commit is not None
    assert lineage.parent_version is not None
    commit = lineage.git_commit
    _git(repository, commit, "-C", str(repository), "cat-file", "-e", f"{commit}^{{commit}}")
    parent = forecast_download(tracking, lineage.parent_version, output / PARENT)
    steps = ((yaml.safe_load(settings) or {}).get("training") or {}).get("steps", "all")
    says = (
        f"{output}: a clone at commit {commit}, with {', '.join(_read_by_training(lineage.data_md5s))} from "
        "DVC's cache or remotes",
        *parent.sentences,
        f"{output / RUN}: trained again, {steps} steps, and {len(record.files)} files compared with the version's",
    )
    return Forecast(str(output), says, files=parent.files, bytes=parent.bytes)


def _reproducible(tracking: TrackingConfig, version_or_alias: str, output: Path) -> VersionRecord:
    """Return the record of a version from which it can be made again in `output`; raises ReproductionError."""
    records = ancestry(tracking, version_or_alias)
    if missing := what_is_missing(records):
        raise ReproductionError(f"{records[0].registered_model} version {records[0].version}: {missing}")
    if output.exists():
        raise ReproductionError(f"{output}: is there already (expected a new folder)")
    return records[0]


def what_is_missing(records: Sequence[VersionRecord]) -> str | None:
    """Why the first of these versions, whose parents are the others, cannot be made again; None when it can."""
    record, lineage = records[0], records[0].lineage
    if lineage.parent_version is None:
        return "it was not trained from another version (expected one that `retrain` has trained)"
    if len(records) == 1:
        return f"its parent, version {lineage.parent_version}, is no longer in the registry"
    parts = {"code's commit": lineage.git_commit, "data versions": lineage.data_md5s}
    parts |= {name: name in record.attachments for name in (CONFIGURATION, "dvc.lock")}
    lost = [name for name, there in parts.items() if not there]
    return f"no {', no '.join(lost)} recorded (expected a version that `retrain` has registered)" if lost else None


def _clone(repository: Path, commit: str, output: Path) -> None:
    _git(repository, commit, "clone", "--quiet", "--no-checkout", str(repository), str(output))
    checkout = ("-c", "advice.detachedHead=false", "checkout", "--quiet", commit)
    _git(repository, commit, "-C", str(output), *checkout)


def _git(repository: Path, commit: str, *arguments: str) -> None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise ReproductionError(f"{repository}: commit {commit} cannot be had: {reason} (expected it in this clone)")


def _read_by_training(md5s: dict[str, str]) -> dict[str, str]:
    """Return the data that training reads, of those whose md5 was noted."""
    names = ("splits", "strategies.parquet", "responses.parquet")
    return {path: md5 for path, md5 in md5s.items() if Path(path).name in names}


def _restore_data(repository: Path, output: Path, md5s: dict[str, str], where: str) -> str:
    """Fill in what training reads, from the repository's DVC cache and remotes; returns the data folder in `output`."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    wanted = _read_by_training(md5s)
    folders = {Path(path).parent.as_posix() for path in wanted}
    if len(folders) != 1:
        raise ReproductionError(
            f"{where}: its data lie in {len(folders)} folders (expected splits and strategies in one)"
        )
    try:
        with Repo(str(repository)) as ours:
            stores = {"cache": {"dir": ours.cache.local_cache_dir}, "remote": dict(ours.config["remote"])}
        with Repo(str(output), config=stores) as theirs:
            # Whole paths: DVC takes others as relative to the working directory.
            theirs.checkout(targets=[str(output / path) for path in wanted], force=True, allow_missing=True)
            if absent := [str(output / path) for path in wanted if not (output / path).exists()]:
                theirs.pull(targets=absent, force=True)
    except DvcException as error:
        raise ReproductionError(f"{where}: data cannot be had from DVC: {one_line(error)}") from None
    for path, md5 in wanted.items():
        if not (output / path).exists() or dvc_md5(output / path) != md5:
            raise ReproductionError(
                f"{where}: {path} is not the version that was trained on ({md5}); DVC has no such one"
            )
    return folders.pop()


def _command(processes: str, data: str) -> tuple[str, ...]:
    python = os.environ.get("SGPO_TRAINING_PYTHON", sys.executable)
    several = ("sgpo.training.launch", "--standalone", f"--nproc-per-node={processes}", "-m", "--")
    launcher = several if processes != "1" else ()
    # Metrics of a reproduction go to no real tracking server.
    settings = ("tracking.mlflow_uri=sqlite:///.sgpo/mlflow.db", "tracking.artifact_root=.sgpo/mlartifacts")
    run = ("--model", str(PARENT), "--run", str(RUN), "--config", CONFIGURATION)
    return (python, "-m", *launcher, "sgpo.cli", "train", *run, f"data={data}", *settings)


def _environment(record: VersionRecord, output: Path) -> dict[str, str]:
    """Variables under which the command runs the clone's code as the recorded run did."""
    noted = record.lineage.environment
    variables = {"PYTHONPATH": str(output)}
    if threads := noted.get("threads"):
        variables |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if noted.get("device") == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return variables
