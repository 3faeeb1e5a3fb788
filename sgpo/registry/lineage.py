"""Where a model version came from, as the tags that the registry keeps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict

RUN_ID_TAG = "sgpo.run_id"
FILES_TAG = "sgpo.files"


class Lineage(BaseModel):
    """All that is needed to make a model version again.

    `data_md5s` maps a data file to its md5 as in dvc.lock; `strategies_digest` is the strategy bank's; `config_digest`
    is `sgpo.config.config_digest` of the run; `parent_version` is the version that training began with; `evaluation` is
    a summary such as {"average": 0.61}.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_md5s: dict[str, str] = {}
    strategies_digest: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    parent_version: str | None = None
    config_digest: str | None = None
    evaluation: dict[str, float] = {}

    def tags(self) -> dict[str, str]:
        """`sgpo.<field>` tags; what is not known has no tag, and mappings are JSON."""
        known = {name: value for name, value in self.model_dump(mode="json").items() if value not in (None, {})}
        return {f"sgpo.{name}": value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def git_state(folder: Path) -> tuple[str, bool] | None:
    """(commit, whether tracked files differ from it) of the checkout that holds `folder`; None outside of one."""

    def git(*arguments: str) -> str | None:
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None or changes is None else (commit, bool(changes))
