"""What sgpo adds to a vLLM worker, through vLLM's own hook for it (`--worker-extension-cls`)."""

from __future__ import annotations

from typing import Any

from sgpo.config import ChatConfig
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.model_folder import open_tokenizer


class PolicyWorker:
    """Mixed into vLLM's worker class: these methods are called by `collective_rpc`.

    vLLM tells log-probabilities either of the raw logits, which is temperature 1, or after top-p, which is not what the
    trainer computes. What is wanted is log softmax(logits / temperature) before top-p. So the temperature is applied
    where the logits are made, and vLLM samples at temperature 1: its raw log-probabilities are then the right ones.
    """

    model_runner: Any
    vllm_config: Any

    def scale_logits(self, scale: float) -> list[float]:
        """Multiply all logits by `scale`, 1 / temperature, from now on; returns [scale]."""
        model = self.model_runner.get_model()
        processor = getattr(model, "logits_processor", None)
        if processor is None or not hasattr(processor, "scale"):
            raise ValueError(f"{type(model).__name__} has no scale of logits (expected a Llama- or Qwen-like model)")
        processor.scale = float(scale)
        return [processor.scale]

    def render_prompt(self, question: str, strategy: str | None, chat: dict[str, Any]) -> list[int]:
        """Token ids of a prompt by the tokenizer and chat template in this engine's own model folder."""
        tokenizer = open_tokenizer(self.vllm_config.model_config.tokenizer)
        return ChatFormat(tokenizer, ChatConfig.model_validate(chat)).build(question, strategy)
