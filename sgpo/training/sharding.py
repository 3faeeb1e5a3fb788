"""How the model lies over the processes: sharding with FSDP2, and the whole weights again."""

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

from sgpo.config import ConfigError, ShardingConfig
from sgpo.training.compilation import compile_layers
from sgpo.training.policy import Policy
from sgpo.training.world import World, backend


def shard_policy(policy: Policy, world: World, settings: ShardingConfig | None = None) -> bool:
    """Shard parameters, gradients and optimiser state over the processes (FSDP2), layer by layer; say whether it did.

    Gradients are summed, not averaged: the losses are already divided by global counts. With bfloat16 the shards stay
    float32, and so do the sums of gradients. One process shards nothing unless precision or offload ask for it.
    """
    settings = settings or ShardingConfig()
    if world.size % settings.replicas:
        raise ConfigError(f"sharding.replicas is {settings.replicas} (expected a divisor of {world.size} processes)")
    if settings.compile if settings.compile is not None else world.device.type == "cuda":
        dtype = torch.bfloat16 if settings.precision == "bfloat16" else None
        compile_layers(policy.model, settings.activation_checkpointing, dtype)
    elif settings.activation_checkpointing:
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
        for layer in policy.model.get_decoder().get_submodule("layers").children():
            layer.training = True  # transformers recomputes in this mode only; dropout is inside, and stays off
    if world.size == 1 and settings.precision == "float32" and not settings.cpu_offload:
        return False
    if not dist.is_initialized():
        store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(backend(world.device), store=store, rank=0, world_size=1)
    lowered = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    layers = policy.model.get_decoder().get_submodule("layers")
    for module in (*layers.children(), policy):
        sharded = fully_shard(
            module,
            mesh=_mesh(world, settings.replicas),
            mp_policy=lowered if settings.precision == "bfloat16" else MixedPrecisionPolicy(),
            offload_policy=CPUOffloadPolicy(world.device.type == "cuda") if settings.cpu_offload else OffloadPolicy(),
        )
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no premultiplied sum, which FSDP2 uses in float32
    return True


def _mesh(world: World, replicas: int) -> DeviceMesh:
    if replicas == 1:
        return init_device_mesh(world.device.type, (world.size,))
    shape = (replicas, world.size // replicas)
    return init_device_mesh(world.device.type, shape, mesh_dim_names=("replicate", "shard"))


def whole_weights(policy: Policy) -> dict[str, torch.Tensor]:
    """Return the weights gathered on the first process (empty on the others), adapters merged; collective.

    Tied parameters are there once, under their first name, however many processes there are.
    """
    main = not dist.is_initialized() or dist.get_rank() == 0
    weights = {name: tensor.cpu() for name, tensor in policy.merged_tensors() if main}
    persistent = policy.model.state_dict().keys()
    buffers = policy.model.named_buffers()
    return weights | {name: value.cpu() for name, value in buffers if main and name in persistent}
