"""AWS's environment variables for the time of a block."""

from __future__ import annotations

import os
from pathlib import Path

import boto3
import pytest

from tokensvc.testing.environment import aws_environment

IVS = ("http://127.0.0.1:1", "eu-west-1", "key", "secret")


def test_the_variables_are_set_inside_the_block_and_removed_after_it() -> None:
    before = dict(os.environ)
    with aws_environment(*IVS):
        assert os.environ["AWS_ENDPOINT_URL_IVS"] == IVS[0]
        assert os.environ["AWS_DEFAULT_REGION"] == os.environ["AWS_REGION"] == IVS[1]
    assert dict(os.environ) == before


def test_what_would_be_used_instead_is_hidden_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_IVS", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    for name in names:
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("NO_PROXY", "internal.example.com")
    before = dict(os.environ)
    with aws_environment(*IVS):
        assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & os.environ.keys()
        assert os.environ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] == "false"
        assert os.environ["NO_PROXY"] == "internal.example.com,127.0.0.1"
        assert os.environ["no_proxy"] == "127.0.0.1"
    assert dict(os.environ) == before


def test_what_the_block_sets_otherwise_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTHER", raising=False)
    with aws_environment(*IVS):
        monkeypatch.setenv("OTHER", "1")
    assert os.environ["OTHER"] == "1"


def test_the_variables_are_restored_after_an_error() -> None:
    before = dict(os.environ)
    with pytest.raises(RuntimeError), aws_environment(*IVS):
        raise RuntimeError
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_profile_that_ignores_configured_endpoints_does_not_lead_to_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nignore_configured_endpoint_urls = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with aws_environment(*IVS):
        client = boto3.client("ivs")
        assert client.meta.endpoint_url == IVS[0]
        client.close()


@pytest.mark.slow
def test_boto3_has_another_default_session_inside_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the credentials with which its first client was created."""
    session = boto3.session.Session(aws_access_key_id="mine", aws_secret_access_key="mine")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    with aws_environment(*IVS):
        client = boto3.client("ivs")
        assert client._request_signer._credentials.access_key == "key"
        assert client.meta.endpoint_url == IVS[0]
        client.close()
    assert boto3.DEFAULT_SESSION is session
