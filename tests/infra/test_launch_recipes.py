"""Several nodes: the Kubernetes training job and the Slurm script, read by torchrun and by `sgpo`; and a rendezvous."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import UnreadableCommand, read_sgpo, read_torchrun
from validation import INFRA, REPOSITORY, documents, tool

pytestmark = pytest.mark.slow

SCRIPT = INFRA / "slurm" / "train.sbatch"
SERVICE, JOB = documents(INFRA / "kubernetes" / "training-job.yaml")
POD: dict[str, Any] = JOB["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
ENVIRONMENT = {item["name"]: item["value"] for item in CONTAINER["env"] if "value" in item}


def job_arguments() -> list[str]:
    """torchrun's arguments as Kubernetes would expand them."""
    expanded = [re.sub(r"\$\(([A-Z0-9_]+)\)", lambda name: ENVIRONMENT[name[1]], word) for word in CONTAINER["args"]]
    assert expanded[0] == "/opt/training/bin/torchrun"
    return expanded[1:]


def script_arguments(arguments: list[str]) -> list[str]:
    """torchrun's arguments as the script's shell would expand them on two nodes."""
    text = SCRIPT.read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"^srun .* -m torch\.distributed\.run (.*) &$", text, re.MULTILINE)
    values = {"SLURM_JOB_NUM_NODES": "2", "processes": "gpu", "SLURM_JOB_ID": "7", "host": "n1", "port": "29500"}
    command = command.replace("${SLURM_RESTART_COUNT:-0}", "0").replace('"$@"', shlex.join(arguments))
    command = re.sub(r"\$(\w+)", lambda name: values[name[1]], command)
    return shlex.split(command)


def header_arguments() -> list[str]:
    """What the script's own example gives to `sgpo train`."""
    (example,) = re.findall(r"^#   sbatch .*train\.sbatch (.*)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(example)


def test_the_training_job_is_a_command_that_torchrun_and_sgpo_know() -> None:
    read = read_torchrun(job_arguments())
    assert (read.nnodes, read.nproc_per_node, read.rdzv_backend) == ("2", "8", "c10d")
    with pytest.raises(UnreadableCommand):
        read_torchrun([*job_arguments(), "--no-such-option=1"])


def test_the_training_job_s_nodes_meet_at_a_name_that_they_have() -> None:
    endpoint = read_torchrun(job_arguments()).rdzv_endpoint
    name, _, port = endpoint.partition(":")
    assert name == f"{JOB['metadata']['name']}-0.{SERVICE['metadata']['name']}"
    assert POD["subdomain"] == SERVICE["metadata"]["name"]
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["publishNotReadyAddresses"] is True
    assert int(port) == SERVICE["spec"]["ports"][0]["port"]
    assert SERVICE["spec"]["selector"].items() <= JOB["spec"]["template"]["metadata"]["labels"].items()


def test_the_training_job_has_as_many_pods_as_nodes_and_as_many_processes_as_gpus() -> None:
    spec = JOB["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(ENVIRONMENT["NODES"])
    assert CONTAINER["resources"]["limits"]["nvidia.com/gpu"] == ENVIRONMENT["PROCESSES_PER_NODE"]
    assert POD["terminationGracePeriodSeconds"] > 30  # torchrun's own patience


def test_the_recipes_of_the_launchers_are_there() -> None:
    assert (REPOSITORY / ENVIRONMENT["CONFIG"]).is_file()
    arguments = header_arguments()
    assert (REPOSITORY / arguments[arguments.index("--config") + 1]).is_file()


def test_the_script_is_clean_bash_with_the_directives_that_bring_it_back() -> None:
    assert tool("shellcheck", str(SCRIPT)) == ""
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    directives = re.findall(r"^#SBATCH (--[\w-]+)(?:=(\S+))?$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(directives) == SCRIPT.read_text(encoding="utf-8").count("#SBATCH ")
    assert {name: value for name, value in directives if name in ("--signal", "--ntasks-per-node", "--requeue")} == {
        "--ntasks-per-node": "1",  # one torchrun a node
        "--requeue": "",
        "--signal": "B:USR1@300",
    }
    assert "trap requeue USR1" in SCRIPT.read_text(encoding="utf-8")


def test_a_script_that_is_not_clean_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.sbatch"
    path.write_text(SCRIPT.read_text(encoding="utf-8").replace('"$host:$port"', '"$host:$prot"'), encoding="utf-8")
    assert "prot is referenced but not assigned" in tool("shellcheck", str(path))


def test_the_script_s_command_is_one_that_torchrun_and_sgpo_know() -> None:
    read = read_torchrun(script_arguments(header_arguments()))
    assert (read.nnodes, read.nproc_per_node, read.rdzv_endpoint, read.rdzv_id) == ("2", "gpu", "n1:29500", "7.0")
    with pytest.raises(UnreadableCommand):
        read_torchrun(script_arguments(["--model", "data/champion"]))  # no --run


def test_the_readme_s_commands_are_ones_that_torchrun_and_sgpo_know() -> None:
    text = (INFRA / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^(?:\.venv/bin/)?torchrun (.+)$", text, re.MULTILINE)
    assert len(commands) >= 2  # one node, several nodes
    for command in commands:
        read_torchrun(shlex.split(command.replace("$HEAD", "n1")))
    for command in re.findall(r"^(?:\.venv/bin/)?sgpo (.+)$", text, re.MULTILINE):
        read_sgpo(shlex.split(command, comments=True))


def test_two_nodes_meet_by_the_training_job_s_own_arguments() -> None:
    arguments = job_arguments()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = arguments[: arguments.index("-m")]
    replaced = {"--nproc-per-node": "1", "--rdzv-endpoint": f"127.0.0.1:{port}", "--max-restarts": "0"}
    options = [f"{name}={replaced.get(name, value)}" for name, value in (option.split("=", 1) for option in options)]
    command = [sys.executable, "-m", "torch.distributed.run", *options, str(Path(__file__).parent / "rendezvous.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    nodes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for node in nodes:
        output, errors = node.communicate(timeout=180)
        assert node.returncode == 0, errors[-6000:]
        assert output.splitlines() == ["world of 2, sum 3"]
