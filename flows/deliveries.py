"""Webhook deliveries that are what they say: signed by MLflow with our secret, recent, and not seen before."""

import base64
import hashlib
import hmac
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

DELIVERY_ID, TIMESTAMP, SIGNATURE = "X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"
"""Headers of MLflow's webhooks (mlflow.webhooks.constants, which takes seconds to import)."""
TOLERANCE_S = 300
"""MLflow's own retries of a delivery keep its timestamp, and end within a minute."""
_LONGEST_ID = 128


class RefusedDeliveryError(ValueError):
    """A delivery that is not acted on; `status` is the HTTP answer."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Return the delivery's id, when the signature is that of `body` and the timestamp (seconds) is near `now`.

    MLflow signs `<id>.<timestamp>.<body>` with HMAC-SHA256 and sends `v1,<base64>`. Raises RefusedDeliveryError (401).
    """
    delivery, timestamp, signature = (headers.get(name, "") for name in (DELIVERY_ID, TIMESTAMP, SIGNATURE))
    if not (delivery and timestamp and signature):
        raise RefusedDeliveryError(401, f"unsigned (expected the headers {DELIVERY_ID}, {TIMESTAMP} and {SIGNATURE})")
    expected = sign(secret, delivery, timestamp, body)
    if not hmac.compare_digest(expected.encode(), signature.encode(errors="surrogateescape")):
        raise RefusedDeliveryError(401, "forged: the signature is not that of this body with our secret")
    if len(delivery) > _LONGEST_ID or not timestamp.isdecimal():
        raise RefusedDeliveryError(401, "the signed id or timestamp is not one of MLflow's")
    if abs(now - int(timestamp)) > TOLERANCE_S:
        raise RefusedDeliveryError(401, f"signed {now - int(timestamp):.0f} s ago (expected within {TOLERANCE_S} s)")
    return delivery


def sign(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """Return the signature header of a delivery."""
    head = f"{delivery}.{timestamp}.".encode(errors="surrogateescape")  # as aiohttp decodes headers
    digest = hmac.new(secret.encode(), head + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class SeenDeliveries:
    """Ids of the deliveries of the last minutes, on disk, so that a restart forgets none that could be replayed.

    An id is kept for twice the tolerance: after that its timestamp alone refuses it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with closing(self._connect()) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at REAL NOT NULL)")

    def take(self, delivery: str) -> None:
        """Remember a delivery; RefusedDeliveryError (409) when it has been taken before."""
        now = time.time()
        with closing(self._connect()) as database, database:
            database.execute("DELETE FROM seen WHERE at < ?", (now - 2 * TOLERANCE_S,))
            if database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (delivery, now)).rowcount == 0:
                raise RefusedDeliveryError(409, "replayed: this delivery has been taken before")

    def forget(self, delivery: str) -> None:
        """Let MLflow send a delivery again that could not be acted on."""
        with closing(self._connect()) as database, database:
            database.execute("DELETE FROM seen WHERE id = ?", (delivery,))

    def __len__(self) -> int:
        with closing(self._connect()) as database:
            return database.execute("SELECT count(*) FROM seen").fetchone()[0]

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10)
