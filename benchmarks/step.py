"""One optimiser step on the same rollouts: SGPO with distillation against TRL's GRPOTrainer, seconds and peak memory.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python benchmarks/step.py [--rounds 5]

The testbed's base model (run `make demo` once) answers 16 problems 12 times without and 4 times with the strategy.
SGPO's step is on 8 + 4 of them: choose targets, look at them with the strategy, GRPO and distillation, clip, AdamW.
TRL's is on all 12 without the strategy: the same sample budget, the same model, AdamW. Sampling is in neither. Each
line is a process of its own, the best of its rounds; memory is the resident set's peak beyond what it was before the
first step.
TRL is shown at several micro-batch sizes, and compared at its fastest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from sgpo.algorithms.registry import build
from sgpo.config import TrainingConfig, load_config
from sgpo.objectives import group_advantages
from sgpo.problems import Verifier, read_problems
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model, pad_id
from sgpo.rollouts.schema import GroupSizes, ProblemSamples, Rollout
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.strategies.bank import load_strategies
from sgpo.training.optimisation import make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.step import Gradient
from sgpo.training.world import World

BASE, DATA, PROBLEMS = Path("data/base/qwen2"), Path("data"), 16
TRL_BATCHES = (192, 48, 12)


def sample() -> list[ProblemSamples]:
    """12 autonomous and 4 guided rollouts of each problem."""
    model, tokenizer = load_model(BASE)
    strategies = load_strategies(DATA / "strategies.parquet")
    problems = [p for p in read_problems(DATA / "splits" / "train.parquet") if p.id in strategies][:PROBLEMS]
    texts = {key: strategy.text() for key, strategy in strategies.items()}
    with Verifier(timeout_s=5.0) as verifier:
        sampler = Sampler(TransformersEngine(model, tokenizer), tokenizer, verifier, texts, run_seed=0)
        return sampler.sample(problems, GroupSizes(12, 4), recipe().sampling, step=0)[0]


def recipe() -> TrainingConfig:
    """What the demo trains with."""
    return load_config("configs/testbed.yaml").training


def sgpo_step(samples: list[ProblemSamples]) -> Callable[[], object]:
    """Ours, on the first 8 autonomous and the 4 guided rollouts."""
    model, tokenizer = load_model(BASE)
    policy, config = Policy(model), recipe()
    groups = [
        ProblemSamples(s.problem_id, s.autonomous_prompt, s.guided_prompt, s.autonomous[:8], s.guided) for s in samples
    ]
    gradient = Gradient(policy, build(config, 0), config, World(0, 1, torch.device("cpu")), pad_id(tokenizer))
    optimizer = make_optimizer(policy, config)

    def step() -> dict[str, float]:
        (minibatch,) = gradient.minibatches(groups, 0, len(groups))
        sums = gradient.accumulate(minibatch)
        optimizer_step(policy, optimizer, 1e-9, config.max_grad_norm)
        return sums

    return step


def trl_step(samples: list[ProblemSamples], rows: int, folder: str) -> Callable[[], object]:
    """GRPOTrainer's training step on the 12 autonomous rollouts of each problem, `rows` of them at a time."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = load_model(BASE)
    config = recipe()
    arguments = GRPOConfig(
        output_dir=folder, per_device_train_batch_size=rows, gradient_accumulation_steps=192 // rows,
        num_generations=12, loss_type="grpo", epsilon=0.2, epsilon_high=0.28, beta=0.0,
        temperature=config.sampling.temperature,
        max_completion_length=config.sampling.max_new_tokens, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "never asked"}]), processing_class=tokenizer,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 192 // rows
    trainer._prepare_inputs = lambda inputs: inputs  # the rollouts are there already
    whole = trl_batch(samples, pad_id(tokenizer))
    parts = [{name: value[start : start + rows] for name, value in whole.items()} for start in range(0, 192, rows)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9)
    model.train()

    def step() -> None:
        for part in parts:
            trainer.training_step(model, part, None)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def trl_batch(samples: list[ProblemSamples], pad: int) -> dict[str, torch.Tensor]:
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


def measure(name: str, file: Path, rounds: int) -> dict[str, float]:
    """Best seconds of a step, and the peak's growth in MiB over all of them, in this process."""
    samples = [_from_json(row) for row in json.loads(file.read_text(encoding="utf-8"))]
    with tempfile.TemporaryDirectory() as folder:
        step = sgpo_step(samples) if name == "sgpo" else trl_step(samples, int(name), folder)
        before, times, sums = _peak(), [], None
        for _ in range(rounds + 1):
            started = time.perf_counter()
            sums = step()
            times.append(time.perf_counter() - started)
    result = {"seconds": min(times[1:]), "mib": (_peak() - before) / 2**20}
    if isinstance(sums, dict):
        result["padding"] = sums["padding_tokens"] / sums["padded_tokens"]
        result["kd_loss"] = sums["kd_loss"]
    return result


def _peak() -> int:
    """Most bytes resident in this process so far; getrusage's figure would include its parent's before exec."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def _from_json(row: dict) -> ProblemSamples:
    def rollouts(name: str) -> tuple[Rollout, ...]:
        return tuple(
            Rollout(**{**r, "token_ids": tuple(r["token_ids"]), "logprobs": tuple(r["logprobs"])}) for r in row[name]
        )

    prompts = tuple(row["autonomous_prompt"]), tuple(row["guided_prompt"])
    return ProblemSamples(row["problem_id"], *prompts, rollouts("autonomous"), rollouts("guided"))


def main() -> None:
    """Sample once, then measure each version in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("VERSION", "ROLLOUTS"), help="measure this alone; print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], Path(arguments.one[1]), arguments.rounds)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rollouts.json"
        samples = sample()
        file.write_text(json.dumps([asdict(problem) for problem in samples]), encoding="utf-8")
        unequal = sum(len({r.reward for r in s.autonomous[:8]}) > 1 for s in samples)
        targets = sum(s.pass_rate("guided") > 0 for s in samples)
        print(f"{unequal} of {PROBLEMS} autonomous groups have unequal rewards, {targets} problems a guided target")
        results: dict[str, dict[str, float]] = {}
        for name in ("sgpo", *map(str, TRL_BATCHES)):
            command = [sys.executable, __file__, "--rounds", str(arguments.rounds), "--one", name, str(file)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[name] = json.loads(done.stdout.splitlines()[-1])
    fastest = min(results[str(rows)]["seconds"] for rows in TRL_BATCHES)
    print(f"{torch.get_num_threads()} threads; {results['sgpo']['padding']:.1%} of SGPO's tokens are padding\n")
    print("| step | seconds | against TRL's fastest | extra peak MiB |\n|---|---|---|---|")
    for name, result in results.items():
        label = "SGPO, 8 + 4 rollouts" if name == "sgpo" else f"TRL GRPOTrainer, 12 rollouts, {name} rows at a time"
        print(f"| {label} | {result['seconds']:.2f} | {result['seconds'] / fastest:.2f} | {result['mib']:.0f} |")


if __name__ == "__main__":
    main()
