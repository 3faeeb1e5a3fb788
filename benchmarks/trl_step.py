"""TRL's GRPOTrainer for one step on rollouts that are there already, with AdamW, and no distillation."""

from collections.abc import Callable

import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from sgpo.config import TrainingConfig
from sgpo.objectives import group_advantages
from sgpo.rollouts.schema import ProblemSamples


def trl_step(
    model: PreTrainedModel, samples: list[ProblemSamples], rows: int, folder: str, config: TrainingConfig
) -> Callable[[], object]:
    """Return a call of GRPOTrainer's step on the autonomous rollouts of each problem, `rows` of them at a time.

    On a GPU products are in bfloat16 under autocast, with float32 weights as ours. The trainer wants a folder to write
    to, and writes nothing there.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    whole, on_gpu = trl_batch(samples), model.device.type == "cuda"
    whole = {name: value.to(model.device) for name, value in whole.items()}
    group, total = len(samples[0].autonomous), len(whole["advantages"])
    arguments = GRPOConfig(
        output_dir=folder, per_device_train_batch_size=rows, gradient_accumulation_steps=total // rows,
        num_generations=group, loss_type="grpo", epsilon=0.2, epsilon_high=0.28, beta=0.0,
        temperature=config.sampling.temperature,
        max_completion_length=config.sampling.max_new_tokens, report_to=[], use_cpu=not on_gpu, bf16=on_gpu,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "never asked"}]),
        processing_class=_numbers_as_words(model.config.vocab_size),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = total // rows
    trainer._prepare_inputs = lambda inputs: inputs  # the rollouts are there already
    parts = [{name: value[start : start + rows] for name, value in whole.items()} for start in range(0, total, rows)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9, fused=on_gpu or None)
    model.train()

    def step() -> None:
        for part in parts:
            with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
                trainer.training_step(model, part, None)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def trl_batch(samples: list[ProblemSamples], pad: int = 0) -> dict[str, torch.Tensor]:
    """As GRPOTrainer lays it out: prompts padded on the left, responses on the right, over the whole batch."""
    prompts = [problem.autonomous_prompt for problem in samples for _ in problem.autonomous]
    responses = [rollout.token_ids for problem in samples for rollout in problem.autonomous]
    rewards = torch.tensor([[rollout.reward for rollout in problem.autonomous] for problem in samples])
    wide, long = max(map(len, prompts)), max(map(len, responses))
    lengths = torch.tensor([len(response) for response in responses])
    return {
        "prompt_ids": torch.tensor([[pad] * (wide - len(prompt)) + list(prompt) for prompt in prompts]),
        "prompt_mask": torch.tensor([[0] * (wide - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        "completion_ids": torch.tensor([[*response, *([pad] * (long - len(response)))] for response in responses]),
        "completion_mask": (torch.arange(long) < lengths[:, None]).long(),
        "advantages": group_advantages(rewards).flatten(),
    }


def _numbers_as_words(vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer for token ids that nobody reads as text."""
    words = {str(number): number for number in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="2"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="0", eos_token="1", unk_token="2")
