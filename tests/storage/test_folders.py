"""Stored folders: whole or not there, sent once, checked by every reader."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from s3_server import contents, every

from sgpo.files import file_sha256
from sgpo.storage import (
    Manifest,
    ObjectStore,
    Publication,
    StorageError,
    StoredFile,
    delete_folder,
    list_folders,
    pull_folder,
    push_folder,
    read_manifest,
    verify_folder,
)
from sgpo.storage.manifest import folder_files

pytestmark = pytest.mark.slow

NAME = "runs/weekly/model"


def content_keys(store: ObjectStore, folder: Path, name: str = NAME) -> set[str]:
    """Keys that are there when `folder` is stored once, and nothing else."""
    files = {f"{name}/content/{file.sha256}/{path}" for path, file in folder_files(folder).items()}
    return {*files, f"{name}/manifest.json"}


def content_writes(proxy) -> int:
    """PUT requests of content so far."""
    return len([path for method, path in proxy.seen if method == "PUT" and "/content/" in path])


def test_a_folder_comes_back_the_same(store, folder, tmp_path):
    publication = push_folder(store, folder, NAME, notes={"score": 0.5})
    assert publication.sent == 5
    assert list_folders(store) == [NAME]
    assert publication.manifest.notes == {"score": 0.5}
    manifest = pull_folder(store, NAME, tmp_path / "back" / "model")
    assert contents(tmp_path / "back" / "model") == contents(folder)
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["model"]
    assert manifest == verify_folder(store, NAME) == publication.manifest
    assert set(store.keys("")) == content_keys(store, folder)


def test_a_folder_in_a_folder_is_another_one(store, folder):
    push_folder(store, folder, "runs/weekly")
    push_folder(store, folder, NAME)
    push_folder(store, folder, "runs/weekly-2")
    assert list_folders(store, "runs/weekly/") == [NAME]
    delete_folder(store, "runs/weekly")
    assert list_folders(store) == ["runs/weekly-2", NAME]
    verify_folder(store, NAME)
    delete_folder(store, NAME)
    delete_folder(store, NAME)
    assert set(store.keys("")) == content_keys(store, folder, "runs/weekly-2")


def test_what_is_there_is_not_sent_again(store, proxy, folder):
    push_folder(store, folder, NAME)
    writes = content_writes(proxy)
    assert push_folder(store, folder, NAME).sent == 0
    assert content_writes(proxy) == writes
    (folder / "config.json").write_text("{'new': 1}")
    with pytest.raises(StorageError, match=f"{NAME} at .*: holds another folder"):
        push_folder(store, folder, NAME)
    assert push_folder(store, folder, NAME, replace=True).sent == 1
    assert set(store.keys("")) == content_keys(store, folder)
    verify_folder(store, NAME)


def test_an_interrupted_push_sends_the_rest(store, proxy, folder):
    def refuse_the_large_one(method: str, path: str) -> str | None:
        return "403" if method in ("PUT", "POST") and path.endswith("model.safetensors") else None

    proxy.fault = refuse_the_large_one
    with pytest.raises(StorageError, match=r"content/[0-9a-f]{64}/model.safetensors at http"):
        push_folder(store, folder, NAME)
    assert list_folders(store) == []
    assert list_folders(store, unfinished=True) == [NAME]
    proxy.fault = lambda method, path: None
    assert push_folder(store, folder, NAME).sent == 1
    verify_folder(store, NAME)


PUSH = """
import sys
from pathlib import Path
from sgpo.config import StorageConfig
from sgpo.storage import ObjectStore, push_folder
push_folder(ObjectStore(StorageConfig.model_validate_json(sys.argv[1])), Path(sys.argv[2]), sys.argv[3])
"""


def test_a_kill_between_content_and_manifest_leaves_nothing_to_be_seen(settings, store, proxy, folder, tmp_path):
    reached = threading.Event()

    def hang_at_the_manifest(method: str, path: str) -> str | None:
        if method == "PUT" and path.endswith(f"{NAME}/manifest.json"):
            reached.set()
            return "hang"
        return None

    proxy.fault = hang_at_the_manifest
    process = subprocess.Popen([sys.executable, "-c", PUSH, settings.model_dump_json(), str(folder), NAME])
    assert reached.wait(60)
    process.kill()
    process.wait()
    proxy.fault = lambda method, path: None
    assert list_folders(store) == []
    with pytest.raises(StorageError, match="no such folder"):
        pull_folder(store, NAME, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert push_folder(store, folder, NAME).sent == 0
    verify_folder(store, NAME)


def test_what_was_replaced_is_deleted_even_when_an_outage_comes_between(store, proxy, folder):
    push_folder(store, folder, NAME)
    (folder / "config.json").write_text("{'new': 1}")
    proxy.fault = lambda method, path: "403" if method == "DELETE" else None
    with pytest.raises(StorageError, match="AccessDenied"):
        push_folder(store, folder, NAME, replace=True)
    verify_folder(store, NAME)
    assert set(store.keys("")) > content_keys(store, folder)
    proxy.fault = lambda method, path: None
    assert push_folder(store, folder, NAME, replace=True).sent == 0
    assert set(store.keys("")) == content_keys(store, folder)


@pytest.mark.parametrize("replace", [False, True])
def test_of_eight_publishers_exactly_one_publishes(settings, store, tmp_path, replace):
    if replace:
        write(tmp_path / "first", "first")
        push_folder(store, tmp_path / "first", NAME)
    folders = [write(tmp_path / str(number), str(number)) for number in range(8)]
    together, outcomes = threading.Barrier(8), {}

    class Together(ObjectStore):
        def get(self, key):
            found = super().get(key)
            if not waited.get(threading.get_ident()):
                waited[threading.get_ident()] = True
                together.wait(30)  # all have seen the same before any writes
            return found

    waited: dict[int, bool] = {}
    shared = Together(settings)

    def publish(folder: Path) -> None:
        try:
            outcomes[folder] = push_folder(shared, folder, NAME, replace=replace)
        except StorageError as error:
            outcomes[folder] = error

    threads = [threading.Thread(target=publish, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    won = [folder for folder, outcome in outcomes.items() if isinstance(outcome, Publication)]
    lost = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, StorageError)]
    assert len(won) == 1
    assert len(lost) == 7
    assert all("another writer published it meanwhile" in text for text in lost), lost
    pull_folder(store, NAME, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(won[0])


def write(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "same name").write_text(text)
    (folder / "same content").write_text("same")
    return folder


def test_equal_folders_may_be_published_by_both(store, proxy, folder):
    """An answer that was lost, or a machine that does the same: there is one folder, and it is the right one."""
    lost = []

    def lose_the_first(method: str, path: str) -> str | None:
        if method == "PUT" and path.endswith(f"{NAME}/manifest.json") and not lost:
            lost.append(path)
            return "lose"
        return None

    proxy.fault = lose_the_first
    publication = push_folder(store, folder, NAME)
    assert lost
    assert read_manifest(store, NAME) == publication.manifest
    assert set(store.keys("")) == content_keys(store, folder)


def test_nothing_is_lost_or_doubled_when_every_fourth_request_fails(store, proxy, folder, tmp_path):
    proxy.fault = every(4, "500", "lose", "503", "drop")
    push_folder(store, folder, NAME)
    pull_folder(store, NAME, tmp_path / "back")
    (folder / "config.json").write_text("{'new': 1}")
    push_folder(store, folder, NAME, replace=True)
    proxy.fault = lambda method, path: None
    assert set(store.keys("")) == content_keys(store, folder)
    verify_folder(store, NAME)


def test_nothing_is_lost_in_an_outage_of_seconds(store, proxy, folder, tmp_path):
    begun = time.monotonic()
    proxy.fault = lambda method, path: "503" if time.monotonic() - begun < 4 else None
    push_folder(store, folder, NAME)
    pull_folder(store, NAME, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert set(store.keys("")) == content_keys(store, folder)


def stored_model(store: ObjectStore, folder: Path) -> str:
    return f"{NAME}/content/{file_sha256(folder / 'model.safetensors')}/model.safetensors"


@pytest.mark.parametrize("act", [lambda store, target: pull_folder(store, NAME, target),
                                 lambda store, target: verify_folder(store, NAME)])  # fmt: skip
def test_a_flipped_bit_and_a_missing_object_are_named(store, folder, tmp_path, act):
    push_folder(store, folder, NAME)
    key, content = stored_model(store, folder), (folder / "model.safetensors").read_bytes()
    store.put(key, content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    with pytest.raises(StorageError) as spoiled:
        act(store, tmp_path / "back")
    assert str(spoiled.value) == f"{store.where(key)}: not the file that was published (sha256 differs)"
    store.delete(key)
    with pytest.raises(StorageError) as missing:
        act(store, tmp_path / "back")
    assert str(missing.value) == f"{store.where(key)}: no such object"
    assert not (tmp_path / "back").exists()
    # Whoever has the folder mends it by storing it again.
    assert push_folder(store, folder, NAME).sent == 1
    act(store, tmp_path / "back")


def test_an_interrupted_pull_fetches_the_rest_over_an_older_folder(store, proxy, folder, tmp_path):
    push_folder(store, folder, NAME)
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "old").write_text("old")
    proxy.fault = lambda method, path: "403" if path.endswith("model.safetensors") else None
    with pytest.raises(StorageError, match=r"model\.safetensors"):
        pull_folder(store, NAME, tmp_path / "back")
    assert contents(tmp_path / "back") == {"old": b"old"}
    proxy.fault = lambda method, path: None
    before = len(proxy.seen)
    pull_folder(store, NAME, tmp_path / "back")
    fetched = {path.rpartition("/")[2] for method, path in proxy.seen[before:] if "/content/" in path}
    assert fetched == {"model.safetensors"}
    assert contents(tmp_path / "back") == contents(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "folder"]


def test_a_manifest_cannot_write_outside_of_its_folder(store, tmp_path):
    file = StoredFile(sha256="0" * 64, size=0)
    whole = Manifest(files={"inside": file}).model_dump_json()
    for path in ("../outside", "/tmp/outside", "a/../../outside", ""):
        store.put(f"{NAME}/manifest.json", whole.replace("inside", path).encode())
        with pytest.raises(StorageError, match=r"manifest\.json at .*: not a manifest of this version: files"):
            pull_folder(store, NAME, tmp_path / "back")
    store.put(f"{NAME}/manifest.json", b"not json")
    with pytest.raises(StorageError, match="not a manifest of this version"):
        read_manifest(store, NAME)


def test_names_and_folders_that_cannot_be(store, folder, tmp_path):
    for name in ("", "/runs", "runs/", "runs//x", "../x", ".hidden", "runs/ü"):
        with pytest.raises(StorageError, match=r"not a name \(expected one like"):
            push_folder(store, folder, name)
    with pytest.raises(StorageError, match="missing: no such folder"):
        push_folder(store, tmp_path / "missing", NAME)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="empty: holds no files"):
        push_folder(store, tmp_path / "empty", NAME)


def test_a_folder_that_vanishes_while_it_is_sent_is_not_published(store, proxy, folder):
    files = folder_files(folder)
    os.remove(folder / "model.safetensors")
    with pytest.raises(FileNotFoundError):
        push_folder(store, folder, NAME, files=files)
    assert list_folders(store) == []
