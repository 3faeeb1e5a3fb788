"""Sleeping between phases. vLLM sleeps on CUDA alone, so what it is told is checked against its rules, not run."""

from __future__ import annotations

import pytest

from sgpo.config import ConfigError, SamplingConfig, load_config
from sgpo.rollouts.vllm.engine import VllmEngine

pytestmark = pytest.mark.slow


class Rules:
    """vLLM's: nothing is used while it sleeps, nothing that is awake is woken."""

    def __init__(self) -> None:
        self.asleep: set[str] = set()
        self.told: list[str] = []

    def sleep(self, level: int) -> None:
        assert level == 1
        assert not self.asleep
        self.asleep = {"weights", "kv_cache"}
        self.told.append("sleep")

    def wake_up(self, tags: list[str]) -> None:
        assert set(tags) <= self.asleep
        self.asleep -= set(tags)
        self.told.append(f"wake {' '.join(tags)}")

    def collective_rpc(self, method: str, args=(), kwargs=None) -> list[None]:
        assert "weights" not in self.asleep
        self.told.append(method)
        return [None]

    def reset_prefix_cache(self) -> bool:
        return True


def engine_with(rules: Rules) -> VllmEngine:
    engine = VllmEngine.__new__(VllmEngine)
    engine._llm, engine._asleep, engine._sleeps, engine.policy_step = rules, set(), True, None
    engine._names = type("Names", (), {"checked": staticmethod(lambda tensors: tensors)})()
    engine.positions, engine.vocabulary = 64, 64
    return engine


def test_weights_wake_before_they_are_loaded_and_the_cache_only_for_sampling() -> None:
    rules = Rules()
    engine = engine_with(rules)
    engine.load_weights([], 0)
    engine.release_device()
    engine.release_device()  # a step that sampled nothing
    engine.load_weights([], 1)
    assert rules.asleep == {"kv_cache"}
    engine._wake("weights", "kv_cache")  # what `generate` begins with
    assert not rules.asleep
    assert rules.told == ["reload_weights", "sleep", "wake weights", "reload_weights", "wake kv_cache"]


def test_an_empty_call_wakes_nothing() -> None:
    rules = Rules()
    engine = engine_with(rules)
    engine.release_device()
    assert engine.generate([], SamplingConfig(), []) == []
    assert rules.told == ["sleep"]


def test_only_vllm_in_process_sleeps() -> None:
    with pytest.raises(ConfigError, match=r"sleep is true but kind is 'transformers' \(expected kind vllm"):
        load_config(None, ["engine.sleep=true"])
