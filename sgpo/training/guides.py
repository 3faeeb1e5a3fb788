"""The guide of Eq. 3: whose weights read the prompt that holds the strategy.

The paper's guide is the policy itself, as it is now. Nothing trains it in that context, and it moves with the shared
weights: at a learning rate at which the student learns fast, what it says with a strategy can be lost. A guide that
keeps weights of its own holds them beside the policy's, sharded alike, and lends them to the policy for its forward.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributed.tensor import DTensor

from sgpo.training.batches import TokenBatch
from sgpo.training.checkpoints.sharded_state import Tensors, to_shards, trained
from sgpo.training.policy import Policy

SPARE_BYTES = 2**24
"""Room by way of which two sets of weights are exchanged."""


class Guide:
    """Reads with the policy's own weights: sg[pi_theta(. | q, s, o+_<t)] [SGPO Eq. 3]."""

    def __init__(self, policy: Policy) -> None:
        """Take the policy with the weights that training began from, on a resumed run too."""
        self.policy = policy

    def hidden(self, batch: TokenBatch) -> torch.Tensor:
        """Return the guide's hidden states that predict the response tokens, [N, D]; collective, without gradient."""
        with torch.no_grad():
            return self.policy.hidden(batch)

    def projection(self) -> torch.Tensor | None:
        """Return the guide's output projection, whole, [V, D]; None where it is the policy's. Collective."""
        return None

    def follow(self) -> None:
        """Take notice of an optimiser step that the policy has made."""

    def kept(self) -> Tensors:
        """Return the tensors that a checkpoint has to keep, by the parameters' names; filled in place on resume."""
        return {}


class FrozenGuide(Guide):
    """Reads with the weights that training began from; with LoRA those are the base's, whose adapters add nothing.

    As the fixed teachers of on-policy distillation [SGPO Eq. 3 with pi_0 on the guide's side].
    """

    def __init__(self, policy: Policy) -> None:
        """Copy what is trained of the policy."""
        super().__init__(policy)
        to_shards(policy)
        self._weights = {name: value.detach().clone() for name, value in trained(policy)}

    def hidden(self, batch: TokenBatch) -> torch.Tensor:
        """Return the guide's hidden states, as `Guide.hidden`."""
        with self._lent():
            return super().hidden(batch)

    def projection(self) -> torch.Tensor | None:
        """Return the guide's output projection, as `Guide.projection`."""
        to_shards(self.policy)
        projection = self.policy.projection()
        for name, value in trained(self.policy):
            if value is projection:
                weight_VD = self._weights[name]
                return weight_VD.full_tensor() if isinstance(weight_VD, DTensor) else weight_VD
        return None

    @contextmanager
    def _lent(self) -> Iterator[None]:
        """Let the policy compute with the guide's weights; afterwards it has its own again, to the last bit."""
        spare = torch.empty(SPARE_BYTES, dtype=torch.uint8, device=next(self.policy.parameters()).device)
        self._exchange(spare)
        try:
            yield
        finally:
            self._exchange(spare)

    @torch.no_grad()
    def _exchange(self, spare: torch.Tensor) -> None:
        """Exchange the weights by way of `spare`: without new memory, whose lack would leave half of them exchanged."""
        to_shards(self.policy)  # what a forward has left gathered would be read instead of the shards
        for name, value in trained(self.policy):
            ours, guides = (_shard(tensor).view(-1) for tensor in (value, self._weights[name]))
            room = spare.view(ours.dtype)
            for own, other in zip(ours.split(len(room)), guides.split(len(room)), strict=True):
                kept = room[: len(own)].copy_(own)
                own.copy_(other)
                other.copy_(kept)


class AverageGuide(FrozenGuide):
    """Reads with an average of the policy's weights over the steps, the older the less [mean teacher, 1703.01780].

    With LoRA the average is that of what is trained: of each adapter's two factors, whose product is not the average of
    the products.
    """

    def __init__(self, policy: Policy, half_life: float) -> None:
        """Begin with the policy's weights; after `half_life` steps they count half."""
        super().__init__(policy)
        self._new = 1.0 - 0.5 ** (1.0 / half_life)

    @torch.no_grad()
    def follow(self) -> None:
        """Move towards the policy."""
        to_shards(self.policy)
        for name, value in trained(self.policy):
            self._weights[name].lerp_(value, self._new)

    def kept(self) -> Tensors:
        """Return the averages."""
        return self._weights


def _shard(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
