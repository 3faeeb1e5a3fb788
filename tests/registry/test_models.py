"""Model folders go into the registry and come out again whole."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sgpo.config import TrackingConfig, load_config
from sgpo.registry import (
    Lineage,
    ModelFolderError,
    RegistryError,
    download_version,
    git_state,
    register_model_folder,
    registered_version,
    set_champion,
)
from sgpo.registry.lineage import ATTACHMENTS_TAG, FILES_TAG, RUN_ID_TAG, hashes_of
from sgpo.registry.models import read_attachments
from sgpo.tracking.client import connect
from sgpo.tracking.tracker import RunTracker

pytestmark = pytest.mark.slow

LINEAGE = Lineage(
    data_md5s={"data/train.parquet": "0" * 32},
    strategies_digest="s" * 16,
    git_commit="c" * 40,
    git_dirty=True,
    parent_version="1",
    config_digest="d" * 16,
    evaluation={"average": 0.61},
    environment={"threads": "2"},
)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_registered_folder_comes_back_byte_for_byte_by_number_and_by_alias(
    tracking: TrackingConfig, model_folder: Path, tmp_path: Path
) -> None:
    (model_folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    expected = contents(model_folder)
    (model_folder / "optimizer.pt").write_bytes(b"not part of the model")
    version = register_model_folder(tracking, model_folder, {}, "run-1")
    set_champion(tracking, version, "test", "first")
    for which in (version, "champion"):
        assert download_version(tracking, which, tmp_path / "out" / which) == version
        assert contents(tmp_path / "out" / which) == expected


def test_a_version_carries_its_lineage_from_data_to_mlflow_run(
    tracking: TrackingConfig, model_folder: Path, tmp_path: Path
) -> None:
    with RunTracker(tmp_path / "runs" / "r", tracking) as tracker:
        tracker.flush()
        run = tracker.mlflow_run_id
    version = register_model_folder(
        tracking, model_folder, LINEAGE.tags(), "r", {"eval/average": 0.61}, mlflow_run_id=run
    )
    client = connect(tracking)
    registered = client.get_model_version(tracking.registered_model, version)
    assert registered.run_id == run
    assert registered.tags["sgpo.run_id"] == "r"
    assert registered.tags["sgpo.git_dirty"] == "true"
    assert json.loads(registered.tags["sgpo.version.data_md5s"]) == LINEAGE.data_md5s
    assert json.loads(registered.tags["sgpo.evaluation"]) == LINEAGE.evaluation
    assert {registered.tags[f"sgpo.{name}"] for name in ("parent_version", "strategies_digest", "config_digest")} == {
        "1",
        "s" * 16,
        "d" * 16,
    }
    model = client.get_logged_model((registered.source or "").removeprefix("models:/"))
    assert model.source_run_id == run
    assert model.status == "READY"
    assert json.loads(model.tags["mlflow.modelVersions"])[0]["name"] == tracking.registered_model
    assert [(metric.key, metric.value) for metric in model.metrics or []] == [("eval/average", 0.61)]


def test_lineage_comes_back_from_the_tags_of_a_version() -> None:
    assert Lineage.of_tags({**LINEAGE.tags(), "sgpo.run_id": "r", "mlflow.note": "?"}) == LINEAGE
    assert Lineage.of_tags({}) == Lineage()


def test_a_version_of_0_1_is_read_and_what_is_long_comes_last():
    old = {name.replace("sgpo.version.", "sgpo."): value for name, value in LINEAGE.tags().items()}
    assert {"sgpo.data_md5s", "sgpo.environment"} <= old.keys()
    assert Lineage.of_tags(old) == LINEAGE
    for name in ("sgpo.files", FILES_TAG):
        assert hashes_of({name: '{"a": "1"}'}, FILES_TAG) == {"a": "1"}
        assert hashes_of({name: '{"a": "1"}'}, ATTACHMENTS_TAG) is None
    names = sorted({**LINEAGE.tags(), RUN_ID_TAG: "r", FILES_TAG: "{}", ATTACHMENTS_TAG: "{}"})
    assert [name for name in names if name.startswith("sgpo.version.")] == names[-4:]


def test_texts_that_go_with_a_model_are_kept_apart_from_its_files_and_checked(
    tracking: TrackingConfig, model_folder: Path, tmp_path: Path
) -> None:
    texts = {"config.yaml": "seed: 0\r\n", "notes.json": '{"ä": 1}'}
    version = register_model_folder(tracking, model_folder, {}, "run-1", attachments=texts)
    assert read_attachments(tracking, version) == texts
    download_version(tracking, version, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(model_folder)
    stored = Path(connect(tracking).get_model_version_download_uri(tracking.registered_model, version))
    (stored / "lineage" / "notes.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"lineage/notes\.json is not the file that was registered"):
        read_attachments(tracking, version)


def test_a_version_without_texts_has_none(tracking: TrackingConfig, model_folder: Path) -> None:
    assert read_attachments(tracking, register_model_folder(tracking, model_folder, {}, "run-1")) == {}


def test_lineage_that_is_not_known_has_no_tag() -> None:
    assert Lineage(git_commit="c").tags() == {"sgpo.git_commit": "c"}


def test_registering_a_run_again_gives_the_version_it_has(tracking: TrackingConfig, model_folder: Path) -> None:
    first = register_model_folder(tracking, model_folder, {}, "run-1")
    assert register_model_folder(tracking, model_folder, {}, "run-1") == first
    assert registered_version(tracking, "run-1") == first
    assert registered_version(tracking, "run-2") is None
    assert register_model_folder(tracking, model_folder, {}, "run-2") != first
    assert len(connect(tracking).search_model_versions(f"name = '{tracking.registered_model}'")) == 2


def test_registering_leaves_mlflows_process_wide_store_as_it_was(tracking: TrackingConfig, model_folder: Path) -> None:
    import mlflow

    before = mlflow.is_tracking_uri_set(), mlflow.get_tracking_uri()
    register_model_folder(tracking, model_folder, {}, "run-1")
    assert (mlflow.is_tracking_uri_set(), mlflow.get_tracking_uri()) == before


def test_a_file_that_changed_in_the_store_is_not_handed_out(
    tracking: TrackingConfig, model_folder: Path, tmp_path: Path
) -> None:
    version = register_model_folder(tracking, model_folder, {}, "run-1")
    stored = Path(connect(tracking).get_model_version_download_uri(tracking.registered_model, version))
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("stays until the new one is whole")
    weights = stored / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(RegistryError, match=r"model\.safetensors is not the file that was registered"):
        download_version(tracking, version, target)
    weights.unlink()
    with pytest.raises(RegistryError, match=r"model\.safetensors cannot be read"):
        download_version(tracking, version, target)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]
    assert [path.name for path in target.iterdir()] == ["old"]


@pytest.mark.parametrize("which", ["7", "champion"])
def test_a_version_that_is_not_there_is_an_error_that_names_it(
    tracking: TrackingConfig, tmp_path: Path, which: str
) -> None:
    with pytest.raises(RegistryError, match=f"has no version '{which}'"):
        download_version(tracking, which, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_folder_that_lacks_a_part_is_refused_naming_it(
    tracking: TrackingConfig, model_folder: Path, name: str
) -> None:
    (model_folder / name).unlink()
    with pytest.raises(ModelFolderError, match=rf"model: no {name}"):
        register_model_folder(tracking, model_folder, {}, "run-1")


def test_weights_that_are_cut_short_or_a_config_that_is_no_json_are_refused(
    tracking: TrackingConfig, model_folder: Path
) -> None:
    weights = (model_folder / "model.safetensors").read_bytes()
    (model_folder / "model.safetensors").write_bytes(weights[:-4])
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: not whole safetensors"):
        register_model_folder(tracking, model_folder, {}, "run-1")
    (model_folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"config\.json: not JSON"):
        register_model_folder(tracking, model_folder, {}, "run-1")
    with pytest.raises(ModelFolderError, match="no such folder"):
        register_model_folder(tracking, model_folder / "nowhere", {}, "run-1")


def test_sharded_weights_are_whole_only_with_every_shard(
    tracking: TrackingConfig, model_folder: Path, tmp_path: Path
) -> None:
    (model_folder / "model.safetensors").unlink()
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}), encoding="utf-8")
    save_file({"a": np.zeros(2, dtype=np.float32)}, model_folder / shards["a"])
    with pytest.raises(ModelFolderError, match="no model-00002-of-00002"):
        register_model_folder(tracking, model_folder, {}, "run-1")
    save_file({"b": np.ones(2, dtype=np.float32)}, model_folder / shards["b"])
    version = register_model_folder(tracking, model_folder, {}, "run-1")
    download_version(tracking, version, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(model_folder)


def test_a_registry_that_does_not_answer_is_one_line(model_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RegistryError, match=r"registry http://127.0.0.1:9: no answer: .*refused") as caught:
        register_model_folder(TrackingConfig(mlflow_uri="http://127.0.0.1:9"), model_folder, {}, "run-1")
    assert "\n" not in str(caught.value)


def test_git_state_is_unknown_where_git_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Path(__file__).parent
    assert git_state(checkout) is not None
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None


def test_git_state_tells_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    state = git_state(tmp_path)
    assert state is not None
    assert (len(state[0]), state[1]) == (40, False)
    (tmp_path / "dvc.lock").write_text("rewritten by every retraining")
    (tmp_path / "notes.txt").write_text("not code")
    assert git_state(tmp_path) == state
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == (state[0], True)
    (tmp_path / "file").write_text("1")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "new.py").write_text("code that is in no commit")
    assert git_state(tmp_path / "inner") == (state[0], True)
    (tmp_path / "inner" / "new.py").unlink()
    subprocess.run(["git", "add", "dvc.lock"], cwd=tmp_path, check=True)
    subprocess.run(["git", *author, "commit", "-q", "-m", "second"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.lock").write_text("rewritten again")
    assert (git_state(tmp_path) or ("", True))[1] is False


@pytest.mark.parametrize("recipe", ["qwen2.5-1.5b", "qwen2.5-7b", "llama-8b"])
def test_a_model_is_registered_under_the_name_that_each_shipped_recipe_gives_it(
    recipe: str, tracking: TrackingConfig, model_folder: Path
) -> None:
    """MLflow refuses a dot in a logged model's name, which is not the registered one's."""
    name = load_config(Path(__file__).parents[2] / "configs" / f"{recipe}.yaml").tracking.registered_model
    named = tracking.model_copy(update={"registered_model": name})
    assert register_model_folder(named, model_folder, {"sgpo.base_model": "tiny"}, f"base-{recipe}") == "1"
