"""Where a model version came from, as the tags that the registry keeps."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

RUN_ID_TAG = "sgpo.run_id"
_PREFIX = "sgpo."
_LAST = f"{_PREFIX}version."
FILES_TAG = f"{_LAST}files"
ATTACHMENTS_TAG = f"{_LAST}attachments"
"""Tags of sha256 by file. MLflow's page sorts tags by name: what a person reads comes before these."""
_SHOWN_LAST = {name: f"{_LAST}{name}" for name in ("data_md5s", "environment")}
_WRITTEN_AS_JSON = {"data_md5s", "git_dirty", "evaluation", "environment"}


class Lineage(BaseModel):
    """All that is needed to make a model version again.

    `data_md5s` maps a data file to its md5 as in dvc.lock; `strategies_digest` is the strategy bank's; `config_digest`
    is `sgpo.config.config_digest` of the run; `parent_version` is the version that training began with; `evaluation` is
    a summary such as {"average": 0.61}; `environment` is what else the bytes depend on, such as the number of threads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_md5s: dict[str, str] = {}
    strategies_digest: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    parent_version: str | None = None
    config_digest: str | None = None
    evaluation: dict[str, float] = {}
    environment: dict[str, str] = {}

    def tags(self) -> dict[str, str]:
        """`sgpo.<field>` tags, `sgpo.version.<field>` of what is long; unknown has no tag, and mappings are JSON."""
        known = {name: value for name, value in self.model_dump(mode="json").items() if value not in (None, {})}
        return {
            _SHOWN_LAST.get(name, f"{_PREFIX}{name}"): value if isinstance(value, str) else json.dumps(value)
            for name, value in known.items()
        }

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Self:
        """Return the lineage that `tags` were made of, by a version before, too, and whatever others are among them."""
        names = {name: (_SHOWN_LAST.get(name, ""), f"{_PREFIX}{name}") for name in cls.model_fields}
        texts = {name: tags[tag] for name, choices in names.items() for tag in choices if tag in tags}
        return cls.model_validate(
            {name: json.loads(text) if name in _WRITTEN_AS_JSON else text for name, text in texts.items()}
        )


def hashes_of(tags: Mapping[str, str], tag: str) -> dict[str, str] | None:
    """Return the sha256 by file of FILES_TAG or ATTACHMENTS_TAG; None where a version has none.

    Versions that 0.1 registered have them as `sgpo.files` and `sgpo.attachments`.
    """
    text = tags.get(tag, tags.get(_PREFIX + tag.removeprefix(_LAST)))
    return None if text is None else json.loads(text)


def git_state(folder: Path) -> tuple[str, bool] | None:
    """(commit, whether the code differs from it) of the checkout that holds `folder`; None outside of one.

    Changed are tracked files other than dvc.lock, which every retraining rewrites and whose content is recorded anyway,
    and Python files that git does not know yet.
    """

    def git(*arguments: str) -> str | None:
        if shutil.which("git") is None:  # as in an image that has the code alone
            return None
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else None

    everything, but_the_lock = ":(top)", ":(top,exclude)dvc.lock"
    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no", "--", everything, but_the_lock)
    new_code = git("ls-files", "--others", "--exclude-standard", "--", ":(top)*.py")
    return None if commit is None or changes is None else (commit, bool(changes or new_code))
