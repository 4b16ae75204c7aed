"""The manifests of deploy/kubernetes: valid, restricted, and in accordance with the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.facts import DEPLOY, assignments, expected_processes, is_command, plain_secrets, unknown_variables
from tests.deploy.manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    build,
    copy_with_secrets,
    needs_kubectl,
    of_kind,
    plain_files,
    pod_specs,
    replicas_of,
)
from tokensvc import __version__
from tokensvc.settings import read_settings
from tokensvc.supervisor import STOP_SECONDS
from tokensvc.web.routes import LIVEZ, METRICS, READYZ

pytestmark = pytest.mark.slow

VERSIONS = ("1.29", "1.37")
"""The oldest version of Kubernetes that the guide names, and the newest whose schemas are known."""
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
USER = int(re.search(r"^USER (\d+)", (DEPLOY / "Containerfile").read_text("utf-8"), re.MULTILINE)[1])  # type: ignore[index]
IMAGES_OF_OTHERS = {"postgresql"}
RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_with_secrets(tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="module")
def everything(kubernetes: Path) -> dict[str, list[Manifest]]:
    """Every overlay as it is applied."""
    return {overlay: build(kubernetes, overlay) for overlay in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, everything: dict[str, list[Manifest]]) -> list[Manifest]:
    return everything[request.param]


def own_pods(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    """The pods that run tokensvc."""
    return [(name, pod) for name, pod in pod_specs(manifests) if name not in IMAGES_OF_OTHERS]


def validate(manifest: Manifest, *versions: str) -> None:
    for version in versions:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    ("name", "manifests"), sorted(plain_files().items()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_manifest_is_valid_as_it_is_written(name: str, manifests: list[Manifest]) -> None:
    assert manifests
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            validate(manifest, VERSIONS[-1])


@needs_kubectl
def test_each_overlay_is_valid_as_it_is_applied(overlay: list[Manifest]) -> None:
    for manifest in overlay:
        if manifest["kind"] not in CUSTOM:
            validate(manifest, *VERSIONS)
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "tokensvc"


def test_a_misspelt_field_would_be_found() -> None:
    [manifest] = plain_files()["migration/job.yaml"]
    manifest["spec"]["backofLimit"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@needs_kubectl
def test_pods_meet_the_restricted_standard_and_the_namespace_enforces_it(overlay: list[Manifest]) -> None:
    [namespace] = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pod_specs(overlay):
        spec, context = pod["spec"], pod["spec"]["securityContext"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys(), name
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] != 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in spec["volumes"]:
            assert volume.keys() - {"name"} <= RESTRICTED_VOLUMES
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container["ports"]) if "ports" in container else True


@needs_kubectl
def test_pods_run_as_the_user_of_the_image_and_mount_secrets_that_only_it_can_read(overlay: list[Manifest]) -> None:
    for _, pod in own_pods(overlay):
        context = pod["spec"]["securityContext"]
        assert context["runAsUser"] == context["runAsGroup"] == USER
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert context["fsGroup"] == USER
                assert volume["secret"]["defaultMode"] == 0o440


@needs_kubectl
def test_every_container_has_requests_and_a_limit_of_memory(overlay: list[Manifest]) -> None:
    for name, pod in pod_specs(overlay):
        for container in pod["spec"]["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


@needs_kubectl
def test_pods_have_no_token_of_the_kubernetes_api_and_no_variables_of_services(overlay: list[Manifest]) -> None:
    """Kubernetes would set TOKENSVC_PORT, from the Service `tokensvc`, to something that is not a port."""
    for name, pod in pod_specs(overlay):
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert pod["spec"]["enableServiceLinks"] is False, name
    for account in of_kind(overlay, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@needs_kubectl
def test_every_container_runs_a_command_that_exists(overlay: list[Manifest]) -> None:
    for name, pod in own_pods(overlay):
        [container] = pod["spec"]["containers"]
        assert "command" not in container  # the image's entry point is `tokensvc`
        words = [word for word in container["args"] if not word.startswith("--")]
        assert is_command(words[: 2 if words[0] in ("db", "ivs") else 1]), name


@needs_kubectl
def test_the_settings_are_accepted_and_contain_no_secret(overlay: list[Manifest], tmp_path: Path) -> None:
    [config] = of_kind(overlay, "ConfigMap")
    given = dict(config["data"])
    assert unknown_variables(given) == []
    assert plain_secrets(given) == []
    for name in [name for name in given if name.endswith("_FILE")]:
        given[name] = str(_as_mounted(tmp_path, Path(given[name])))
    settings = read_settings(given)
    assert (settings.host, settings.admin_host) == ("0.0.0.0", "0.0.0.0")
    assert settings.admin_routes is None
    assert settings.background_tasks is False
    assert settings.passphrase or settings.kms_key_arn


def _as_mounted(folder: Path, path: Path) -> Path:
    """A file of a Secret as the kubelet mounts it: a link to a link to a file that its group can read."""
    content = {"database-url": "postgresql://tokensvc@db/tokensvc", "passphrase": "0123456789abcdef"}[path.name]
    (folder / "..2026").mkdir(exist_ok=True)
    (folder / "..2026" / path.name).write_text(content)
    (folder / "..2026" / path.name).chmod(0o440)
    if not (folder / "..data").is_symlink():
        (folder / "..data").symlink_to("..2026")
    (folder / path.name).symlink_to(f"..data/{path.name}")
    return folder / path.name


@needs_kubectl
def test_files_that_settings_name_are_mounted(overlay: list[Manifest]) -> None:
    [config] = of_kind(overlay, "ConfigMap")
    named = {Path(value).parent for name, value in config["data"].items() if name.endswith("_FILE")}
    for name, pod in own_pods(overlay):
        [container] = pod["spec"]["containers"]
        if "envFrom" in container:
            mounts = {Path(mount["mountPath"]): mount for mount in container["volumeMounts"]}
            assert named <= mounts.keys(), name
            assert all(mounts[path]["readOnly"] for path in named)
            assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]


@needs_kubectl
def test_the_image_is_of_this_version_and_listens_on_the_ports_of_the_settings(overlay: list[Manifest]) -> None:
    containerfile = (DEPLOY / "Containerfile").read_text("utf-8")
    [exposed] = re.findall(r"^EXPOSE (.+)$", containerfile, re.MULTILINE)
    [config] = of_kind(overlay, "ConfigMap")
    assert exposed.split() == [config["data"]["TOKENSVC_PORT"], config["data"]["TOKENSVC_ADMIN_PORT"]]
    assert re.search(r'^ENTRYPOINT \["tokensvc"\]$', containerfile, re.MULTILINE)
    for _, pod in own_pods(overlay):
        assert pod["spec"]["containers"][0]["image"].endswith((f"/tokensvc:{__version__}", "localhost/tokensvc:latest"))


@needs_kubectl
def test_ports_are_those_of_the_settings(overlay: list[Manifest]) -> None:
    [config] = of_kind(overlay, "ConfigMap")
    ports = {"public": config["data"]["TOKENSVC_PORT"], "admin": config["data"]["TOKENSVC_ADMIN_PORT"]}
    for _, pod in own_pods(overlay):
        for port in pod["spec"]["containers"][0].get("ports", []):
            if port["name"] in ports:
                assert str(port["containerPort"]) == ports[port["name"]]


@needs_kubectl
@pytest.mark.parametrize("name", ["overlays/aws", "overlays/local"])
def test_probes_ask_routes_that_exist_and_never_restart_a_pod_that_is_only_unready(
    name: str, everything: dict[str, list[Manifest]]
) -> None:
    pods = dict(own_pods(everything[name]))
    serve, worker = (pods[f"tokensvc-{kind}"]["spec"]["containers"][0] for kind in ("serve", "worker"))
    assert serve["readinessProbe"]["httpGet"] == {"path": READYZ.path, "port": "public"}
    for kind in ("liveness", "startup"):  # not on the port that callers can flood
        assert serve[f"{kind}Probe"]["httpGet"] == {"path": LIVEZ.path, "port": "admin"}
    assert {worker[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness", "startup")} == {LIVEZ.path}
    delay = read_settings(_plain(everything[name])).shutdown_delay_seconds
    assert serve["readinessProbe"]["periodSeconds"] * serve["readinessProbe"]["failureThreshold"] < delay


def _plain(manifests: list[Manifest]) -> dict[str, str]:
    [config] = of_kind(manifests, "ConfigMap")
    return {name: value for name, value in config["data"].items() if not name.endswith("_FILE")}


@needs_kubectl
def test_a_pod_is_killed_only_after_the_time_that_it_may_take_to_stop(everything: dict[str, list[Manifest]]) -> None:
    for name in ("overlays/aws", "overlays/local"):
        for _, pod in own_pods(everything[name]):
            assert pod["spec"]["terminationGracePeriodSeconds"] > STOP_SECONDS + 1


@needs_kubectl
def test_a_rollout_never_removes_a_pod_before_another_is_ready(everything: dict[str, list[Manifest]]) -> None:
    for name in ("overlays/aws", "overlays/local"):
        for deployment in of_kind(everything[name], "Deployment"):
            assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@needs_kubectl
def test_every_selector_matches_the_pods_that_it_is_meant_for(everything: dict[str, list[Manifest]]) -> None:
    manifests = everything["overlays/aws"] + everything["overlays/aws/migration"]
    labels = {name: pod["metadata"]["labels"] for name, pod in pod_specs(manifests)}

    def selected(selector: dict[str, str]) -> set[str]:
        return {name for name, own in labels.items() if selector.items() <= own.items()}

    services = {s["metadata"]["name"]: s for s in of_kind(manifests, "Service")}
    assert selected(services["tokensvc"]["spec"]["selector"]) == {"tokensvc-serve"}
    assert selected(services["tokensvc-admin"]["spec"]["selector"]) == {"tokensvc-serve", "tokensvc-worker"}
    for kind, field in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        for manifest in of_kind(manifests, kind):
            assert selected(manifest["spec"][field]["matchLabels"]) == {manifest["metadata"]["name"]}, kind
    for name, pod in pod_specs(manifests):
        for constraint in pod["spec"].get("topologySpreadConstraints", []):
            assert selected(constraint["labelSelector"]["matchLabels"]) == {name}


@needs_kubectl
def test_every_pod_has_a_network_policy_for_both_directions_that_allows_what_it_needs(
    everything: dict[str, list[Manifest]],
) -> None:
    manifests = everything["overlays/aws"] + everything["overlays/aws/migration"]
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind(manifests, "NetworkPolicy")}
    assert policies.keys() == {name for name, _ in pod_specs(manifests)}
    out = {
        name: {port["port"] for rule in policy["egress"] for port in rule["ports"]} for name, policy in policies.items()
    }
    assert out == {
        "tokensvc-serve": {53, 5432, 443},
        "tokensvc-worker": {53, 5432, 443},
        "tokensvc-migration": {53, 5432},
    }
    for policy in policies.values():
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        for rule in policy["egress"]:  # no pod reads the credentials of its node
            assert all("169.254.0.0/16" in to["ipBlock"]["except"] for to in rule["to"] if "ipBlock" in to)
    admin = [rule for rule in policies["tokensvc-serve"]["ingress"] if rule["ports"][0]["port"] == "admin"]
    assert admin == policies["tokensvc-worker"]["ingress"]  # Prometheus alone
    assert policies["tokensvc-migration"]["ingress"] == []


@needs_kubectl
def test_the_admin_port_is_reachable_only_through_a_service_without_an_address(
    everything: dict[str, list[Manifest]],
) -> None:
    for service in of_kind(everything["overlays/aws"], "Service"):
        assert service["spec"]["type"] == "ClusterIP"
        ports = {port["targetPort"] for port in service["spec"]["ports"]}
        assert ports == ({"admin"} if service["spec"].get("clusterIP") == "None" else {"public"})


@needs_kubectl
def test_the_migration_has_the_same_settings_image_and_secret_as_the_service(
    everything: dict[str, list[Manifest]],
) -> None:
    for name in ("overlays/aws", "overlays/local"):
        service, migration = dict(own_pods(everything[name])), dict(own_pods(everything[f"{name}/migration"]))
        shared = [_shared(pod["spec"]) for pod in (service["tokensvc-serve"], migration["tokensvc-migration"])]
        assert shared[0] == shared[1]
        [job] = of_kind(everything[f"{name}/migration"], "Job")
        assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (1, 1)
        assert "Job" not in {manifest["kind"] for manifest in everything[name]}


def _shared(spec: Manifest) -> list[Any]:
    [container] = spec["containers"]
    return [
        container["image"],
        container["envFrom"],
        container["volumeMounts"],
        spec["volumes"],
        spec["securityContext"],
    ]


@needs_kubectl
def test_only_the_accounts_of_serve_and_worker_have_roles_and_each_its_own(
    everything: dict[str, list[Manifest]],
) -> None:
    accounts = of_kind(everything["overlays/aws"], "ServiceAccount")
    roles = {a["metadata"]["name"]: a["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] for a in accounts}
    assert {name: arn.rpartition("/")[2] for name, arn in roles.items()} == {name: name for name in roles}
    for name, pod in own_pods(everything["overlays/aws"]):
        assert pod["spec"]["serviceAccountName"] == name
    [(_, migration)] = own_pods(everything["overlays/aws/migration"])
    assert "serviceAccountName" not in migration["spec"]


@needs_kubectl
def test_a_changed_setting_starts_new_pods(everything: dict[str, list[Manifest]], tmp_path: Path) -> None:
    changed = copy_with_secrets(tmp_path)
    settings = changed / "overlays/aws/account/settings.env"
    settings.write_text(settings.read_text("utf-8") + "TOKENSVC_MAX_IN_FLIGHT=256\n")
    before, after = (
        dict(own_pods(manifests))["tokensvc-serve"]
        for manifests in (everything["overlays/aws"], build(changed, "overlays/aws"))
    )
    assert before != after


def test_the_service_monitor_scrapes_the_admin_service_of_every_pod() -> None:
    [monitor] = plain_files()["monitoring/service-monitor.yaml"]
    services = {s["metadata"]["name"]: s for s in plain_files()["base/services.yaml"]}
    selector = monitor["spec"]["selector"]["matchLabels"]
    matching = [name for name, s in services.items() if selector.items() <= s["metadata"]["labels"].items()]
    assert matching == ["tokensvc-admin"]
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in services["tokensvc-admin"]["spec"]["ports"]}
    assert endpoint["path"] == METRICS.path
    assert services["tokensvc-admin"]["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "tokensvc"
    assert (monitor["apiVersion"], monitor["spec"].keys()) == (
        "monitoring.coreos.com/v1",
        {"jobLabel", "selector", "endpoints"},
    )
    assert endpoint.keys() == {"port", "path", "scheme", "interval", "scrapeTimeout"}


@needs_kubectl
def test_the_prometheus_rule_has_the_rules_that_are_tested_and_is_applied(
    everything: dict[str, list[Manifest]],
) -> None:
    tested = yaml.safe_load((DEPLOY / "prometheus/tokensvc.rules.yml").read_text("utf-8"))
    [applied] = of_kind(everything["overlays/aws"], "PrometheusRule")
    assert applied["apiVersion"] == "monitoring.coreos.com/v1"
    assert applied["spec"] == tested


def test_no_secret_is_committed() -> None:
    for path in KUBERNETES.rglob("*"):
        if path.is_file():
            assert "secrets" not in path.parts or path.name == ".gitignore"
            assert re.search(r"kind: Secret$", path.read_text("utf-8"), re.MULTILINE) is None, path
    for path in KUBERNETES.rglob("*.env"):
        assert plain_secrets(assignments(path.read_text("utf-8"))) == []


def test_the_alerts_expect_the_processes_that_run() -> None:
    assert expected_processes(KUBERNETES / "monitoring" / "prometheus-rule.yaml") == replicas_of("overlays/aws")
