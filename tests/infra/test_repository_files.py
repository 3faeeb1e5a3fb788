"""The files by which other tools know this repository: hooks, the workflow, how to cite it."""

from __future__ import annotations

import pytest
import yaml
from validation import REPOSITORY, tool

HOOKS = REPOSITORY / ".pre-commit-config.yaml"
PUBLISHED = {
    "CITATION.cff": "vendor.citation-file-format",
    ".github/workflows/ci.yml": "custom.github-workflows-require-timeout",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_fits_its_published_schema_and_a_broken_copy_does_not(name, tmp_path):
    path = REPOSITORY / name
    assert tool("check-jsonschema", "--builtin-schema", PUBLISHED[name], str(path)) == ""
    broken = tmp_path / path.name
    broken.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "jobs": {"ci": {}}, "authors": []}))
    assert tool("check-jsonschema", "--builtin-schema", PUBLISHED[name], str(broken))


def test_the_workflow_runs_ci_and_nothing_else():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    assert [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step] == [".ci/run"]


def test_hooks_are_of_this_environment_and_fetch_nothing():
    assert tool("pre-commit", "validate-config", str(HOOKS)) == ""
    (repository,) = yaml.safe_load(HOOKS.read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith((".venv/bin/", "make "))
