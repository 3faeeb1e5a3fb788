"""`dvc.yaml` and `prefect.yaml` of this project for another recipe and strong model, as text: comments stay."""

import json
import re
from pathlib import Path

from sgpo.config import ConfigError

STAGES_OF_THE_TESTBED = ("world", "base_model")
ASKING_STAGES, _RECORDING = ("responses", "strategies"), "  # teacher.recording"


def stages_for(file: Path, recipe: str, recording: str | None) -> str:
    """Return dvc.yaml for this recipe, without the stages that make the testbed; comments stay.

    What asks a recorded strong model depends on the `recording`: another file is other answers.
    """
    text = file.read_text(encoding="utf-8")
    for stage in STAGES_OF_THE_TESTBED:
        text = re.sub(rf"^  {stage}:\n(?:    .*\n|\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(rf"^.*{re.escape(_RECORDING)}\n", "", text, flags=re.MULTILINE)  # of an earlier `sgpo init`
    if recording is not None:
        line = f"      - {json.dumps(recording, ensure_ascii=False)}{_RECORDING}\n"
        for stage in ASKING_STAGES:
            text = re.sub(
                rf"^(  {stage}:\n(?:    .*\n)*?    deps:\n)", lambda found: found[1] + line, text, flags=re.MULTILINE
            )
    return with_recipe(text, recipe, file)


def with_recipe(text: str, recipe: str, file: Path) -> str:
    """Return the text of `file` with this recipe wherever it names one; ConfigError where it names none."""
    changed, number = re.subn(r"\bconfigs/[\w.-]+\.ya?ml\b", recipe, text)
    if not number:
        raise ConfigError(f"{file}: names no recipe in configs/ (expected the file of a checkout)")
    return changed
