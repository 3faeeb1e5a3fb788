"""Objects: parts and checksums, conditional writes, and errors that are one line without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from s3_server import SECRET

from sgpo.config import ConfigError, StorageConfig, load_config
from sgpo.storage import ObjectStore, PreconditionError, StorageError, UnreachableError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("checksum", ["sha256", "crc32", "none"])
def test_a_file_in_parts_comes_back_the_same(settings, proxy, tmp_path, checksum):
    store = ObjectStore(settings.model_copy(update={"checksum": checksum}))
    content = os.urandom(12 * 2**20)
    (tmp_path / "file").write_bytes(content)
    store.send_file(tmp_path / "file", "some/file")
    assert len([path for method, path in proxy.seen if method == "PUT" and "partNumber" in path]) == 3
    store.fetch_file("some/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert store.keys("some/") == {"some/file": len(content)}
    assert proxy.seen[-1][1].count("team%2Fsgpo%2Fsome%2F") == 1


def test_parts_that_fail_or_whose_answer_is_lost_are_sent_again(store, proxy, tmp_path):
    content = os.urandom(12 * 2**20)
    (tmp_path / "file").write_bytes(content)
    tries: dict[str, int] = {}

    def first_tries_fail(method: str, path: str) -> str | None:
        tries[f"{method} {path}"] = tries.get(f"{method} {path}", 0) + 1
        return {1: "500", 2: "lose", 3: "drop"}.get(tries[f"{method} {path}"])

    proxy.fault = first_tries_fail
    store.send_file(tmp_path / "file", "file")
    proxy.fault = lambda method, path: None
    store.fetch_file("file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_conditional_writes(store):
    first = store.put("key", b"1", only_if_new=True)
    with pytest.raises(PreconditionError):
        store.put("key", b"2", only_if_new=True)
    second = store.put("key", b"3", if_match=first)
    with pytest.raises(PreconditionError):
        store.put("key", b"4", if_match=first)
    found = store.get("key")
    assert (found.body, found.etag) == (b"3", second)
    with pytest.raises(PreconditionError):
        store.put("missing", b"5", if_match=first)
    assert store.get("missing") is None


@pytest.mark.skipif("SGPO_TEST_S3_ENDPOINT" in os.environ, reason="makes one server out of another")
def test_an_endpoint_that_wants_quotes_around_the_tag_gets_them(store, proxy, monkeypatch):
    first = store.put("key", b"1")
    forward = proxy._forward

    async def strict(request, body):
        tag = request.headers.get("If-Match")
        if tag is not None and not tag.startswith('"'):
            from aiohttp import web

            return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code><Message/></Error>")
        return await forward(request, body)

    monkeypatch.setattr(proxy, "_forward", strict)
    second = store.put("key", b"2", if_match=first)
    assert store.get("key").body == b"2"
    with pytest.raises(PreconditionError):
        store.put("key", b"3", if_match=first)
    assert store.get("key").etag == second


def test_an_answer_of_a_conflict_is_no_refusal(store, proxy, monkeypatch):
    """AWS answers 409 when two conditional writes meet; the one that is told so was not tried."""
    answers = iter([409, 409])
    forward = proxy._forward

    async def busy(request, body):
        from aiohttp import web

        if request.method == "PUT" and next(answers, None):
            return web.Response(status=409, text="<Error><Code>ConditionalRequestConflict</Code></Error>")
        return await forward(request, body)

    monkeypatch.setattr(proxy, "_forward", busy)
    store.put("key", b"1", only_if_new=True)
    assert store.get("key").body == b"1"


def test_a_file_that_changes_while_it_is_sent_is_refused(store, proxy, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before")

    def change(method: str, path: str) -> None:
        file.write_bytes(b"after, and longer")

    proxy.fault = change
    # By us, or by a server that checks what was signed.
    with pytest.raises(StorageError, match=r"file: was changed while it was sent to s3://|XAmzContentSHA256Mismatch"):
        store.send_file(file, "file")


def failures(settings: StorageConfig, proxy, tmp_path: Path) -> list[BaseException]:
    """What the storage raises when it is refused, missing, unreachable or down."""
    (tmp_path / "file").write_bytes(b"1" * 6 * 2**20)
    raised: list[BaseException] = []

    def attempt(store: ObjectStore) -> None:
        for act in (
            lambda: store.put("some/key", b""), lambda: store.get("some/key"), lambda: store.keys("some/key"),
            lambda: store.send_file(tmp_path / "file", "some/key"), lambda: store.delete("some/key"),
            lambda: store.fetch_file("some/key", tmp_path / "fetched"), lambda: store.abort_uploads("some/key"),
        ):  # fmt: skip
            with pytest.raises(StorageError) as caught:
                act()
            raised.append(caught.value)

    once = settings.model_copy(update={"attempts": 1})
    attempt(ObjectStore(once.model_copy(update={"bucket": "no-such-bucket"})))
    attempt(ObjectStore(once.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})))
    for fault in ("503", "drop", "403"):
        proxy.fault = lambda method, path, fault=fault: fault
        attempt(ObjectStore(once))
    return raised


def test_every_failure_is_one_line_that_names_the_object_and_no_secret(settings, proxy, tmp_path, capsys, caplog):
    raised = failures(settings, proxy, tmp_path)
    assert len(raised) == 35
    for error in raised:
        text = str(error)
        assert "\n" not in text
        assert "team/sgpo/some/key at http://127.0.0.1:" in text
        assert SECRET not in "".join(traceback.format_exception(error))
    outages = [error for error in raised if isinstance(error, UnreachableError)]
    assert len(outages) == 21
    assert {error.exit_code for error in outages} == {75}
    shown = "".join(capsys.readouterr()) + caplog.text
    assert SECRET not in shown


def test_a_password_in_the_endpoint_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["storage.endpoint_url=https://someone:hunter2@s3.local"])
    assert "'storage.endpoint_url' is 'https://***@s3.local'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_credentials_is_said(settings, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="NoCredentialsError: Unable to locate credentials"):
        ObjectStore(settings).keys("")


def test_the_endpoint_may_come_from_the_environment(settings, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", settings.endpoint_url)
    elsewhere = ObjectStore(settings.model_copy(update={"endpoint_url": None}))
    elsewhere.put("key", b"1")
    assert ObjectStore(settings).keys("") == {"key": 1}


WITHOUT = """
import sys
sys.modules.update({"boto3": None, "tenacity": None})
from sgpo.config import ConfigError, StorageConfig
from sgpo.storage import ObjectStore
from sgpo.cli.storage import storage_app
try:
    ObjectStore(StorageConfig(bucket="some-bucket"))
except ConfigError as error:
    print(error)
"""


def test_an_installation_without_boto3_says_so_when_a_bucket_is_set():
    said = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60)
    assert "is set but tenacity is not installed here (expected the extra ops)" in said.stdout


def test_off_without_a_bucket():
    assert load_config().storage.bucket is None
    with pytest.raises(ConfigError, match=r"storage\.bucket is not set"):
        ObjectStore(load_config().storage)
