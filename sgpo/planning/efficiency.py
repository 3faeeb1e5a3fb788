"""What is reached of a device's rates, as constants that a person can judge; docs/measured/planning.md says of what.

Fitted on this project's own measurements: `products` and `copies` on one H100 (docs/measured/gpu.md, the same run's
rates); `activation_passes` on its training steps and on CPU steps (docs/measured/step.md); `vocabulary_passes` on its
vocabulary rows; `decode_passes` and `transformers_layer_s` on sampling with our engine (gpu.md, rollouts.md). Taken
from elsewhere: `decode_bandwidth`, a published 31.0 ms a token of a 72B model in bfloat16 on two H100. Assumptions:
`vllm_step_s`, `links`, `scoring_passes`.
"""

from dataclasses import dataclass, replace

from sgpo.planning.devices import Device


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Shares of a data sheet's rates, passes over memory, and seconds that the host needs."""

    products: float = 0.78
    """Of the dense rate, in large matrix products."""
    copies: float = 0.83
    """Of the bandwidth, in large element-wise kernels."""
    activation_passes: float = 23.0
    """Times that forward and backward move what a layer keeps of a token; a forward alone is a third of that.
    Norms, rotary embedding, casts and the activation function, kernel by kernel, with the host's gaps between them."""
    vocabulary_passes: float = 7.7
    """Times that a float32 row of the vocabulary is moved for a token's log-probability and its gradient."""
    divergence_passes: float = 12.5
    """Likewise for the KL of two rows."""
    scoring_passes: float = 3.0
    """Likewise for a log-probability without gradient: written by the product, and read twice."""
    decode_passes: float = 6.0
    """Like `activation_passes`, for a token that is sampled: nothing is kept."""
    decode_bandwidth: float = 0.70
    """Of the bandwidth, in reading weights and keys and values for one token."""
    vllm_step_s: float = 0.004
    """Seconds between two tokens that are not the device's: scheduling, sampling, detokenising."""
    transformers_layer_s: float = 0.0013
    """Seconds that the host needs for a layer and token with our engine, whose kernels are launched one by one; with
    CUDA graphs less, which was not measured yet."""
    links: float = 0.7
    """Of the links' rate, in gathering weights and scattering gradients."""


GPU = Efficiency()
COMPILED = replace(GPU, activation_passes=17.0)
"""A GPU with compiled layers (`sharding.compile`)."""
CPU = Efficiency(
    products=1.0, copies=1.0, decode_bandwidth=1.0, transformers_layer_s=0.0006, vocabulary_passes=20.0,
    divergence_passes=27.0, scoring_passes=8.0,
)  # fmt: skip
"""On a CPU the product rate is measured, and the bandwidth fitted with these passes (devices.CPU_BYTES_PER_FLOP)."""


def efficiency_of(device: Device) -> Efficiency:
    """Return the constants of a device's kind."""
    if device.measured:
        return CPU
    return COMPILED if device.compiled else GPU
