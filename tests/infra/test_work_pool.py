"""The work pool's base job template, read by Prefect's own Kubernetes worker, and the Jobs that it makes of it."""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.server.schemas.actions import WorkPoolCreate
from prefect.utilities.schema_tools import is_valid_schema, validate
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration, KubernetesWorkerVariables
from pydantic import ValidationError
from validation import INFRA, environment_names, longest_silence, pod_problems, schema_problems

TEMPLATE: dict[str, Any] = json.loads((INFRA / "kubernetes" / "base-job-template.json").read_text(encoding="utf-8"))
SECRETS = environment_names(INFRA / "env.example")
SETTINGS = environment_names(INFRA / "kubernetes" / "settings.env")
EXTRA = ("completions", "parallelism")
"""Prefect's worker insists on these in the pod's specification, where Kubernetes drops them."""


def job(template: dict[str, Any] = TEMPLATE, **variables: Any) -> dict[str, Any]:
    """The Job that the worker would make for a flow run; no server is asked."""
    run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="brave-otter")

    async def prepare() -> dict[str, Any]:
        nowhere = PrefectClient("http://127.0.0.1:9/api")
        configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(
            template, variables, client=nowhere
        )
        configuration.prepare_for_flow_run(run)
        return configuration.job_manifest

    return asyncio.run(prepare())


def job_problems(manifest: dict[str, Any]) -> list[str]:
    manifest = copy.deepcopy(manifest)
    pod = manifest["spec"]["template"]["spec"]
    for name in EXTRA:
        assert pod.pop(name) == 1
    return schema_problems(manifest) + pod_problems(pod, SECRETS, SETTINGS)


def test_prefect_accepts_the_template_and_every_default_fits_its_variable() -> None:
    WorkPoolCreate(name="sgpo", type="kubernetes", base_job_template=TEMPLATE)
    variables = TEMPLATE["variables"]
    is_valid_schema(variables)
    validate({name: item["default"] for name, item in variables["properties"].items() if "default" in item}, variables)
    for name, item in variables["properties"].items():
        assert item["title"], name
        assert item["description"], name


def test_every_variable_is_prefect_s_or_used_in_the_template() -> None:
    used = json.dumps(TEMPLATE["job_configuration"])
    for name in TEMPLATE["variables"]["properties"]:
        assert f"{{{{ {name} }}}}" in used
    ours = set(TEMPLATE["variables"]["properties"]) - set(KubernetesWorkerVariables.model_fields)
    assert ours == {"gpus", "workspace_claim"}


def test_the_job_of_a_flow_run_is_valid_and_keeps_to_the_rules() -> None:
    manifest = job()
    assert job_problems(manifest) == []
    assert manifest["metadata"]["namespace"] == "sgpo"
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "sgpo-cuda:0.1.0"
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert container["resources"] == {"requests": {"cpu": "4", "memory": "32Gi"}, "limits": {"nvidia.com/gpu": "1"}}
    environment = {item["name"] for item in container["env"]}
    assert {"PREFECT__FLOW_RUN_ID", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"} <= environment
    values = {item["name"]: item.get("value") for item in container["env"]}
    assert float(values["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) <= longest_silence() / 2


def test_a_deployment_s_job_variables_reach_the_job() -> None:
    manifest = job(gpus="0", image="sgpo:0.1.0", memory_limit="8Gi", env={"SGPO_CONSOLE": "1"})
    assert job_problems(manifest) == []
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "0"}
    assert {"name": "SGPO_CONSOLE", "value": "1"} in container["env"]
    assert container["image"] == "sgpo:0.1.0"


def test_the_longest_wait_at_the_end_is_torchrun_s_and_the_child_s() -> None:
    from flows.child import GRACE_S

    assert job()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > GRACE_S


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    template = copy.deepcopy(TEMPLATE)
    change(template)
    return template


def test_prefect_refuses_a_template_with_an_undeclared_variable() -> None:
    template = broken(lambda t: t["variables"]["properties"].pop("gpus"))
    with pytest.raises(ValidationError, match="gpus"):
        WorkPoolCreate(name="sgpo", type="kubernetes", base_job_template=template)


def test_the_worker_refuses_a_template_without_what_it_needs() -> None:
    template = broken(lambda t: t["job_configuration"]["job_manifest"]["spec"]["template"]["spec"].pop("restartPolicy"))
    with pytest.raises(ValidationError, match="restartPolicy"):
        job(template)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda pod: pod.update(serviceAccount_name="x"), "'serviceAccount_name' was unexpected"),
        (lambda pod: pod["containers"][0].update(image="sgpo-cuda:latest"), "not pinned by a version"),
        (lambda pod: pod["securityContext"].update(runAsNonRoot=False), "may run as root"),
        (lambda pod: pod["volumes"].pop(0), "mounts workspace, which is no volume"),
    ],
)
def test_a_broken_template_makes_a_job_that_is_refused(
    change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    template = broken(lambda t: change(t["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]))
    assert any(problem in found for found in job_problems(job(template)))
