"""What DVC knows about the data: making stages, and the md5 of what they made."""

import re
import sys

from flows.definitions import retried_task
from flows.process import REPOSITORY, CommandFailed, run_command, show
from sgpo.registry.dvc_records import recorded_md5s

Md5s = dict[str, str]

_ADVICE = (
    "Generating lock file", "Updating lock file", "To track the changes", "git add", "To enable auto staging",
    "dvc config", "Use `dvc push`", "Data and pipelines are up to date", "Stage '", "Having any troubles?",
)  # fmt: skip
_STAGE_FAILED = re.compile(r"failed to run: .*, exited with (-?\d+)$")


@retried_task("dvc repro {stage}", 48 * 3600, [5, 20])
def reproduce(stage: str) -> Md5s:
    """`dvc repro <stage>`: does nothing for stages whose inputs have not changed; returns what `stage` made.

    Raises CommandFailed with the exit code of the stage's own command.
    """
    before = data_versions(stage)
    try:
        run_command([sys.executable, "-m", "dvc", "repro", stage], unsaid=_ADVICE)
    except CommandFailed as error:
        for number, line in enumerate(error.last_lines):
            if failed := _STAGE_FAILED.search(line):
                raise CommandFailed(error.command, int(failed[1]), error.last_lines[:number]) from None
        # DVC's own errors are about dvc.yaml or params.yaml, unless somebody else's command holds its lock.
        locked = any("lock" in line for line in error.last_lines)
        raise CommandFailed(
            error.command, error.code, error.last_lines, can_help_to_retry=locked or error.code < 0
        ) from None
    versions = data_versions(stage)
    show(f"  {stage}: {'as before' if versions == before else 'made'}")
    return versions


@retried_task("dvc push", 6 * 3600, [5, 20, 60, 180])
def push_data() -> None:
    """Copy the data versions to the default DVC remote; tried again unless there is none, or its settings are wrong.

    Raises CommandFailed with the reason that DVC gives.
    """
    try:
        run_command([sys.executable, "-m", "dvc", "push"], unsaid=_ADVICE)
    except CommandFailed as error:  # 1 is DVC's code of an upload that failed
        mistaken = any("config file error" in line for line in error.last_lines)
        raise CommandFailed(error.command, error.code, error.last_lines, can_help_to_retry=not mistaken) from None


def data_versions(*stages: str) -> Md5s:
    """md5 of every output in dvc.lock and of what `dvc add` has recorded in data/, or of the given stages' outputs."""
    added = () if stages else (REPOSITORY / "data").glob("*.dvc")
    return recorded_md5s(REPOSITORY, lambda stage: not stages or stage in stages, added)
