"""The boto3 client of an endpoint: its patience, plain bodies, and certificates.

boto3 is imported when a client is opened, so that a process without it can import this package.
"""

import os
from pathlib import Path
from typing import Any

from sgpo.config import ConfigError, StorageConfig

_CONNECT_TIMEOUT_S = 10.0
_CA_BUNDLE = "AWS_CA_BUNDLE"


def open_client(settings: StorageConfig, session: Any) -> Any:
    """Return a client of `settings.endpoint_url`; ConfigError when AWS_CA_BUNDLE names no file."""
    from botocore.config import Config

    authority = os.environ.get(_CA_BUNDLE)
    if authority and not Path(authority).exists():
        raise ConfigError(f"{_CA_BUNDLE} is '{authority}': no such file (expected the certificates that sign servers')")
    client = session.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=session.region_name or "us-east-1",
        config=Config(
            retries={"mode": "adaptive", "total_max_attempts": settings.attempts},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=settings.timeout_s,
            tcp_keepalive=True,
            # Only the checksum that was asked for: not every endpoint knows those that boto3 adds of its own accord.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register("before-call.s3", plain_body)
    client.meta.events.register_first("needs-retry.s3", _no_second_try_with_this_certificate)
    return client


def plain_body(params: dict[str, Any], **_: Any) -> None:
    """Have a request's checksum sent in its header, so that its body is the file and nothing else.

    Over https boto3 would send the checksum behind the body, in aws-chunked framing, which some endpoints store as it
    comes. This reaches into what boto3 hands to its handlers: where another version no longer heeds it, what is read
    back shows the framing.
    """
    algorithm = params.get("context", {}).get("checksum", {}).get("request_algorithm")
    if isinstance(algorithm, dict) and algorithm.get("in") == "trailer":
        algorithm["in"] = "header"


def is_of_certificates(error: BaseException | None) -> bool:
    """Whether a connection failed because of whom it was to: trying again cannot help."""
    from botocore.exceptions import SSLError

    return isinstance(error, SSLError) and ("CERTIFICATE" in str(error) or "X509" in str(error))


def _no_second_try_with_this_certificate(caught_exception: BaseException | None = None, **_: Any) -> None:
    if caught_exception is not None and is_of_certificates(caught_exception):
        raise caught_exception
