"""`python create_buckets.py NAME…`: buckets on the S3 server of the environment; one that is there stays as it is."""

from __future__ import annotations

import sys

import boto3
from botocore.exceptions import ClientError

OURS_ALREADY = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def create_buckets(names: list[str]) -> None:
    """Create what is missing. Endpoint and keys are boto3's own variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …).

    Raises botocore's ClientError where the server refuses, and also for a bucket that exists but is not ours.
    """
    client = boto3.client("s3")
    for name in names:
        try:
            client.create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in OURS_ALREADY:
                raise
        client.head_bucket(Bucket=name)
        print(f"bucket {name}: there", flush=True)


if __name__ == "__main__":
    create_buckets(sys.argv[1:])
