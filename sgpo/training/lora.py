"""LoRA by peft: adapters inside the model that the trainer has, and the weights with the adapters merged in.

Adapters are injected, not wrapped around: the model keeps its class, its decoder and its output projection, so that
policy, sampler, FSDP2 and checkpoints treat it as any other model whose parameters are frozen in part.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from sgpo.config import ConfigError
from sgpo.config.lora import LoraConfig
from sgpo.files import publish_folder

ADAPTER = "default"
_FROZEN = ".base_layer."


@dataclass(frozen=True, slots=True)
class BaseWeights:
    """The frozen model under the adapters: where it came from, and the sha256 of its parameters."""

    source: str
    sha256: str


def add_adapters(model: PreTrainedModel, settings: LoraConfig, source: str | Path, seed: int) -> BaseWeights:
    """Freeze `model` and put adapters beside its linear layers, in place; their start depends on `seed` alone.

    The adapted model starts as the model was. Raises ConfigError without peft, and for a layer name that the decoder
    does not have (the output projection is none of its layers: the losses use its weight as it is).
    """
    try:
        import peft
    except ImportError:
        raise ConfigError(
            "training.lora is set but peft is not installed (expected: pip install '.[lora]' in the checkout)"
        ) from None
    layers = {
        name.rpartition(".")[2] for name, module in model.get_decoder().named_modules() if isinstance(module, nn.Linear)
    }
    if unknown := sorted(set(settings.target_modules) - layers):
        raise ConfigError(
            f"training.lora.target_modules: {type(model).__name__} has no linear layer '{unknown[0]}' in its decoder "
            f"(expected some of: {', '.join(sorted(layers))})"
        )
    base = BaseWeights(str(source), parameters_sha256(model))
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=list(settings.target_modules),
        base_model_name_or_path=str(source), task_type=peft.TaskType.CAUSAL_LM,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model, ADAPTER)
    return base


def merged_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, whole tensor) of every parameter as the model without adapters names it, its adapter added.

    One at a time, so that nobody holds a second whole model. Collective where the parameters are sharded: every process
    takes all of them. Without adapters these are the parameters themselves.
    """
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        value = _whole(parameter)
        layer_name, frozen, leaf = name.rpartition(_FROZEN)
        if frozen and leaf == "weight":
            value = value + _update(model.get_submodule(layer_name))
        yield name.replace(_FROZEN, "."), value


def adapter_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the adapters' whole tensors in main memory, under peft's names in its files; collective."""
    return {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": _whole(parameter).cpu().contiguous()
        for name, parameter in model.named_parameters()
        if ".lora_" in name
    }


def export_adapter(model: PreTrainedModel, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Publish a folder that peft opens on top of the base model, from `adapter_tensors`."""
    config = model.peft_config[ADAPTER]
    with publish_folder(folder) as aside:
        save_file(tensors, aside / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(aside))
        # peft keeps the names in a set, whose order is another one in every process.
        file = aside / "adapter_config.json"
        values = json.loads(file.read_text(encoding="utf-8"))
        values["target_modules"] = sorted(values["target_modules"])
        file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def parameters_sha256(module: nn.Module) -> str:
    """sha256 over names and bytes of the parameters, which may be anywhere but must be whole."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _update(layer: nn.Module) -> torch.Tensor:
    """Return what an adapter adds to its layer's weight, [out, in]."""
    down, up = (layer.get_submodule(f"{name}.{ADAPTER}").get_parameter("weight") for name in ("lora_A", "lora_B"))
    return (_whole(up) @ _whole(down)) * layer.scaling[ADAPTER]  # type: ignore[index, operator]


def _whole(parameter: torch.Tensor) -> torch.Tensor:
    value = parameter.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value
