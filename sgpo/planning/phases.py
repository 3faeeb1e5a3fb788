"""Seconds of each phase of a step, in the order of Algorithm 1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sgpo.config import RunConfig
from sgpo.planning import counts
from sgpo.planning.cost import Cost, backward_cost, forward_cost
from sgpo.planning.counts import Extent, plain_rows
from sgpo.planning.devices import DEVICES_PER_NODE, Device
from sgpo.planning.efficiency import efficiency_of
from sgpo.planning.memory import VLLM_RESERVE, Memory, trained_parameters, width_of
from sgpo.planning.sampling import decode_cost, prompt_cost
from sgpo.planning.shapes import PlanError, Shape
from sgpo.planning.workload import Workload


@dataclass(frozen=True, slots=True)
class Machine:
    """What a step is computed on, and by which recipe."""

    shape: Shape
    config: RunConfig
    device: Device
    gpus: int

    @property
    def precision(self) -> str:
        """Return the precision of forward and backward."""
        return self.config.sharding.precision

    @property
    def link(self) -> float:
        """Return the bytes a second that gathering and scattering reach."""
        within = self.gpus <= DEVICES_PER_NODE
        rate = self.device.link if within else min(self.device.link, self.device.network)
        return rate * efficiency_of(self.device).links

    def microbatches(self, extent: Extent) -> int:
        """Return how many micro-batches a device has of rows that lie over all of them."""
        return math.ceil(extent.tokens / self.gpus / self.config.training.tokens_per_microbatch) if extent.tokens else 0

    def gathering(self, extent: Extent, width: float) -> Cost:
        """Return the cost on the links when `width` bytes of every parameter pass for each micro-batch."""
        if self.gpus == 1:
            return Cost()
        passing = counts.parameters(self.shape) * width * (self.gpus - 1) / self.gpus
        return Cost(links=self.microbatches(extent) * passing / self.link)


def phases_of(machine: Machine, work: Workload, memory: Memory) -> dict[str, Cost]:
    """Return each phase's cost on one device, which is the step's: devices work side by side.

    Without verifier and checkpoints, which run beside or seldom. Raises PlanError where no response fits the cache.
    """
    compiled = machine.config.sharding.compile is not False and not machine.device.measured
    machine = replace(machine, device=replace(machine.device, compiled=compiled))
    passes = efficiency_of(machine.device)
    phases = {
        "sampling": sampling_cost(machine, work, memory),
        "scoring candidates (Eq. 4)": _without_gradient(machine, work.scoring, passes.scoring_passes),
        "old log-probabilities": _without_gradient(machine, work.old_logprobs, passes.scoring_passes),
        "guide forward": _without_gradient(machine, work.guide, 0.0, logits=False),
        "forward and backward": _with_gradient(machine, work.policy, passes.vocabulary_passes)
        + _with_gradient(machine, work.distillation, passes.divergence_passes, guide_logits=True),
        "optimiser": _optimizer(machine, work),
        "weight sync": _sync(machine),
    }
    return {name: cost for name, cost in phases.items() if cost.seconds > 0.0}


def sampling_cost(machine: Machine, work: Workload, memory: Memory) -> Cost:
    """Return the cost of a step's rollouts on the engines of the recipe."""
    engine, shape, device = machine.config.engine, machine.shape, machine.device
    reached = efficiency_of(device)
    vllm = engine.kind != "transformers"
    engines = machine.gpus if engine.kind != "vllm-server" else len(engine.urls) or engine.replicas
    room = float(engine.concurrency if engine.kind == "vllm-server" else machine.config.training.sampling.batch_size)
    prompt = (work.prompt * work.autonomous + work.guided_prompt * work.guided) / max(1, work.autonomous + work.guided)
    if vllm:
        room = min(room, _room(machine, work, memory, prompt))
    host = reached.vllm_step_s if vllm else reached.transformers_layer_s * shape.layers
    prompts = (plain_rows(work.prompt, 0, 1) + plain_rows(work.guided_prompt, 0, 1) * (work.guided > 0)) * work.problems
    read = prompt_cost(shape, device, machine.precision, prompts * (1.0 / engines))
    drawn = decode_cost(
        shape, device, machine.precision, prompt, work.lengths, work.rollouts / engines, room, host, continuous=vllm
    )
    return read + drawn


def _room(machine: Machine, work: Workload, memory: Memory, prompt: float) -> float:
    """Responses that the cache holds at once, by their mean length so far, and at least the longest one."""
    width = width_of(machine.precision)
    one = counts.kv_bytes(machine.shape, width)
    cache = memory.kv_cache - (0.0 if machine.device.measured else VLLM_RESERVE)
    if machine.config.engine.kind == "vllm-server":
        cache = machine.config.engine.gpu_memory_share * machine.device.memory - VLLM_RESERVE
        cache -= width * counts.parameters(machine.shape)
    longest = one * (prompt + work.lengths.longest)
    if cache < longest:
        raise PlanError(
            f"keys and values of one response of {work.lengths.longest:.0f} tokens take {longest / 2**30:.1f} GiB and "
            f"the engine has {max(0.0, cache) / 2**30:.1f} GiB beside its weights (expected a larger "
            "engine.gpu_memory_share, or a smaller training.sampling.max_new_tokens)"
        )
    return cache / (one * (prompt + work.lengths.square / (2.0 * work.lengths.mean)))


def _without_gradient(machine: Machine, extent: Extent, passes: float, logits: bool = True) -> Cost:
    part = extent * (1.0 / machine.gpus)
    part = part if logits else Extent(part.tokens, part.pairs, 0.0)
    cost = forward_cost(machine.shape, machine.device, machine.precision, part, passes)
    return cost + machine.gathering(extent, width_of(machine.precision))


def _with_gradient(machine: Machine, extent: Extent, passes: float, guide_logits: bool = False) -> Cost:
    """Weights are gathered for forward and again for backward; float32 gradients are scattered."""
    part, recompute = extent * (1.0 / machine.gpus), machine.config.sharding.activation_checkpointing
    cost = backward_cost(machine.shape, machine.device, machine.precision, part, passes, recompute)
    if guide_logits:
        logits = Extent(0, 0, part.predicted)
        guide = forward_cost(machine.shape, machine.device, machine.precision, logits, 0.0)
        cost = cost + replace(guide, flops=0.0)  # needed, but not of the policy's own work
    return cost + machine.gathering(extent, 2 * width_of(machine.precision) + 4)


def _optimizer(machine: Machine, work: Workload) -> Cost:
    trained = trained_parameters(machine.shape, machine.config)
    shards = machine.gpus / machine.config.sharding.replicas
    moved = counts.optimizer_bytes(trained / shards) * work.minibatches
    return Cost(traffic=moved / (machine.device.bandwidth * efficiency_of(machine.device).copies))


def _sync(machine: Machine) -> Cost:
    """Return the cost of bringing float32 weights together and writing them into the engine."""
    if machine.config.engine.kind == "transformers" and machine.gpus == 1 and machine.precision == "float32":
        return Cost()
    size, width = counts.parameters(machine.shape), width_of(machine.precision)
    copies = machine.device.bandwidth * efficiency_of(machine.device).copies
    passing = 4.0 * size * (machine.gpus - 1) / machine.gpus / machine.link
    return Cost(traffic=(4.0 + 2.0 * width) * size / copies, host=passing)
