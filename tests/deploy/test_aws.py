"""The files of deploy/aws: policies with exactly the calls that the code makes, ECS tasks, and a Terraform module."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import hcl2
import pytest
from botocore.validate import ParamValidator

from tests.deploy.facts import DEPLOY, is_command, plain_secrets, unknown_variables
from tests.docs.code_blocks import code_blocks
from tests.docs.test_iam_policy import called_operations
from tests.support.deployment import Deployment, LocalIvs, free_port, local_ivs
from tests.support.http_client import fetch
from tests.support.processes import TOKENSVC, started, wait_until
from tokensvc import __version__
from tokensvc.aws.kms import CONTEXT_KEY, KmsKey
from tokensvc.settings import read_settings
from tokensvc.supervisor import STOP_SECONDS

pytestmark = pytest.mark.slow

AWS = DEPLOY / "aws"
MODULE = AWS / "terraform"
ROLES = ("serve", "worker")
TASKS = sorted(path.stem for path in (AWS / "ecs").glob("*.json"))
GUIDE = "docs/how-to/deploy.md"
Statement = dict[str, Any]

# The arguments of these resources in version 6 of the AWS provider, without those that a newer form replaces.
PROVIDER_ARGUMENTS = {
    "aws_iam_role": {
        "assume_role_policy", "description", "force_detach_policies", "max_session_duration", "name", "name_prefix",
        "path", "permissions_boundary", "tags",
    },
    "aws_iam_role_policy": {"name", "name_prefix", "policy", "role"},
    "aws_kms_key": {
        "bypass_policy_lockout_safety_check", "custom_key_store_id", "customer_master_key_spec",
        "deletion_window_in_days", "description", "enable_key_rotation", "is_enabled", "key_usage", "multi_region",
        "policy", "region", "rotation_period_in_days", "tags", "xks_key_id",
    },
    "aws_kms_alias": {"name", "name_prefix", "region", "target_key_id"},
    "aws_secretsmanager_secret": {
        "description", "force_overwrite_replica_secret", "kms_key_id", "name", "name_prefix", "policy",
        "recovery_window_in_days", "region", "replica", "tags",
    },
}  # fmt: skip
OF_TERRAFORM = {"for_each", "count", "lifecycle", "depends_on", "provider"}


def policy(name: str) -> list[Statement]:
    """The statements of a policy."""
    document = json.loads((AWS / f"policies/{name}.json").read_text("utf-8"))
    assert document.keys() == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    statements: list[Statement] = document["Statement"]
    return statements


def actions(statements: list[Statement], service: str) -> set[str]:
    """The operations of a service that the statements allow."""
    allowed = [action for statement in statements for action in statement["Action"]]
    return {action.partition(":")[2] for action in allowed if action.startswith(f"{service}:")}


def kms_source_operations() -> set[str]:
    """The operations that the module names, in boto3's form."""
    return set(re.findall(r'self\._call\("(\w+)"', Path(inspect.getfile(KmsKey)).read_text("utf-8")))


class RecordingKms:
    """A KMS that records how it is called."""

    def __init__(self) -> None:
        self.operations: set[str] = set()
        self.contexts: list[dict[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> dict[str, Any]:
            self.operations.add("".join(word.title() for word in name.split("_")))
            self.contexts.append(request["EncryptionContext"])
            return {"Plaintext": bytes(32), "KeyId": request["KeyId"], "CiphertextBlob": b"encrypted"}

        return call


def kms_operations() -> set[str]:
    """The operations of KMS that the code calls."""
    kms, key = RecordingKms(), KmsKey("arn:aws:kms:us-east-1:123456789012:key/k", "deployment")
    key._cached_client = kms
    key.generate_data_key()
    key.decrypt_data_key(b"encrypted")
    assert len(kms.operations) == len(kms_source_operations())
    assert kms.contexts == [{CONTEXT_KEY: "deployment"}] * 2
    return kms.operations


@pytest.mark.parametrize("name", ["serve", "worker", "kms-key", "execution"])
def test_every_action_exists_and_none_has_a_wildcard(name: str) -> None:
    for statement in policy(name):
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            service, _, operation = action.partition(":")
            model = botocore.session.get_session().get_service_model(service)
            assert operation in model.operation_names, action


def test_the_policies_allow_what_is_called_and_nothing_else() -> None:
    both = policy("serve") + policy("worker")
    assert actions(both, "ivs") == called_operations()
    assert (
        actions(both, "kms") == actions(policy("serve"), "kms") == actions(policy("worker"), "kms") == kms_operations()
    )
    assert not actions(policy("serve"), "ivs") & actions(policy("worker"), "ivs")


def test_resources_are_those_of_one_account_and_kms_needs_the_encryption_context() -> None:
    for name in ROLES:
        for statement in policy(name):
            assert re.fullmatch(
                r"arn:aws:(ivs|kms):us-east-1:123456789012:(channel/\*|playback-key/\*|key/[0-9-]+)",
                statement["Resource"],
            )
            if statement["Sid"] == "PrivateKeys":
                assert statement["Condition"] == {
                    "ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": CONTEXT_KEY}
                }


def test_the_deployment_guide_has_the_same_permissions() -> None:
    [block] = [b for b in code_blocks(DEPLOY.parent / GUIDE, GUIDE) if b.file == "tokensvc-policy.json"]
    of_files = [statement for name in ROLES for statement in policy(name) if statement["Sid"] != "PrivateKeys"]
    assert sorted(json.loads(block.text)["Statement"], key=str) == sorted(of_files, key=str)


def test_nobody_but_the_two_roles_may_use_the_kms_key() -> None:
    administrators, roles = policy("kms-key")
    assert actions([roles], "kms") == kms_operations()
    assert [arn.rpartition("/")[2] for arn in roles["Principal"]["AWS"]] == [f"tokensvc-{role}" for role in ROLES]
    assert roles["Condition"] == policy("serve")[1]["Condition"]
    uses = {"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "CreateGrant", "Sign", "Verify", "DeriveSharedSecret"}
    assert not {action for action in actions([administrators], "kms") if action.startswith(tuple(uses))}
    assert "PutKeyPolicy" in actions([administrators], "kms")  # or the key could never be managed again


@pytest.mark.slow
def test_an_independent_iam_and_kms_accept_the_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with moto.mock_aws():
        iam, kms = (boto3.client(service, region_name="us-east-1") for service in ("iam", "kms"))
        for name in (*ROLES, "execution"):
            iam.create_policy(PolicyName=name, PolicyDocument=(AWS / f"policies/{name}.json").read_text("utf-8"))
        kms.create_key(Policy=(AWS / "policies/kms-key.json").read_text("utf-8"))


def task(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((AWS / f"ecs/{name}.json").read_text("utf-8"))
    return loaded


def container(name: str) -> dict[str, Any]:
    [only] = task(name)["containerDefinitions"]
    return dict(only)


def variables(name: str) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(name)["environment"]}


@pytest.mark.parametrize("name", TASKS)
def test_ecs_accepts_the_request_that_registers_a_task(name: str) -> None:
    operation = botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    report = ParamValidator().validate(task(name), operation.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert int(task(name)["memory"]) in range(2 * int(task(name)["cpu"]), 8 * int(task(name)["cpu"]) + 1)  # of Fargate


@pytest.mark.parametrize("name", TASKS)
def test_a_task_runs_restricted_and_stops_in_its_own_time(name: str) -> None:
    only = container(name)
    assert only["image"].endswith(f"/tokensvc:{__version__}")
    assert only["user"] == "10001:10001"
    assert only["readonlyRootFilesystem"] is True
    assert only["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert STOP_SECONDS + 1 < only["stopTimeout"] <= 120
    assert is_command(only["command"])


@pytest.mark.parametrize("name", TASKS)
def test_the_settings_of_a_task_are_accepted_and_its_secret_comes_from_secrets_manager(name: str) -> None:
    given = variables(name)
    assert unknown_variables(given) == []
    assert plain_secrets(given) == []
    [secret] = container(name)["secrets"]
    assert secret["name"] == "TOKENSVC_DATABASE_URL"
    [readable] = policy("execution")
    assert secret["valueFrom"].startswith(readable["Resource"].removesuffix("*"))
    settings = read_settings(given | {"TOKENSVC_DATABASE_URL": "postgresql://tokensvc@db/tokensvc"})
    assert settings.workers == 1  # several would need a directory that can be written to
    ports = [mapping["containerPort"] for mapping in container(name).get("portMappings", [])]
    assert ports == {"serve": [8080, 9090], "worker": [9090], "migration": []}[name]
    if name in ROLES:
        assert settings.background_tasks is False
        assert (settings.port, settings.admin_port, settings.admin_host) == (8080, 9090, "0.0.0.0")
        assert task(name)["taskRoleArn"].endswith(f":role/tokensvc-{name}")
        assert container(name)["healthCheck"]["command"] == ["CMD", "tokensvc", "health", "--live"]
    else:
        assert "taskRoleArn" not in task(name)


@pytest.fixture(scope="module")
def module() -> dict[str, Any]:
    """All files of the Terraform module."""
    found: dict[str, Any] = {}
    for path in sorted(MODULE.glob("*.tf")):
        with path.open() as file:
            for kind, blocks in hcl2.load(file).items():
                found.setdefault(kind, []).extend(blocks)
    return found


def resources(module: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The type, name and body of each resource."""
    for block in module["resource"]:
        for kind, named in block.items():
            for name, body in named.items():
                yield _bare(kind), _bare(name), body


def _bare(name: str) -> str:
    """A label without the quotes that the parser leaves on it."""
    return name.strip('"')


def test_the_module_makes_roles_a_key_and_a_secret_and_no_playback_key_pair(module: dict[str, Any]) -> None:
    assert {kind for kind, _, _ in resources(module)} == PROVIDER_ARGUMENTS.keys()
    for path in MODULE.glob("*.tf"):
        assert "aws_ivs" not in path.read_text("utf-8")
        assert "secret_version" not in path.read_text("utf-8")  # the value would be in the state


def test_every_argument_of_a_resource_is_one_of_the_provider(module: dict[str, Any]) -> None:
    for kind, name, body in resources(module):
        given = {argument for argument in body if not argument.startswith("__")}
        assert given <= PROVIDER_ARGUMENTS[kind] | OF_TERRAFORM, f"{kind}.{name}"


def test_terraform_refuses_to_destroy_the_key(module: dict[str, Any]) -> None:
    [key] = [body for kind, _, body in resources(module) if kind == "aws_kms_key"]
    assert key["lifecycle"][0]["prevent_destroy"] is True
    assert key["enable_key_rotation"] is True


def test_every_reference_of_the_module_leads_somewhere(module: dict[str, Any]) -> None:
    text = "".join(re.sub(r"#.*", "", path.read_text("utf-8")) for path in MODULE.glob("*.tf"))
    declared = {f"var.{_bare(name)}" for block in module["variable"] for name in block}
    declared |= {f"local.{name}" for block in module["locals"] for name in block if not name.startswith("__")}
    declared |= {f"{kind}.{name}" for kind, name, _ in resources(module)}
    used = set(re.findall(r"\b(?:var|local|aws_\w+)\.\w+", text))
    assert used <= declared | {f"data.{name}" for name in declared} | {
        "aws_caller_identity.current",
        "aws_partition.current",
    }
    assert {name for name in declared if name.startswith(("var.", "local."))} <= used


needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")


@needs_terraform
def test_the_module_is_formatted_as_terraform_formats_it() -> None:
    subprocess.run(["terraform", "fmt", "-check", "-diff", str(MODULE)], check=True, capture_output=True)


STUB = """
locals {
  account_id  = "210987654321"
  partition   = "aws"
  kms_key_arn = "arn:aws:kms:eu-west-1:210987654321:key/k"
  secret_arn  = "arn:aws:secretsmanager:eu-west-1:210987654321:secret:s"
  role_arns   = ["arn:aws:iam::210987654321:role/a", "arn:aws:iam::210987654321:role/b"]
}
"""
"""In place of main.tf, which needs the provider."""


@needs_terraform
def test_terraform_puts_the_account_and_regions_into_the_policies(tmp_path: Path) -> None:
    shutil.copytree(AWS / "policies", tmp_path / "policies")
    (tmp_path / "terraform").mkdir()
    for name in ("policies.tf", "variables.tf"):
        shutil.copy(MODULE / name, tmp_path / "terraform")
    (tmp_path / "terraform/stub.tf").write_text(STUB)
    issuer = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
    evaluated = _evaluate(
        tmp_path / "terraform",
        "{iam = local.iam_statements, key = local.kms_key_policy, trust = local.trust_policies, "
        "read = local.execution_policy}",
        'regions=["eu-west-1", "us-west-2"]',
        f"oidc_provider_arn=arn:aws:iam::210987654321:oidc-provider/{issuer}",
        "ecs=true",
    )
    for role in ROLES:
        for of_file, made in zip(policy(role), evaluated["iam"][role], strict=True):
            assert {k: v for k, v in made.items() if k != "Resource"} == {
                k: v for k, v in of_file.items() if k != "Resource"
            }
            assert "123456789012" not in str(made)
    [channels, key] = evaluated["iam"]["serve"]
    assert channels["Resource"] == [
        "arn:aws:ivs:eu-west-1:210987654321:channel/*",
        "arn:aws:ivs:us-west-2:210987654321:channel/*",
    ]
    assert key["Resource"] == ["arn:aws:kms:eu-west-1:210987654321:key/k"]
    assert [s["Principal"]["AWS"] for s in evaluated["key"]["Statement"]] == [
        ["arn:aws:iam::210987654321:root"],
        ["arn:aws:iam::210987654321:role/a", "arn:aws:iam::210987654321:role/b"],
    ]
    ecs, eks = evaluated["trust"]["worker"]["Statement"]
    assert ecs["Principal"] == {"Service": ["ecs-tasks.amazonaws.com"]}
    assert eks["Condition"]["StringEquals"] == {
        f"{issuer}:aud": "sts.amazonaws.com",
        f"{issuer}:sub": "system:serviceaccount:tokensvc:tokensvc-worker",
    }
    assert evaluated["read"]["Statement"][0]["Resource"] == ["arn:aws:secretsmanager:eu-west-1:210987654321:secret:s"]


def _evaluate(folder: Path, expression: str, *given: str) -> Any:
    """The value of an expression in a module."""
    command = ["terraform", "console", "-no-color", *(f"-var={value}" for value in given)]
    done = subprocess.run(
        command, cwd=folder, input=f"jsonencode({expression})", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


@pytest.mark.long
def test_serve_and_worker_each_call_only_what_their_role_allows(ivs: LocalIvs, tmp_path: Path) -> None:
    deployment = Deployment(ivs, tmp_path)
    api_key = deployment.set_up("--all-channels")
    channel = str(deployment.new_channel(name="first")["arn"])
    ports = {name: free_port() for name in ROLES}
    with (
        deployment.serve(BACKGROUND_TASKS="false", ADMIN_PORT=str(ports["serve"])) as service,
        started(
            [TOKENSVC, "worker"],
            tmp_path,
            deployment.environ | {"TOKENSVC_ADMIN_PORT": str(ports["worker"]), "TOKENSVC_BACKGROUND_TASKS": "false"},
            "w",
        ) as worker,
        service.client(api_key) as client,
    ):
        assert client.token(channelArn=channel, viewerId="viewer", requirePlaybackUrl=True)["playbackUrl"]
        deployment.run("revocations", "add", "--channel", channel, "--viewer", "viewer")
        deployment.run("keys", "rotate", "--no-wait")
        worker.wait_until(lambda: "ImportPlaybackKeyPair" in _calls(ports["worker"]), "the worker rotates")
        wait_until(lambda: any("Revocation" in name for name in _calls(ports["worker"])), "the worker revokes")
        made = {name: _calls(port) for name, port in ports.items()}
    for name in ROLES:
        assert made[name] <= actions(policy(name), "ivs"), name
    assert made["serve"] == {"BatchGetChannel"}


def _calls(admin_port: int) -> set[str]:
    """The operations of IVS that a process has called."""
    metrics = fetch(f"http://127.0.0.1:{admin_port}/metrics").body.decode()
    return set(re.findall(r'^tokensvc_ivs_requests_total\{[^}]*operation="(\w+)"', metrics, re.MULTILINE))
