"""Two real vLLM servers, one of which is killed. After test_engines.py, which needs both."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest
from testbed_models import make_prompts, needs_vllm, worst_logprob_error

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.model_folder import load_model

pytestmark = [pytest.mark.slow, needs_vllm]


def kill_when_busy(server) -> None:
    """SIGKILL to the server and its workers as soon as it is decoding."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = httpx.get(f"{server.url}/metrics", timeout=10, trust_env=False).text
        running = [line for line in text.splitlines() if line.startswith("vllm:num_requests_running")]
        if running and float(running[0].split()[-1]) > 0:
            break
        time.sleep(0.02)
    os.killpg(server.process.pid, signal.SIGKILL)


def test_a_server_that_is_killed_in_the_middle_of_a_step_costs_nothing_but_time(
    servers, old_folder: Path, tmp_path: Path, capsys
) -> None:
    from sgpo.rollouts.vllm.server import VllmServerEngine

    model, tokenizer = load_model(old_folder)
    settings = EngineConfig(kind="vllm-server", attempts=2)
    engine = VllmServerEngine([s.url for s in servers], model.config, tokenizer, tmp_path / "weights", settings)
    engine.end_ids = (0,)  # padding, which is rare: responses are long
    engine.load_weights(model.named_parameters(), 4)  # the second server was started with other weights
    prompts = [prompt for prompt in make_prompts(16, model.config.vocab_size) for _ in range(12)]
    sampling = SamplingConfig(temperature=1.0, top_p=0.95, max_new_tokens=200)
    killer = threading.Thread(target=kill_when_busy, args=(servers[1],))
    killer.start()
    responses = engine.generate(prompts, sampling, list(range(192)))
    killer.join()
    assert "of its 96 requests go elsewhere" in capsys.readouterr().out
    assert len(responses) == 192
    for response in responses:
        ended = response.token_ids[-1] == 0
        assert response.finish_reason == ("stop" if ended else "length")
        assert ended or len(response.token_ids) == 200
    longer = [response.token_ids for response in responses if len(response.token_ids) > 8]
    assert len(set(longer)) == len(longer) > 150
    assert {response.policy_step for response in responses} == {4}
    assert worst_logprob_error(model, prompts[::12], responses[::12], 1.0) < 1e-4
    assert servers[1].process.wait(60) != 0
