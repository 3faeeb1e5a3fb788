"""The validators of infra/, as functions that return what is wrong: for the files, and for broken copies of them."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
INFRA = REPOSITORY / "infra"
KUBERNETES_VERSION = "1.32"
Tree = dict[str, Any]

_PINNED = re.compile(r"^(?P<name>[a-z0-9]+([./_-][a-z0-9]+)*):(?P<tag>[\w][\w.-]*\d[\w.-]*)(@sha256:[0-9a-f]{64})?$")
_OWN_IMAGES = ("sgpo", "sgpo-cuda")
_SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING|TOKEN|_KEY$")


def tool(*command: str) -> str:
    """What a checker of this environment prints, standard error too; nothing when it is content."""
    path = Path(sys.executable).parent / command[0]
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, timeout=120)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def image_problems(image: str) -> list[str]:
    """An image by tag with a number in it, from no registry by host name; others' images by digest too."""
    match = _PINNED.match(image)
    if not match or match["tag"] == "latest":
        return [f"image {image} is not pinned by a version"]
    first, slash, _ = match["name"].partition("/")
    if slash and ("." in first or ":" in first):
        return [f"image {image} names a registry's host"]
    if match["name"] not in _OWN_IMAGES and "@sha256:" not in image:
        return [f"image {image} has no digest"]
    return []


def compose_problems(tree: Tree) -> list[str]:
    """What the compose specification's schema cannot say: pins, users, addresses, secrets, references."""
    problems = []
    for name, service in tree["services"].items():
        problems += [f"{name}: {problem}" for problem in image_problems(service["image"])]
        if not _compose_user_is_unprivileged(service.get("user", "")):
            problems.append(f"{name}: user {service.get('user')!r} may be root")
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
            problems.append(f"{name}: keeps capabilities or may gain privileges")
        for port in service.get("ports", []):
            if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port):
                problems.append(f"{name}: port {port} is not bound to 127.0.0.1")
        for variable, value in service.get("environment", {}).items():
            if _SECRET.search(variable) and not re.fullmatch(r"\$\{[A-Z0-9_]+:\?[^}]+\}", str(value)):
                problems.append(f"{name}: {variable} is written down, or may be empty")
        one_shot = service.get("restart") == "no"
        if not one_shot and "healthcheck" not in service:
            problems.append(f"{name}: no healthcheck")
        for needed, condition in service.get("depends_on", {}).items():
            if needed not in tree["services"]:
                problems.append(f"{name}: depends on {needed}, which is not there")
            elif condition["condition"] == "service_healthy" and "healthcheck" not in tree["services"][needed]:
                problems.append(f"{name}: waits for {needed} to be healthy, which has no healthcheck")
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            if source.startswith(".") and not (INFRA / source).exists():
                problems.append(f"{name}: mounts {source}, which is not there")
            elif not source.startswith(".") and source not in tree["volumes"]:
                problems.append(f"{name}: mounts the volume {source}, which is not declared")
        for network in service["networks"]:
            if network not in tree["networks"]:
                problems.append(f"{name}: network {network} is not declared")
    return problems


def _compose_user_is_unprivileged(user: str) -> bool:
    if re.fullmatch(r"\$\{SGPO_UID:\?[^}]+\}:\$\{SGPO_GID:\?[^}]+\}", user):
        return True
    return bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user))


def dockerfile_problems(text: str) -> list[str]:
    """What hadolint does not ask for: pinned bases, an unprivileged last user, constrained installs, no secrets."""
    problems = []
    lines = re.sub(r"\\\n", " ", text).splitlines()
    instructions = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    stages = {words[1].split()[2] for words in instructions if words[0] == "FROM" and " AS " in words[1]}
    for words in instructions:
        kind, rest = words[0], words[1]
        if kind == "FROM" and rest.split()[0] not in stages:
            problems += image_problems(rest.split()[0])
        if kind == "ADD":
            problems.append(f"ADD {rest}: COPY does not fetch or unpack")
        if kind in ("ENV", "ARG"):
            problems += [
                f"{kind} {name}=… looks like a secret"
                for name in re.findall(r"([A-Z0-9_]+)=", rest)
                if _SECRET.search(name) and name != "TOKENIZERS_PARALLELISM"
            ]
        for install in re.findall(r"-m pip install ([^&]*)", rest) if kind == "RUN" else []:
            if "--constraint " not in install and not re.search(r'"pip==[\d.]+"', install):
                problems.append(f"pip install {install.strip()}: not constrained")
    users = [words[1] for words in instructions if words[0] == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        problems.append(f"the last USER is {users[-1] if users else 'root'} (expected a numeric user and group, not 0)")
    return problems


def documents(path: Path) -> list[Tree]:
    """The objects of a manifest."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def schema_problems(document: Tree) -> list[str]:
    """Against Kubernetes' published schema, unknown fields refused."""
    try:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{document['kind']}: {'.'.join(str(part) for part in error.path)}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    return []


def pod_of(document: Tree) -> Tree | None:
    """The pod's specification in a Deployment or Job."""
    return document["spec"]["template"]["spec"] if document["kind"] in ("Deployment", "Job") else None


def pod_problems(pod: Tree, secret_keys: set[str], setting_keys: set[str]) -> list[str]:
    """The restricted pod security standard, pins, resources, and references to secrets and settings that exist."""
    problems = list(_pod_security_problems(pod))
    mounted = {volume["name"] for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        name = container["name"]
        problems += [f"{name}: {problem}" for problem in image_problems(container["image"])]
        if not {"cpu", "memory"} <= container.get("resources", {}).get("requests", {}).keys():
            problems.append(f"{name}: no requests for cpu and memory")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in mounted:
                problems.append(f"{name}: mounts {mount['name']}, which is no volume of the pod")
        for variable in container.get("env", []):
            problems += [f"{name}: {problem}" for problem in _reference_problems(variable, secret_keys, setting_keys)]
    return problems


_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _pod_security_problems(pod: Tree) -> Iterator[str]:
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield "may run as root"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    if pod.get("enableServiceLinks") is not False:
        yield "services' variables (PREFECT_SERVER_PORT, MLFLOW_PORT) would be read as settings"
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares the host's namespaces"
    for container in pod["containers"]:
        if container.get("securityContext") != _CONTAINER_SECURITY:
            yield f"{container['name']}: the root file system is writable, or privileges can be gained"


def _reference_problems(variable: Tree, secret_keys: set[str], setting_keys: set[str]) -> Iterator[str]:
    name, source = variable["name"], variable.get("valueFrom", {})
    if "value" in variable and _SECRET.search(name) and not name.endswith(("_SECRET_NAME", "_SECRET_KEY")):
        yield f"{name} is written down"
    secret, setting = source.get("secretKeyRef"), source.get("configMapKeyRef")
    if secret and (secret["name"] != "sgpo-secrets" or secret["key"] not in secret_keys):
        yield f"{name} comes from {secret['name']}.{secret['key']}, which env.example does not have"
    if setting and (setting["name"] != "sgpo-settings" or setting["key"] not in setting_keys):
        yield f"{name} comes from {setting['name']}.{setting['key']}, which settings.env does not have"


def lease_folder() -> Path:
    """Where a Prefect server with this process's environment keeps concurrency leases; AssertionError: in memory."""
    from prefect.settings import PREFECT_HOME, temporary_settings
    from prefect.settings.models.root import Settings

    settings = Settings()
    assert settings.server.concurrency.lease_storage.endswith(".filesystem")
    storage = importlib.import_module(settings.server.concurrency.lease_storage).ConcurrencyLeaseStorage
    with temporary_settings({PREFECT_HOME: settings.home}):
        return storage().storage_path


def environment_names(path: Path) -> set[str]:
    """The variables that an environment file sets."""
    return set(re.findall(r"^([A-Z0-9_]+)=", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def longest_silence() -> float:
    """Return the seconds without a heartbeat after which flows/automations.yaml has a run crash."""
    tree = yaml.safe_load((REPOSITORY / "flows" / "automations.yaml").read_text(encoding="utf-8"))
    (trigger,) = (item["trigger"] for item in tree["automations"] if item["trigger"]["posture"] == "Proactive")
    return trigger["within"]
