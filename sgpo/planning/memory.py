"""What a device must hold, in bytes, while the policy is trained and while it samples."""

from __future__ import annotations

from dataclasses import dataclass

from sgpo.config import RunConfig
from sgpo.planning import counts
from sgpo.planning.devices import Device
from sgpo.planning.shapes import Shape
from sgpo.planning.workload import Workload

CHUNK_BYTES = {False: 4 * 2**27, True: 4 * 2**24}
"""A [tokens, vocabulary] chunk in float32, on a GPU and on a CPU (sgpo/vocabulary/projection.py)."""
VLLM_RESERVE = 2e9
"""Of vllm's memory, what its own activations and graphs take beside weights and cache."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes a device, by what holds them. Keys and values are what the cache has room for, or what a batch needs."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    vocabulary: float
    guide: float
    sampler_weights: float
    kv_cache: float
    sampler_sleeps: bool

    @property
    def training(self) -> float:
        """Return the bytes at the peak of forward and backward."""
        held = self.weights + self.gradients + self.optimizer + self.gathered + self.activations
        return held + self.vocabulary + self.guide + (0.0 if self.sampler_sleeps else self.sampler)

    @property
    def sampling(self) -> float:
        """Return the bytes while rollouts are drawn: gradients are gone, weights and moments stay."""
        return self.weights + self.optimizer + self.sampler

    @property
    def sampler(self) -> float:
        """Return the bytes of the engine."""
        return self.sampler_weights + self.kv_cache

    @property
    def peak(self) -> float:
        """Return the most bytes at any time."""
        return max(self.training, self.sampling)


def width_of(precision: str) -> int:
    """Return the bytes of a number."""
    return 2 if precision == "bfloat16" else 4


def trained_parameters(shape: Shape, config: RunConfig) -> float:
    """Return the parameters with a gradient: all, or those of LoRA's adapters."""
    lora = config.training.lora
    if lora is None:
        return counts.parameters(shape)
    sides = {
        "q_proj": shape.hidden + shape.query, "k_proj": shape.hidden + shape.key, "v_proj": shape.hidden + shape.key,
        "o_proj": shape.query + shape.hidden, "gate_proj": shape.hidden + shape.intermediate,
        "up_proj": shape.hidden + shape.intermediate, "down_proj": shape.intermediate + shape.hidden,
    }  # fmt: skip
    return shape.layers * lora.rank * sum(sides.get(name, 0) for name in lora.target_modules)


def microbatch_tokens(config: RunConfig, work: Workload, gpus: int) -> float:
    """Return the tokens of the largest micro-batch: the budget or the longest row, and not more than there are."""
    longest = work.prompt + work.lengths.longest
    held = (work.policy.tokens + work.distillation.tokens) / gpus
    return max(longest, min(config.training.tokens_per_microbatch, held))


def memory_of(shape: Shape, config: RunConfig, work: Workload, device: Device, gpus: int) -> Memory:
    """Return what a device holds when the model lies over `gpus` of them by FSDP2 [docs/training.md]."""
    width = width_of(config.sharding.precision)
    whole, trained = counts.parameters(shape), trained_parameters(shape, config)
    shards = gpus / config.sharding.replicas
    resident = 0.0 if config.sharding.cpu_offload else 1.0 / shards
    split = gpus > 1 or config.sharding.precision == "bfloat16" or config.sharding.cpu_offload
    root = counts.root_parameters(shape)
    layer = (whole - root) / shape.layers
    tokens = microbatch_tokens(config, work, gpus)
    kept = counts.activation_bytes(shape, width)
    through = 2.0 * width * shape.hidden  # the residual stream between layers: input, and what backward makes of it
    layers_kept = shape.layers * kept
    if config.sharding.activation_checkpointing:
        layers_kept = shape.layers * width * shape.hidden + kept
    sampler_weights, cache = _sampler(shape, config, work, device, gpus)
    return Memory(
        weights=4.0 * whole * resident, gradients=4.0 * trained * resident, optimizer=8.0 * trained * resident,
        gathered=width * (root + 2.0 * layer) if split else 0.0,
        activations=tokens * (layers_kept + through),
        vocabulary=_vocabulary(shape, config, work, device, width),
        guide=work.distillation.predicted / gpus * shape.hidden * width,
        sampler_weights=sampler_weights, kv_cache=cache,
        sampler_sleeps=config.engine.sleep or config.engine.kind == "transformers",
    )  # fmt: skip


def _vocabulary(shape: Shape, config: RunConfig, work: Workload, device: Device, width: int) -> float:
    """Return three float32 chunks (one more for a KL), and the projection's gradient in both precisions."""
    chunk = min(CHUNK_BYTES[device.measured], 4.0 * shape.vocabulary * max(1.0, work.policy.predicted))
    gradient = (4.0 + (width if width != 4 else 0)) * shape.vocabulary * shape.hidden
    return chunk * (4 if work.distillation.predicted else 3) + gradient * (config.training.lora is None)


def _sampler(shape: Shape, config: RunConfig, work: Workload, device: Device, gpus: int) -> tuple[float, float]:
    """Return bytes of weights, and of keys and values, of the engine on a training device."""
    width = width_of(config.sharding.precision)
    weights = float(counts.parameters(shape) * width)
    if config.engine.kind == "vllm-server":
        return 0.0, 0.0  # devices of its own
    if config.engine.kind == "vllm":
        given = config.engine.gpu_memory_share * device.memory
        if device.measured:
            given = weights + config.engine.cpu_cache_gib * 2**30
        return weights, max(0.0, given - weights)
    rows = min(config.training.sampling.batch_size, work.rollouts / gpus)
    prompts = rows / max(1, work.autonomous + work.guided) * 2 * work.guided_prompt
    own_copy = gpus > 1 or width != 4
    cache = counts.kv_bytes(shape, width) * (rows * work.lengths.longest + prompts)
    return weights if own_copy else 0.0, cache
