"""infra/kubernetes/: Kubernetes' published schemas (strict), the restricted pod security standard, and references."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import UnreadableCommand, read_command
from mlflow.server.security_utils import is_allowed_host_header
from validation import INFRA, documents, environment_names, lease_folder, pod_of, pod_problems, schema_problems

FOLDER = INFRA / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
MANIFESTS = {
    f"{document['kind']}/{document['metadata']['name']}": document
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in documents(path)
}
SECRETS, SETTINGS = environment_names(INFRA / "env.example"), environment_names(FOLDER / "settings.env")


def problems_of(document: dict[str, Any]) -> list[str]:
    pod = pod_of(document)
    return schema_problems(document) + (pod_problems(pod, SECRETS, SETTINGS) if pod else [])


def pod(name: str) -> dict[str, Any]:
    found = pod_of(MANIFESTS[name])
    assert found is not None
    return found


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifest_is_valid_and_keeps_to_the_rules(name: str) -> None:
    assert problems_of(MANIFESTS[name]) == []
    metadata = MANIFESTS[name]["metadata"]
    assert name == "Namespace/sgpo" or metadata["namespace"] == "sgpo"


def container(document: dict[str, Any]) -> dict[str, Any]:
    return document["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("Deployment/mlflow", lambda d: d["spec"].update(replica=1), "'replica' was unexpected"),
        ("Deployment/mlflow", lambda d: d["spec"].update(replicas="one"), "'one' is not of type"),
        ("Deployment/mlflow", lambda d: d["spec"].pop("selector"), "'selector' is a required property"),
        ("Job/sgpo-training", lambda d: d.update(apiVersion="batch/v2"), "Couldn't find schema"),
        ("Job/sgpo-training", lambda d: container(d).update(gpu=8), "'gpu' was unexpected"),
        ("Deployment/mlflow", lambda d: container(d).update(image="sgpo:latest"), "not pinned by a version"),
        ("Deployment/mlflow", lambda d: container(d).pop("securityContext"), "the root file system is writable"),
        ("Deployment/mlflow", lambda d: container(d).pop("resources"), "no requests for cpu and memory"),
        (
            "Deployment/mlflow",
            lambda d: container(d)["env"].append({"name": "PGPASSWORD", "value": "mlflow"}),
            "PGPASSWORD is written down",
        ),
        (
            "Deployment/mlflow",
            lambda d: container(d)["env"][0]["valueFrom"]["configMapKeyRef"].update(key="PG_HOST"),
            "sgpo-settings.PG_HOST, which settings.env does not have",
        ),
        (
            "Deployment/prefect-server",
            lambda d: container(d)["env"][5]["valueFrom"]["secretKeyRef"].update(key="PASSWORD"),
            "sgpo-secrets.PASSWORD, which env.example does not have",
        ),
        (
            "Deployment/prefect-worker",
            lambda d: d["spec"]["template"]["spec"]["securityContext"].pop("runAsNonRoot"),
            "may run as root",
        ),
        (
            "Deployment/prefect-worker",
            lambda d: d["spec"]["template"]["spec"]["volumes"].pop(0),
            "mounts tmp, which is no volume",
        ),
        (
            "Deployment/prefect-server",
            lambda d: d["spec"]["template"]["spec"].pop("enableServiceLinks"),
            "would be read as settings",
        ),
        (
            "Job/sgpo-training",
            lambda d: d["spec"]["template"]["spec"].update(hostNetwork=True),
            "shares the host's namespaces",
        ),
    ],
)
def test_a_broken_copy_is_refused(name: str, change: Callable[[dict[str, Any]], object], problem: str) -> None:
    document = copy.deepcopy(MANIFESTS[name])
    change(document)
    assert any(problem in found for found in problems_of(document))


def test_kustomize_applies_every_manifest_but_the_training_job() -> None:
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "training-job.yaml"}
    assert set(KUSTOMIZATION["resources"]) == there
    for generator in KUSTOMIZATION["configMapGenerator"]:
        for file in [*generator.get("envs", []), *generator.get("files", [])]:
            assert (FOLDER / file).is_file()


def test_config_maps_claims_and_accounts_that_pods_name_are_there() -> None:
    config_maps = {generator["name"] for generator in KUSTOMIZATION["configMapGenerator"]}
    for name in MANIFESTS:
        found = pod_of(MANIFESTS[name])
        for volume in (found or {}).get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in config_maps
            if "persistentVolumeClaim" in volume:
                assert f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}" in MANIFESTS
        if account := (found or {}).get("serviceAccountName"):
            assert f"ServiceAccount/{account}" in MANIFESTS
    binding = MANIFESTS["RoleBinding/prefect-worker"]
    assert f"Role/{binding['roleRef']['name']}" in MANIFESTS
    assert f"ServiceAccount/{binding['subjects'][0]['name']}" in MANIFESTS


def test_the_prefect_server_s_leases_are_files_on_its_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pod("Deployment/prefect-server")
    for variable in server["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "of the cluster"))
    (claimed,) = [volume["name"] for volume in server["volumes"] if "persistentVolumeClaim" in volume]
    (place,) = [mount["mountPath"] for mount in server["containers"][0]["volumeMounts"] if mount["name"] == claimed]
    assert lease_folder().is_relative_to(place)


@pytest.mark.parametrize("name", ["prefect-server", "mlflow"])
def test_a_service_finds_its_pods_and_their_port(name: str) -> None:
    service, deployment = MANIFESTS[f"Service/{name}"]["spec"], MANIFESTS[f"Deployment/{name}"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"] for port in pod(f"Deployment/{name}")["containers"][0]["ports"]}
    assert service["ports"][0]["targetPort"] in ports
    (policy,) = MANIFESTS["NetworkPolicy/servers-within-the-namespace"]["spec"]["podSelector"]["matchExpressions"]
    assert labels[policy["key"]] in policy["values"]


@pytest.mark.parametrize("name", ["prefect-server", "prefect-worker", "mlflow"])
def test_the_command_is_one_that_the_program_knows_and_probes_ask_its_port(name: str) -> None:
    (only,) = pod(f"Deployment/{name}")["containers"]
    read_command(only["args"])
    with pytest.raises(UnreadableCommand):
        read_command([*only["args"], "--no-such-option=1"])
    (port,) = only["ports"]
    for probe in ("startupProbe", "livenessProbe"):
        assert only[probe]["httpGet"]["port"] == port["name"]
    assert any(str(port["containerPort"]) in word for word in [*only["args"], "8080"])


def test_mlflow_accepts_the_names_that_its_service_has() -> None:
    (option,) = [
        word for word in pod("Deployment/mlflow")["containers"][0]["args"] if word.startswith("--allowed-hosts=")
    ]
    hosts = option.removeprefix("--allowed-hosts=").split(",")
    assert is_allowed_host_header(hosts, "mlflow:5000")
    assert is_allowed_host_header(hosts, "mlflow.sgpo.svc.cluster.local:5000")
    assert not is_allowed_host_header(hosts, "attacker.example")


def test_the_worker_s_settings_are_ones_that_prefect_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect_kubernetes.settings import KubernetesSettings

    for variable in pod("Deployment/prefect-worker")["containers"][0]["env"]:
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    settings = KubernetesSettings()
    assert settings.observer.namespaces == {"sgpo"}
    assert settings.worker.api_auth_string_secret_name == "sgpo-secrets"
    assert settings.worker.api_auth_string_secret_key in SECRETS


def test_the_worker_may_do_to_jobs_and_pods_what_its_source_does() -> None:
    import prefect_kubernetes

    source = "".join(
        (Path(prefect_kubernetes.__path__[0]) / file).read_text(encoding="utf-8")
        for file in ("worker.py", "observer.py")
    )
    calls = {
        "create_namespaced_job": ("jobs", "create"),
        "delete_namespaced_job": ("jobs", "delete"),
        "read_namespaced_job(": ("jobs", "get"),
        "list_namespaced_job": ("jobs", "list"),
        "list_namespaced_pod": ("pods", "list"),
        "read_namespaced_pod_log": ("pods/log", "get"),
    }
    granted = {
        (resource, verb)
        for rule in MANIFESTS["Role/prefect-worker"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for call, grant in calls.items():
        assert call in source, f"{call} is no longer used: does the role still need {grant}?"
        assert grant in granted
    assert {(kind, "watch") for kind in ("jobs", "pods")} <= granted
    assert not {resource for resource, _ in granted} & {"secrets", "*"}
