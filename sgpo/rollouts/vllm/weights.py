"""Names and shapes of a model's weights, checked before vLLM gets them: vLLM itself only logs what is missing."""

from collections.abc import Iterable, Iterator

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig


class WeightNames:
    """The weights of one architecture, by Hugging Face's names."""

    def __init__(self, config: PreTrainedConfig) -> None:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        self._shapes = {name: weight.shape for name, weight in model.named_parameters(remove_duplicate=False)}
        owners = {id(weight): name for name, weight in model.named_parameters()}
        # A second name of one weight: the output projection that is tied to the embedding.
        self._ties: dict[str, list[str]] = {}
        for name, weight in model.named_parameters(remove_duplicate=False):
            if owners[id(weight)] != name:
                self._ties.setdefault(owners[id(weight)], []).append(name)
        self._model_class = type(model).__name__

    def checked(self, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the tensors as given, each tied weight under all its names.

        vLLM keeps an output projection of its own, and without `lm_head.weight` it goes on with the old one in
        silence. Raises ValueError, as the transformers engine does, for a weight that is unknown, missing or of another
        shape.
        """
        seen: set[str] = set()
        tied = {second for names in self._ties.values() for second in names}
        for name, tensor in named_tensors:
            if name not in self._shapes:
                raise ValueError(f"unknown weight '{name}' (expected the parameters of {self._model_class})")
            if tensor.shape != self._shapes[name]:
                raise ValueError(
                    f"weight '{name}' has shape {tuple(tensor.shape)} (expected {tuple(self._shapes[name])})"
                )
            if name in tied:
                continue
            seen.add(name)
            for each in (name, *self._ties.get(name, ())):
                yield each, tensor
        missing = self._shapes.keys() - seen - tied
        if missing:
            raise ValueError(f"missing weight '{min(missing)}' ({len(missing)} were not given)")
