"""A recipe's plan: does it fit, how long is a step and the run, what does it cost, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sgpo.config import RunConfig
from sgpo.planning import counts
from sgpo.planning.cost import Cost
from sgpo.planning.devices import GIB, Device
from sgpo.planning.memory import Memory, memory_of
from sgpo.planning.phases import Machine, phases_of
from sgpo.planning.shapes import PlanError, Shape
from sgpo.planning.workload import Assumptions, Workload, workload_of


@dataclass(frozen=True, slots=True)
class Plan:
    """One run on `gpus` devices. Hours are those of the training steps: no warm-up, no evaluation, no checkpoints."""

    device: Device
    gpus: int
    steps: int
    parameters: int
    work: Workload
    memory: Memory
    phases: dict[str, Cost]
    overlap: bool
    peak_flops: float
    price: float | None = None
    assumed: dict[str, float] = field(default_factory=dict)

    @property
    def step_seconds(self) -> float:
        """Return the seconds of a step; sampling ahead hides the shorter of sampling and training."""
        sampling = self.phases["sampling"].seconds if "sampling" in self.phases else 0.0
        training = sum(cost.seconds for cost in self.phases.values()) - sampling
        return max(sampling, training) if self.overlap else sampling + training

    @property
    def hours(self) -> float:
        """Return the hours of all steps."""
        return self.steps * self.step_seconds / 3600.0

    @property
    def dollars(self) -> float | None:
        """Return what the hours of all devices cost; None without a price."""
        return None if self.price is None else self.price * self.hours * self.gpus

    @property
    def limit(self) -> str:
        """Return the longest phase, and what it waits for."""
        name, cost = max(self.phases.items(), key=lambda item: item[1].seconds)
        return f"{name}, {cost.seconds / sum(c.seconds for c in self.phases.values()):.0%} of the work: {cost.limit}"

    def mfu(self, phase: str) -> float:
        """Return a phase's useful operations over what the data sheet's rate would do in its seconds."""
        cost = self.phases[phase]
        return cost.flops / (cost.seconds * self.peak_flops)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain numbers: bytes, seconds, hours, dollars."""
        names = ("weights", "gradients", "optimizer", "gathered", "activations", "vocabulary", "guide",
                 "sampler_weights", "kv_cache", "training", "sampling", "peak")  # fmt: skip
        return {
            "kind": self.device.name, "gpus": self.gpus, "steps": self.steps, "parameters": self.parameters,
            "assumed": self.assumed, "memory_bytes": {name: getattr(self.memory, name) for name in names},
            "device_memory_bytes": self.device.memory,
            "seconds": {name: cost.seconds for name, cost in self.phases.items()},
            "limits": {name: cost.limit for name, cost in self.phases.items()},
            "step_seconds": self.step_seconds, "hours": self.hours, "dollars": self.dollars, "limit": self.limit,
            "training_mfu": self.mfu("forward and backward") if "forward and backward" in self.phases else None,
        }  # fmt: skip


def make_plan(
    config: RunConfig, shape: Shape, device: Device, gpus: int, assumed: Assumptions | None = None,
    price: float | None = None,
) -> Plan:  # fmt: skip
    """Return the plan of a recipe on `gpus` devices, whatever its own `processes`.

    Raises PlanError for no devices, for `sharding.replicas` that do not divide them, and for what does not fit.
    """
    assumed = assumed or Assumptions()
    if gpus < 1:
        raise PlanError(f"{gpus} devices (expected at least 1)")
    if gpus % config.sharding.replicas:
        raise PlanError(f"sharding.replicas is {config.sharding.replicas} (expected a divisor of {gpus} devices)")
    work = workload_of(config, assumed)
    memory = memory_of(shape, config, work, device, gpus)
    if memory.peak > device.memory:
        raise PlanError(_too_large(config, shape, device, gpus, work, memory))
    phases = phases_of(Machine(shape, config, device, gpus), work, memory)
    told = {
        "prompt_tokens": assumed.prompt, "strategy_tokens": assumed.strategy, "response_tokens": work.lengths.mean,
        "guided_pass": assumed.guided_pass, "trained_share": assumed.trained_share,
        "endless_share": work.lengths.endless_share,
    }  # fmt: skip
    return Plan(
        device, gpus, config.training.steps, counts.parameters(shape), work, memory, phases, config.training.overlap,
        device.flops(config.sharding.precision), price, told,
    )  # fmt: skip


def _too_large(config: RunConfig, shape: Shape, device: Device, gpus: int, work: Workload, memory: Memory) -> str:
    """One line: what is needed, what most of it is, and changes that each make it fit."""
    parts = {name: getattr(memory, name) for name in ("activations", "vocabulary", "gathered", "weights", "optimizer",
             "gradients", "guide", "sampler_weights", "kv_cache")}  # fmt: skip
    when = "training" if memory.training >= memory.sampling else "sampling"
    most = sorted(parts, key=lambda name: -parts[name])[:2]
    shown = " and ".join(f"{name.replace('_', ' ')} {parts[name] / GIB:.1f}" for name in most)
    changes = [text for text, other, devices in _changes(config, gpus) if _fits(shape, other, device, devices, work)]
    hint = " or ".join(changes[:3]) or "a smaller model, shorter responses, or a device with more memory"
    return (f"{when} needs {memory.peak / GIB:.1f} GiB on each {device.name} and there are "
            f"{device.memory / GIB:.0f}, {shown} GiB of it (expected {hint})")  # fmt: skip


def _fits(shape: Shape, config: RunConfig, device: Device, gpus: int, work: Workload) -> bool:
    memory = memory_of(shape, config, work, device, gpus)
    try:
        phases_of(Machine(shape, config, device, gpus), work, memory)
    except PlanError:  # no room in the cache for a response
        return False
    return memory.peak <= device.memory


def _changes(config: RunConfig, gpus: int) -> list[tuple[str, RunConfig, int]]:
    """Return changes of one setting each, mildest first, with the recipe and the devices that they give."""
    found = []
    if not config.sharding.activation_checkpointing:
        found.append(("sharding.activation_checkpointing=true", "sharding", {"activation_checkpointing": True}))
    if config.engine.kind == "vllm":
        if not config.engine.sleep:
            found.append(("engine.sleep=true", "engine", {"sleep": True}))
        share = round(config.engine.gpu_memory_share / 2, 2)
        found.append((f"engine.gpu_memory_share={share}", "engine", {"gpu_memory_share": share}))
    tokens = config.training.tokens_per_microbatch // 2
    while tokens >= 1024:
        found.append((f"training.tokens_per_microbatch={tokens}", "training", {"tokens_per_microbatch": tokens}))
        tokens //= 2
    if config.sharding.precision == "float32":
        found.append(("sharding.precision=bfloat16", "sharding", {"precision": "bfloat16"}))
    found.append(("sharding.cpu_offload=true", "sharding", {"cpu_offload": True}))
    changed = [
        (text, config.model_copy(update={room: getattr(config, room).model_copy(update=update)}), gpus)
        for text, room, update in found
    ]
    changed += [(f"--gpus {gpus * times}", config, gpus * times) for times in (2, 4, 8, 16)]
    first: dict[str, tuple[str, RunConfig, int]] = {}
    for change in changed:
        first.setdefault(change[0], change)
    return list(first.values())


def describe_plan(plan: Plan, name: str) -> str:
    """Return the plan as a table for a person."""
    memory, device = plan.memory, plan.device
    head = f"{name}, {plan.parameters / 1e9:.2f}B parameters, on {plan.gpus} x {device.name}"
    told = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in plan.assumed.items())
    lines = [head, f"assumed: {told}", "", f"{'memory on a device':<28}{'GiB':>8}"]
    rows = {
        "weights (float32)": memory.weights, "gradients": memory.gradients, "AdamW's moments": memory.optimizer,
        "gathered weights": memory.gathered, "activations": memory.activations, "vocabulary": memory.vocabulary,
        "guide's hidden states": memory.guide, "sampler's weights": memory.sampler_weights,
        "keys and values": memory.kv_cache,
    }  # fmt: skip
    lines += [f"{what:<28}{size / GIB:>8.1f}" for what, size in rows.items()]
    lines += [f"{'while training':<28}{memory.training / GIB:>8.1f}  of {device.memory / GIB:.0f}",
              f"{'while sampling':<28}{memory.sampling / GIB:>8.1f}"]  # fmt: skip
    lines += ["", f"{'phase of a step':<28}{'seconds':>8}  waits for"]
    lines += [f"{what:<28}{cost.seconds:>8.2f}  {cost.limit}" for what, cost in plan.phases.items()]
    lines += [f"{'step':<28}{plan.step_seconds:>8.2f}" + ("  sampling ahead" if plan.overlap else "")]
    if "forward and backward" in plan.phases:
        lines += [f"{'MFU of training':<28}{plan.mfu('forward and backward'):>8.1%}"]
    lines += ["", f"{plan.steps} steps: {plan.hours:.1f} hours, {plan.hours * plan.gpus:.0f} device hours"
              + ("" if plan.dollars is None else f", {plan.dollars:,.0f} dollars"),
              f"limited by {plan.limit}"]  # fmt: skip
    return "\n".join(lines)
