"""The student: a causal language model that is asked for log-probabilities and divergences, never for logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from sgpo.objectives import linear_forward_kl, linear_reverse_kl, linear_token_logprobs
from sgpo.training.batches import TokenBatch


class Policy(nn.Module):
    """Wraps a causal language model so that everything that touches the output projection happens inside `forward`.

    Under FSDP2 the projection's weight is whole only there.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        batch: TokenBatch,
        want: Literal["logprobs", "hidden", "forward_kl", "reverse_kl"],
        temperature: float = 1.0,
        guided_hidden_ND: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """One value per response token.

        "logprobs": (logprobs_BR, entropy_BR) of the full softmax at `temperature`; "hidden": (hidden_ND,);
        "forward_kl": (kl_BR,) of Eq. 3 from the guided side, given by its hidden states, to this batch's context;
        "reverse_kl" the other way round.
        """
        hidden_ND = self._response_hidden(batch)
        projection = self.model.get_output_embeddings()
        assert projection is not None
        weight_VD = projection.get_parameter("weight")
        if want == "hidden":
            return (hidden_ND,)
        if want in ("forward_kl", "reverse_kl"):
            assert guided_hidden_ND is not None
            divergence = linear_forward_kl if want == "forward_kl" else linear_reverse_kl
            kl_N = divergence(hidden_ND, guided_hidden_ND, weight_VD, temperature)
            return (batch.unflatten(kl_N),)
        logprobs_N, entropy_N = linear_token_logprobs(hidden_ND, weight_VD, batch.targets_N, temperature)
        return batch.unflatten(logprobs_N), batch.unflatten(entropy_N)

    def _response_hidden(self, batch: TokenBatch) -> torch.Tensor:
        hidden_BTD = self.model.get_decoder()(
            input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False
        ).last_hidden_state
        return hidden_BTD[batch.row_index_N, batch.column_index_N]
