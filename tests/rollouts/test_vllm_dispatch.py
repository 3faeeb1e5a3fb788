"""Several servers as one engine: every request answered once, whatever happens to a server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from loopback_server import LoopbackServer, expected_tokens
from safetensors.torch import load_file
from testbed_models import make_prompts
from tiny_models import tiny_model

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.engine import EngineError
from sgpo.rollouts.vllm.server import VllmServerEngine

pytestmark = pytest.mark.slow

SAMPLING = SamplingConfig(temperature=0.8, top_p=0.9, max_new_tokens=8)
GREEDY = SAMPLING.model_copy(update={"temperature": 0.0})
GENERATE = "/inference/v1/generate"
MODEL = tiny_model("qwen2")


@pytest.fixture
def two() -> Iterator[list[LoopbackServer]]:
    servers = [LoopbackServer(), LoopbackServer()]
    yield servers
    for server in servers:
        if not server.down:
            server.stop()


@pytest.fixture
def engine(two: list[LoopbackServer], tmp_path: Path) -> VllmServerEngine:
    settings = EngineConfig(kind="vllm-server", attempts=2, concurrency=8)
    return VllmServerEngine([server.url for server in two], MODEL.config, [1], tmp_path / "weights", settings)


def follower_of(engine: VllmServerEngine) -> VllmServerEngine:
    """The engine of a second process on the same servers."""
    settings = EngineConfig(kind="vllm-server", attempts=1)
    return VllmServerEngine(engine.urls, MODEL.config, [1], engine.folder, settings, is_main=False)


def ask(engine: VllmServerEngine, prompts: int = 20, samples: int = 4) -> tuple[list, list]:
    """Responses and what they should be: every prompt several times."""
    drawn = make_prompts(prompts, MODEL.config.vocab_size)
    repeated = [prompt for prompt in drawn for _ in range(samples)]
    seeds = list(range(len(repeated)))
    responses = engine.generate(repeated, SAMPLING, seeds)
    return [list(response.token_ids) for response in responses], [
        expected_tokens(prompt, seed) for prompt, seed in zip(repeated, seeds, strict=True)
    ]


def answered(servers: list[LoopbackServer]) -> Counter:
    return Counter(pair for server in servers for pair in server.answered)


def test_answers_come_in_the_order_asked_and_a_prompt_s_samples_from_one_server(engine, two) -> None:
    responses, expected = ask(engine)
    assert responses == expected
    assert set(answered(two).values()) == {1}
    assert [len(server.answered) for server in two] == [40, 40]
    assert not {prompt for prompt, _ in two[0].answered} & {prompt for prompt, _ in two[1].answered}
    assert [server.scale for server in two] == [1.25, 1.25]  # 1 / temperature, before top-p


def test_a_server_that_dies_in_the_middle_costs_its_requests_and_nothing_twice(engine, two, capsys) -> None:
    two[1].stop_after = 7
    responses, expected = ask(engine)
    assert responses == expected
    assert len(two[1].answered) == 7
    counts = answered(two)
    assert len(counts) == 80
    # An answer that was sent and not received when its server died is the only one that may be drawn again.
    assert sum(counts.values()) <= 87
    assert "of its 40 requests go elsewhere" in capsys.readouterr().out


def test_a_server_that_is_gone_from_the_start_is_left_out(engine, two) -> None:
    two[0].stop()
    responses, expected = ask(engine)
    assert responses == expected
    assert len(two[1].answered) == 80


def test_when_all_servers_are_gone_the_error_is_one_line_with_their_addresses(engine, two) -> None:
    two[0].stop_after = two[1].stop_after = 3
    with pytest.raises(
        EngineError, match=r"none of the servers http://127.* answers.*\(expected at least one\)"
    ) as error:
        ask(engine)
    assert all(server.url in str(error.value) for server in two)
    assert "\n" not in str(error.value)


def test_a_busy_server_is_asked_again(engine, two) -> None:
    two[0].failures = 1
    responses, expected = ask(engine)
    assert responses == expected
    assert [len(server.answered) for server in two] == [40, 40]


def test_an_answer_from_other_weights_is_not_taken(engine, two) -> None:
    two[0].stale_answers = 1
    responses, expected = ask(engine)
    assert responses == expected
    engine.load_weights(MODEL.named_parameters(), 3)
    two[0].version = "default"  # restarted by somebody: it has lost the weights
    ask(engine)
    assert len(two[0].loaded) == 2
    assert two[0].version == two[1].version


def test_weights_are_published_whole_before_any_server_is_told(engine, two) -> None:
    engine.load_weights(MODEL.named_parameters(), 5)
    assert engine.policy_step == 5
    (folder,) = {path for server in two for path in server.loaded}
    tensors = load_file(next(Path(folder).glob("*.safetensors")))
    assert tensors.keys() == dict(MODEL.named_parameters(remove_duplicate=False)).keys()  # the tied projection too
    assert all(torch.equal(tensors[name], value) for name, value in MODEL.named_parameters())
    engine.load_weights(MODEL.named_parameters(), 6)
    assert not Path(folder).exists()  # one copy is kept
    assert len({response.policy_step for response in engine.generate([[9]], SAMPLING, [0])} & {6}) == 1


def test_processes_that_follow_sample_from_what_the_first_one_loaded(engine, two) -> None:
    follower = follower_of(engine)
    engine.load_weights(MODEL.named_parameters(), 2)
    follower.follow_weights()
    engine.generate([[9]] * 2, SAMPLING, [0, 1])  # sets the temperature
    two[1].version = "default"
    assert follower.generate([[9]] * 4, SAMPLING, [0, 1, 2, 3])[0].policy_step == 2
    assert len(two[1].loaded) == 1  # it does not load weights itself


def test_a_server_with_weights_of_another_run_is_refused_until_it_gets_ours(engine, two) -> None:
    two[0].version = "1234:7@1"
    with pytest.raises(
        EngineError, match=r"has weights '1234:7@1' of another run \(expected a server as it was started"
    ):
        ask(engine)
    engine.load_weights(MODEL.named_parameters(), 0)
    responses, expected = ask(engine)
    assert responses == expected


@pytest.mark.parametrize("share", [0, 3])  # of the first process: a step may have fewer problems than processes
def test_processes_change_the_temperature_together_whichever_asks_first(engine, two, share: int) -> None:
    follower, meeting = follower_of(engine), threading.Barrier(2)
    engine.barrier = follower.barrier = lambda: meeting.wait(20)
    engine.load_weights(MODEL.named_parameters(), 0)
    follower.follow_weights()
    with ThreadPoolExecutor() as pool:
        for sampling, scale in ((GREEDY, 1.0), (SAMPLING, 1.25), (GREEDY, 1.0), (SAMPLING, 1.25)):
            first = pool.submit(follower.generate, [[9]] * 4, sampling, range(4))
            engine.generate([[8]] * share, sampling, list(range(share)))
            assert {response.policy_step for response in first.result(20)} == {0}
            assert [server.scale for server in two] == [scale, scale]


def test_new_weights_are_sampled_at_the_temperature_before_by_whichever_process_asks_first(engine, two) -> None:
    follower = follower_of(engine)
    for process in (engine, follower):
        process.generate([], SAMPLING, [])
    for step in (1, 2):
        engine.load_weights(MODEL.named_parameters(), step)
        follower.follow_weights()
        responses = follower.generate([[9]] * 4, SAMPLING, [0, 1, 2, 3])
        assert [response.policy_step for response in responses] == [step] * 4
        assert [server.scale for server in two] == [1.25, 1.25]


@pytest.mark.parametrize("path", [GENERATE, "/weight_info"])
@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, b"<html>a proxy's page</html>"),
        (200, {}, b"{}"),
        (200, {}, b"[]"),
        (200, {"Content-Encoding": "gzip"}, b"not compressed"),
        (404, {}, b"{}"),
        (429, {}, b"too many requests"),
        (503, {}, b"busy"),
    ],
)
def test_a_server_whose_answers_are_none_is_lost_and_the_others_answer(
    engine, two, path: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    two[0].says[path] = (status, headers, body)
    responses, expected = ask(engine)
    assert responses == expected
    assert len(two[1].answered) == 80


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"no such page", r"404 no such page \(expected vLLM 0\.32 in development mode with --enable-scale-out"),
        (429, b"too many", r"429 too many \(expected at least one\)"),
        (200, b"<html>", r"not an answer of vLLM's \(JSONDecodeError .*\) \(expected at least one\)"),
        (200, b"{}", r"not an answer of vLLM's \(KeyError 'choices'\) \(expected at least one\)"),
    ],
)
def test_when_no_server_serves_the_error_says_what_one_of_them_answers(
    engine, two, status: int, body: bytes, message: str
) -> None:
    for server in two:
        server.says[GENERATE] = (status, {}, body)
    with pytest.raises(EngineError, match=rf"none of the servers .*{GENERATE}: {message}") as error:
        ask(engine)
    assert "\n" not in str(error.value)


def test_how_to_start_a_server_is_said_when_one_is_gone_and_the_other_is_no_vllm(engine, two) -> None:
    two[0].stop()
    two[1].says["/weight_info"] = (404, {}, b"")
    with pytest.raises(EngineError, match=r"404 \(expected vLLM 0\.32 in development mode"):
        ask(engine)


def test_a_request_that_a_server_refuses_ends_the_run(engine, two) -> None:
    two[0].says[GENERATE] = (400, {}, b"bad seed")
    with pytest.raises(EngineError, match=r"400 bad seed \(expected a request that vLLM accepts\)"):
        ask(engine)


def test_prompts_are_written_by_the_servers_that_answer(engine, two) -> None:
    two[0].says["/collective_rpc"] = (200, {}, b"{}")
    two[0].version = two[1].version = "default@1"
    assert engine.prompt_ids("a question", None) == [1]  # what the loopback server says to any call
    two[1].says["/collective_rpc"] = (200, {}, b"{}")
    with pytest.raises(EngineError, match=r"expected a server that can write prompts"):
        engine.prompt_ids("a question", None)
