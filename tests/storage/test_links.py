"""Links in a folder that is stored or fetched: nothing that lies elsewhere is read or written through one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from s3_server import contents

from sgpo.storage import StorageError, pull_folder, push_folder
from sgpo.storage.forecasts import forecast_push
from sgpo.storage.manifest import folder_files
from sgpo.storage.runs import push_record

NAME = "runs/weekly/model"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "elsewhere" / "passwd"
    file.parent.mkdir()
    file.write_text("root:x:0:0")
    return file


@pytest.mark.parametrize("target", ["file", "folder", "nothing", "relative", "folder inside"])
def test_a_folder_with_a_link_out_of_it_is_refused_by_name(folder: Path, secret: Path, target: str) -> None:
    relative = Path("..") / ".." / secret.relative_to(folder.parent)
    leads_to = {"file": secret, "folder": secret.parent, "nothing": folder / "none", "relative": relative,
                "folder inside": folder / "deep" / "er"}[target]  # fmt: skip
    (folder / "deep" / "link").symlink_to(leads_to)
    said = re.escape(f"{folder / 'deep' / 'link'}: a link to {leads_to} (expected files")
    with pytest.raises(StorageError, match=rf"^{said}[^\n]*$"):
        folder_files(folder)


def test_a_link_to_a_file_of_the_same_folder_is_that_file(folder: Path, tmp_path: Path) -> None:
    (folder / "again.json").symlink_to("config.json")
    (tmp_path / "linked").symlink_to(folder)
    files = folder_files(tmp_path / "linked")
    assert files["again.json"] == files["config.json"]


@pytest.mark.slow
def test_nothing_of_a_folder_with_a_link_out_of_it_is_sent(store, folder: Path, secret: Path) -> None:
    (folder / "zzz").symlink_to(secret)
    for push in (push_folder, lambda *arguments: forecast_push(*arguments, replace=True)):
        with pytest.raises(StorageError, match="zzz: a link to"):
            push(store, folder, NAME)
    assert not store.keys("")


@pytest.mark.slow
def test_a_run_s_record_has_nothing_that_lies_elsewhere(store, tmp_path: Path, secret: Path) -> None:
    run = tmp_path / "runs" / "weekly"
    (run / "rollouts").mkdir(parents=True)
    (run / "metrics.jsonl").write_text("{}\n")
    (run / "notes.txt").symlink_to(secret)
    (run / "rollouts" / "step-0.jsonl").symlink_to(secret)
    (run / "provenance").symlink_to(secret.parent)
    push_record(store, run)
    assert pull_folder(store, "runs/weekly/record", tmp_path / "back").files.keys() == {"metrics.jsonl"}


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
def test_a_fetch_does_not_write_through_a_link(store, folder: Path, tmp_path: Path, secret: Path, inside: bool) -> None:
    push_folder(store, folder, NAME)
    aside = tmp_path / ".back.fetched"
    if inside:
        aside.mkdir()
    link = aside / "deep" if inside else aside
    link.symlink_to(secret.parent)
    with pytest.raises(StorageError, match=re.escape(f"{link}: a link to {secret.parent}")):
        pull_folder(store, NAME, tmp_path / "back")
    assert contents(secret.parent) == {"passwd": b"root:x:0:0"}
