"""A real S3 endpoint on loopback: moto's, or the one that SGPO_TEST_S3_ENDPOINT names (radosgw.sh starts one)."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_testbed import data_folder as data_folder
from tiny_testbed import model_folder as model_folder
from tiny_testbed import tokenizer as tokenizer

sys.path.insert(0, str(Path(__file__).parent))

from s3_server import SECRET, FaultyProxy

from sgpo.config import StorageConfig
from sgpo.storage import ObjectStore


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if "SGPO_TEST_S3_ENDPOINT" in os.environ:
            yield os.environ["SGPO_TEST_S3_ENDPOINT"]
            return
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_server: str):
    """A client of the server itself, to make buckets and to do damage with."""
    from boto3.session import Session

    return Session().client("s3", endpoint_url=s3_server, region_name="us-east-1")


@pytest.fixture(scope="session")
def any_proxy(s3_server: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def proxy(any_proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    """A proxy that lets everything through, and has seen nothing yet."""
    any_proxy.seen.clear()
    yield any_proxy
    any_proxy.fault = lambda method, path: None


@pytest.fixture
def settings(s3_client, proxy: FaultyProxy) -> StorageConfig:
    """Settings with a bucket of the test's own, behind the proxy."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=bucket)
    return StorageConfig(bucket=bucket, endpoint_url=proxy.url, prefix="team/sgpo", timeout_s=10.0, part_mib=5)


@pytest.fixture
def store(settings: StorageConfig) -> ObjectStore:
    return ObjectStore(settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files in folders, an empty one, and one in three parts."""
    folder = tmp_path / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "manifest.json").write_text("a manifest of its own")
    (folder / "deep" / "with space+ü.txt").write_text("ü")
    (folder / "deep" / "er" / "empty").write_bytes(b"")
    (folder / "model.safetensors").write_bytes(os.urandom(11 * 2**20))
    return folder
