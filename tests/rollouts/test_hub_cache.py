"""A hub id while offline: what the cache has is the model, by its contents; what it has not whole is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from sgpo.config.study import StudyConfig
from sgpo.evaluation.report import folder_digest
from sgpo.rollouts.model_folder import ModelFolderError, local_folder
from sgpo.study.cells import cells_of
from sgpo.study.digests import digest_of
from sgpo.study.jobs import job_of, made_of
from sgpo.study.results import Results, StudyError

FILES = {
    "config.json": "{}", "tokenizer.json": "{}", "tokenizer_config.json": "{}",
    "model-1.safetensors": "one", "model-2.safetensors": "two",
    "model.safetensors.index.json": '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}',
}  # fmt: skip


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of an-owner/a-model in a cache of its own, files as links to blobs, while offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, revision = tmp_path / "hub" / "models--an-owner--a-model", "0123456789" * 4
    for part in ("refs", "blobs", f"snapshots/{revision}"):
        (repository / part).mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    snapshot = repository / "snapshots" / revision
    for name, text in FILES.items():
        add(snapshot, name, text)
    return snapshot


def add(snapshot: Path, name: str, text: str) -> None:
    blob = snapshot.parents[1] / "blobs" / name
    blob.write_text(text)
    (snapshot / name).symlink_to(blob)


def test_the_cache_s_revision_is_the_model_and_its_copy_elsewhere_the_same_one(snapshot: Path, tmp_path: Path) -> None:
    found = local_folder("an-owner/a-model")
    assert found == snapshot
    copy = shutil.copytree(snapshot, tmp_path / "copy")
    assert folder_digest(found) == folder_digest(copy)
    assert digest_of(found) == digest_of(copy)
    (copy / "model-2.safetensors").write_text("three")
    assert folder_digest(found) != folder_digest(copy)


def test_a_cache_with_a_second_copy_of_the_weights_has_the_same_model(snapshot: Path) -> None:
    """Other tools fetch whole repositories, and Mistral's have it."""
    before = folder_digest(local_folder("an-owner/a-model"))
    add(snapshot, "consolidated.safetensors", "one and two")
    assert folder_digest(local_folder("an-owner/a-model")) == before


@pytest.mark.parametrize("part", ["snapshots/0123456789012345678901234567890123456789", "blobs"])
def test_a_download_that_was_cut_off_is_no_model(snapshot: Path, part: str) -> None:
    (snapshot.parents[1] / part / "model-2.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"no model-2\.safetensors \(expected what .*index\.json names\)$"):
        local_folder("an-owner/a-model")


def test_a_link_that_leads_nowhere_is_no_model(snapshot: Path) -> None:
    (snapshot / "model.safetensors.index.json").unlink()
    (snapshot.parents[1] / "blobs" / "model-1.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"no model-1\.safetensors \(expected the file that it links to\)$"):
        local_folder("an-owner/a-model")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": null}'])
def test_an_index_that_is_none_is_one_line(snapshot: Path, text: str) -> None:
    (snapshot.parents[1] / "blobs" / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelFolderError, match=r"index\.json: no index of weights") as caught:
        local_folder("an-owner/a-model")
    assert "\n" not in str(caught.value)


def test_what_the_cache_has_not_is_one_line_that_says_what_to_set(snapshot: Path) -> None:
    with pytest.raises(ModelFolderError, match="HF_HUB_OFFLINE=0") as caught:
        local_folder("an-owner/none")
    assert "\n" not in str(caught.value)


def test_a_study_begins_from_the_cache_s_revision(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({}))
    study = StudyConfig.model_validate(
        {
            "recipe": tmp_path / "recipe.yaml", "results": tmp_path / "results.jsonl", "runs": tmp_path / "runs",
            "worlds": {"mine": {"data": tmp_path, "models": {"cached": "an-owner/a-model", "other": "an-owner/none"}}},
            "methods": {"base": {"train": False}},
            "tables": {"main": {"worlds": ["mine"], "families": ["cached", "other"], "methods": ["base"],
                                "seeds": [0]}},
        }
    )  # fmt: skip
    cached, other = cells_of(study)
    results = Results(study.results)
    assert job_of(study, results, cached).base == snapshot
    job = job_of(study, results, other)
    with pytest.raises(StudyError, match=r"^an-owner/none: there is none .*make it first, or fetch it"):
        made_of(study, other, job)
