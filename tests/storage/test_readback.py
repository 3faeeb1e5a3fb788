"""What was written is read back: over https, and from servers that answer 200 and keep something else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_s3 import ERROR, PlainS3, make_certificate
from s3_server import SECRET, contents
from small_run import Killed, of_run, rows, run
from test_folders import PUSH

from sgpo.config import ConfigError, StorageConfig
from sgpo.storage import (
    ObjectStore,
    SpoiledError,
    StorageError,
    UnreachableError,
    client,
    list_folders,
    pull_folder,
    push_folder,
    readback,
    verify_folder,
)

pytestmark = pytest.mark.slow

NAME = "runs/weekly/model"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["http", "https"])
def server(request, certificate, monkeypatch) -> Iterator[PlainS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
    with PlainS3(certificate if request.param == "https" else None) as server:
        yield server


only_https = pytest.mark.parametrize("server", ["https"], indirect=True)


@pytest.fixture
def settings(server: PlainS3) -> StorageConfig:
    return StorageConfig(bucket="models", endpoint_url=server.url, timeout_s=10.0, part_mib=5, attempts=4)


@pytest.fixture
def framing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 as it is of its own accord."""
    monkeypatch.setattr(client, "plain_body", lambda **_: None)


def one_file(folder: Path, size: int = 100_000) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(os.urandom(size))
    return folder


@pytest.mark.parametrize("checksum", ["sha256", "crc32", "none"])
def test_bodies_are_plain_so_that_a_server_that_keeps_framing_keeps_the_files(
    server, settings, folder, tmp_path, checksum
):
    server.framing = "kept"
    store = ObjectStore(settings.model_copy(update={"checksum": checksum}))
    push_folder(store, folder, NAME)
    pull_folder(store, NAME, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert {encoding for _, _, encoding in server.seen} == {""}


@only_https
@pytest.mark.usefixtures("framing_is_sent")
def test_framing_that_is_kept_fails_the_push_within_seconds_and_names_file_server_and_setting(
    server, settings, tmp_path
):
    server.framing = "kept"
    folder, begun = one_file(tmp_path / "folder"), time.monotonic()
    with pytest.raises(SpoiledError) as refused:
        push_folder(ObjectStore(settings), folder, NAME)
    text = str(refused.value)
    assert time.monotonic() - begun < 10
    assert text.startswith(f"{folder}/model.safetensors: has 100,")
    assert "100,000 here: it begins with aws-chunked framing" in text
    assert "set storage.checksum=none, or use an endpoint that decodes it" in text
    assert f"at {server.url})" in text
    assert "\n" not in text
    assert list_folders(ObjectStore(settings)) == []
    push_folder(ObjectStore(settings.model_copy(update={"checksum": "none"})), folder, NAME)
    pull_folder(ObjectStore(settings), NAME, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)


@only_https
@pytest.mark.usefixtures("framing_is_sent")
def test_framing_that_is_kept_shows_in_parts_and_in_small_objects_too(server, settings, tmp_path):
    server.framing = "kept"
    with pytest.raises(SpoiledError, match="begins with aws-chunked framing"):
        push_folder(ObjectStore(settings), one_file(tmp_path / "parts", 11 * 2**20), NAME)
    with pytest.raises(SpoiledError, match=r"locks/x at https://.*: not what was written.*begins with aws-chunked"):
        ObjectStore(settings).put("locks/x", b"{}")


@only_https
@pytest.mark.usefixtures("framing_is_sent")
def test_a_server_that_decodes_framing_is_sent_it_and_passes(server, settings, folder):
    push_folder(ObjectStore(settings), folder, NAME)
    assert any("aws-chunked" in encoding for _, _, encoding in server.seen)
    verify_folder(ObjectStore(settings), NAME)


@only_https
@pytest.mark.usefixtures("framing_is_sent")
def test_a_training_run_on_such_a_server_ends_before_it_begins(server, settings, tmp_path, model_folder, data_folder):
    server.framing = "kept"
    with pytest.raises(SpoiledError, match="begins with aws-chunked framing"):
        run(of_run(settings, data_folder), tmp_path / "a", model_folder)
    assert contents(tmp_path / "a") == {}


@only_https
def test_a_push_that_is_killed_goes_on_over_https(server, settings, folder, tmp_path):
    reached, ended = threading.Event(), threading.Event()

    def hang_at_the_second_part(method: str, path: str) -> None:
        if method == "PUT" and "partNumber=2" in path and not ended.is_set():
            reached.set()
            ended.wait(60)

    server.fault = hang_at_the_second_part
    process = subprocess.Popen([sys.executable, "-c", PUSH, settings.model_dump_json(), str(folder), NAME])
    assert reached.wait(60)
    process.kill()
    process.wait()
    ended.set()
    store = ObjectStore(settings)
    assert list_folders(store) == []
    assert push_folder(store, folder, NAME).sent == 1
    pull_folder(store, NAME, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)


@only_https
def test_a_training_run_resumes_on_another_machine_over_https(
    server, settings, tmp_path, model_folder, data_folder, capsys
):
    def kill(step: int) -> None:
        if step == 3:
            raise Killed

    undisturbed = run(of_run(StorageConfig(), data_folder), tmp_path / "undisturbed", model_folder)
    config = of_run(settings, data_folder)
    with pytest.raises(Killed):
        run(config, tmp_path / "a", model_folder, kill)
    resumed = run(config, tmp_path / "b", model_folder)
    assert "storage: resumes from step-000003 of s3://" in capsys.readouterr().out
    assert contents(resumed / "model") == contents(undisturbed / "model")
    assert rows(resumed) == rows(undisturbed)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("cut", "has 50,000 bytes there, 100,000 here: it was cut short"),
        ("lose body", "is not there after it was sent"),
    ],
)
@only_https
def test_a_server_that_keeps_half_or_nothing_fails_the_push(server, settings, tmp_path, fault, says):
    server.fault = lambda method, path: fault if method == "PUT" else None
    folder = one_file(tmp_path / "folder")
    with pytest.raises(SpoiledError, match=f"{folder}/model.safetensors: {says}"):
        push_folder(ObjectStore(settings), folder, NAME)
    server.fault = lambda method, path: None
    assert push_folder(ObjectStore(settings), folder, NAME).sent == 1
    verify_folder(ObjectStore(settings), NAME)


@pytest.mark.parametrize("start", [0, 3_000_000, 5_999_999])
@only_https
def test_a_large_file_is_read_at_three_places(server, settings, tmp_path, monkeypatch, start):
    monkeypatch.setattr(readback, "READ_WHOLE_BYTES", 1_000_000)
    monkeypatch.setattr(readback, "PROBE_BYTES", 1000)
    folder = one_file(tmp_path / "folder", 6_000_000)

    def damage_what_is_complete(method: str, path: str) -> None:
        if method in ("GET", "HEAD"):
            for key, body in server.objects.items():
                if "/content/" in key:
                    server.objects[key] = body[:start] + bytes([body[start] ^ 1]) + body[start + 1 :]
                    server.fault = lambda method, path: None

    push_folder(ObjectStore(settings), folder, "whole")
    server.objects.clear()
    server.fault = damage_what_is_complete
    with pytest.raises(SpoiledError, match=r"model\.safetensors: has other bytes [\d,]+ to [\d,]+ there than here"):
        push_folder(ObjectStore(settings), folder, NAME)


@only_https
def test_what_a_killed_push_left_spoiled_is_sent_again(server, settings, tmp_path):
    store, folder = ObjectStore(settings), one_file(tmp_path / "folder")
    push_folder(store, folder, NAME)
    (key,) = [key for key in server.objects if "/content/" in key]
    server.objects = {key: bytes(100_000)}
    assert push_folder(store, folder, NAME).sent == 1
    verify_folder(store, NAME)


@pytest.mark.parametrize(
    ("method", "fault"),
    [("PUT", "error"), ("POST", "error"), ("PUT", "slow down"), ("POST", "slow down"), ("GET", "slow down")],
)
def test_errors_in_passing_also_those_with_status_200_cost_nothing(server, settings, folder, tmp_path, method, fault):
    left = [2]

    def twice(asked: str, path: str) -> str | None:
        if asked == method and "/content/" in path and left[0]:
            left[0] -= 1
            return fault
        return None

    server.fault = twice
    store = ObjectStore(settings)
    push_folder(store, folder, NAME)
    pull_folder(store, NAME, tmp_path / "back")
    assert left == [0]
    assert contents(tmp_path / "back") == contents(folder)


@pytest.mark.parametrize(("method", "size"), [("PUT", 1000), ("PUT", 6 * 2**20), ("POST", 6 * 2**20)])
@pytest.mark.parametrize("fault", ["error", "slow down"])
@only_https
def test_errors_that_stay_fail_the_push_as_one_that_may_work_later(server, settings, tmp_path, method, size, fault):
    server.fault = lambda asked, path: fault if asked == method else None
    with pytest.raises(UnreachableError, match=r"model\.safetensors at https://.*(InternalError|SlowDown)"):
        push_folder(ObjectStore(settings.model_copy(update={"attempts": 2})), one_file(tmp_path / "f", size), NAME)


@only_https
def test_an_error_that_comes_with_status_200_for_a_file_is_said_and_leaves_nothing(server, settings, tmp_path):
    store, folder = ObjectStore(settings), one_file(tmp_path / "folder")
    push_folder(store, folder, NAME)
    server.fault = lambda method, path: "error" if method == "GET" and "/content/" in path else None
    with pytest.raises(UnreachableError, match=r"model\.safetensors at .*: the server's error InternalError, answered"):
        pull_folder(store, NAME, tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
    server.fault = lambda method, path: "error" if method == "GET" and "manifest" in path else None
    with pytest.raises(UnreachableError, match=r"manifest\.json at .*: the server's error InternalError, answered"):
        pull_folder(store, NAME, tmp_path / "back")


@only_https
def test_an_error_that_was_kept_in_place_of_the_file_is_named(server, settings, tmp_path):
    folder = one_file(tmp_path / "folder", len(ERROR))

    def keep_errors(method: str, path: str) -> None:
        server.objects.update({key: ERROR for key in server.objects if "/content/" in key})

    server.fault = keep_errors
    with pytest.raises(SpoiledError, match="another sha256 there than here: it is the server's error InternalError"):
        push_folder(ObjectStore(settings), folder, NAME)


@only_https
def test_a_pull_of_spoiled_files_alone_leaves_nothing_behind(server, settings, tmp_path):
    store, folder = ObjectStore(settings), one_file(tmp_path / "folder")
    push_folder(store, folder, NAME)
    server.fault = lambda method, path: "cut" if method == "GET" and "/content/" in path else None
    with pytest.raises(StorageError):
        pull_folder(store, NAME, tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


@only_https
def test_a_certificate_that_is_not_trusted_is_said_at_once(server, settings, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_CA_BUNDLE")
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"CERTIFICATE_VERIFY_FAILED.*AWS_CA_BUNDLE names the file") as refused:
        ObjectStore(settings.model_copy(update={"attempts": 12})).keys("")
    assert not isinstance(refused.value, UnreachableError)
    assert time.monotonic() - begun < 15
    assert server.seen == []
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"AWS_CA_BUNDLE is '.*none\.pem': no such file"):
        ObjectStore(settings)
