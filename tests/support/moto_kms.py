"""moto's KMS on a socket: an independent implementation for boto3 to connect to."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import boto3
from moto.server import ThreadedMotoServer


class MotoKms:
    """A running KMS, and the environment that a process needs to reach it."""

    def __init__(self, url: str) -> None:
        self.environ = {
            "AWS_ENDPOINT_URL_KMS": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "hunter2",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._url = url

    def new_key(self, region: str = "us-east-1") -> str:
        """The ARN of a new symmetric key."""
        with contextlib.closing(self.client(region)) as client:
            arn: str = client.create_key()["KeyMetadata"]["Arn"]
            return arn

    def client(self, region: str = "us-east-1") -> Any:
        """An administrator's client."""
        return boto3.client(
            "kms", region_name=region, endpoint_url=self._url, aws_access_key_id="a", aws_secret_access_key="a"
        )


@contextlib.contextmanager
def moto_kms() -> Iterator[MotoKms]:
    """A server in this process, on a free port."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # it would print a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield MotoKms(f"http://{host}:{port}")
    finally:
        server.stop()
