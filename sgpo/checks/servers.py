"""What runs beside: registry and tracking, object storage, Prefect, servers that sample; and the registered name."""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from sgpo.checks.finding import Finding, refusal
from sgpo.config import RunConfig
from sgpo.errors import UserError, one_line

GROUP = "servers"
PATIENCE_S = 10.0
_GUARDED = (401, 403, 404)
"""Answers of a server that is there and has no health page for everybody."""


def check_servers(config: RunConfig, model_folder: Path | None) -> list[Finding]:
    """Return whether what the recipe names answers, and whose versions the registered name has."""
    findings = _registry(config, model_folder)
    if config.storage.bucket is not None:
        findings.append(_bucket(config))
    for name, engine in (("engine", config.engine), ("evaluation.engine", config.evaluation.engine)):
        findings += [_answers(f"{name}.urls", url, "/health") for url in (engine.urls if engine else ())]
    if address := os.environ.get("PREFECT_API_URL"):
        findings.append(_answers("prefect", address, "/health"))
    return findings


def _registry(config: RunConfig, model_folder: Path | None) -> list[Finding]:
    from sgpo.tracking.client import sqlite_path

    tracking = config.tracking
    database = sqlite_path(tracking)
    if database is not None and not database.is_file():
        found = f"{tracking.mlflow_uri}: made at its first use; no version of {tracking.registered_model} yet"
        return [Finding(GROUP, "registry", "ok", found)]
    try:
        return [Finding(GROUP, "registry", "ok", f"{tracking.mlflow_uri} answers"), _champion(config, model_folder)]
    except ModuleNotFoundError as error:
        return [Finding(GROUP, "registry", "skipped", f"{error.name} is not installed here")]
    except UserError as error:
        return [refusal(GROUP, "registry", error, "tracking.mlflow_uri, or `sgpo up`")]


def _champion(config: RunConfig, model_folder: Path | None) -> Finding:
    """Compare the champion's tokenizer with the model's: two models under one name would be mixed up."""
    from sgpo.files import file_sha256
    from sgpo.registry.lineage import FILES_TAG, hashes_of
    from sgpo.registry.models import find_version
    from sgpo.registry.records import CHAMPION, aliases
    from sgpo.registry.store import open_registry

    tracking = config.tracking
    name, version = tracking.registered_model, aliases(tracking).get(CHAMPION)
    if version is None:
        return Finding(
            GROUP, "registered name", "warning", f"{name} has no champion: a retraining has nothing to begin from",
            "`sgpo registry register MODEL` and `sgpo registry champion 1 WHY`, with this --config",
        )  # fmt: skip
    with open_registry(tracking, write=False) as client:
        files = hashes_of(find_version(client, tracking, version).tags, FILES_TAG) or {}
    own = model_folder / "tokenizer.json" if model_folder is not None else None
    differs = own is not None and own.is_file() and files.get("tokenizer.json", file_sha256(own)) != file_sha256(own)
    if differs and own is not None and not _same_tokens(config, version, own):
        return Finding(
            GROUP, "registered name", "wrong",
            f"{name}: its champion, version {version}, has another tokenizer than {model_folder}: it is another model",
            "tracking.registered_model: a name for each model",
        )  # fmt: skip
    return Finding(GROUP, "registered name", "ok", f"{name}, champion version {version}")


def _same_tokens(config: RunConfig, version: str, own: Path) -> bool:
    """Whether a version's tokenizer has the tokens of `own`: libraries write one tokenizer in different bytes."""
    from tokenizers import Tokenizer

    from sgpo.registry.models import download_model_file

    with tempfile.TemporaryDirectory() as folder:
        theirs = download_model_file(config.tracking, version, own.name, Path(folder))
        ours, others = (Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True) for file in (own, theirs))
    return ours == others


def _bucket(config: RunConfig) -> Finding:
    storage = config.storage
    where = f"bucket {storage.bucket} at {storage.endpoint_url or 'AWS'}"
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        from sgpo.storage.client import open_client

        quick = storage.model_copy(update={"attempts": 1, "timeout_s": PATIENCE_S})
        session = boto3.Session(region_name=storage.region)
        open_client(quick, session).head_bucket(Bucket=storage.bucket)
    except ModuleNotFoundError as error:
        return Finding(GROUP, "storage", "skipped", f"{error.name} is not installed here")
    except UserError as error:
        return refusal(GROUP, "storage", error)
    except (BotoCoreError, ClientError) as error:
        cure = "storage.endpoint_url, storage.bucket and credentials of boto3's (docs/storage.md)"
        return Finding(GROUP, "storage", "wrong", f"{where}: {one_line(error, 200)}", cure)
    return Finding(GROUP, "storage", "ok", f"{where} answers")


def _answers(what: str, address: str, path: str) -> Finding:
    try:
        with urllib.request.urlopen(address.rstrip("/") + path, timeout=PATIENCE_S):
            return Finding(GROUP, what, "ok", f"{address} answers")
    except urllib.error.HTTPError as error:
        if what == "prefect" and error.code in _GUARDED:  # as Prefect Cloud does; its key is Prefect's own affair
            return Finding(GROUP, what, "ok", f"{address} answers")
        return Finding(GROUP, what, "wrong", f"{address}: answers {one_line(error, 150)}", "a server that runs")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Finding(GROUP, what, "wrong", f"{address}: no answer ({one_line(error, 150)})", "a server that runs")
