"""Seconds of a piece of work, by what they are spent on."""

from __future__ import annotations

from dataclasses import dataclass

from sgpo.planning import counts
from sgpo.planning.counts import Extent
from sgpo.planning.devices import Device
from sgpo.planning.efficiency import efficiency_of
from sgpo.planning.memory import width_of
from sgpo.planning.shapes import Shape

WHAT = {"products": "matrix products", "traffic": "memory bandwidth", "host": "the host", "links": "the links"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds in matrix products, in moving memory, on the host; links work beside them. `flops` are useful ones."""

    products: float = 0.0
    traffic: float = 0.0
    host: float = 0.0
    links: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.products + other.products, self.traffic + other.traffic, self.host + other.host,
            self.links + other.links, self.flops + other.flops,
        )  # fmt: skip

    def __mul__(self, times: float) -> Cost:
        return Cost(
            self.products * times, self.traffic * times, self.host * times, self.links * times, self.flops * times
        )

    @property
    def seconds(self) -> float:
        """Return the seconds that pass: whichever is longer, the device's own or its links'."""
        return max(self.products + self.traffic + self.host, self.links)

    @property
    def limit(self) -> str:
        """Return what most of the seconds go to, in words."""
        parts = {"products": self.products, "traffic": self.traffic, "host": self.host}
        if self.links >= sum(parts.values()):
            return WHAT["links"]
        return WHAT[max(parts, key=lambda name: parts[name])]


def forward_cost(shape: Shape, device: Device, precision: str, extent: Extent, passes: float) -> Cost:
    """Return the cost of a forward without gradient; `passes` over the vocabulary's rows for each predicted token."""
    return _cost(shape, device, precision, extent, products=1.0, activations=1.0 / 3.0, passes=passes)


def backward_cost(shape: Shape, device: Device, precision: str, extent: Extent, passes: float, recompute: bool) -> Cost:
    """Return the cost of forward and backward; with `recompute` every layer's forward is done twice."""
    more = 1.0 if recompute else 0.0
    return _cost(
        shape, device, precision, extent, products=3.0 + more, activations=1.0 + more / 3.0, passes=passes, useful=3.0
    )


def _cost(
    shape: Shape, device: Device, precision: str, extent: Extent, products: float, activations: float, passes: float,
    useful: float = 1.0,
) -> Cost:  # fmt: skip
    reached, width = efficiency_of(device), width_of(precision)
    layers = counts.layer_flops(shape, extent) + counts.attention_flops(shape, extent)
    logits = counts.vocabulary_flops(shape, extent)
    kept = shape.layers * counts.activation_bytes(shape, width) * extent.tokens
    moved = kept * reached.activation_passes * activations + 4.0 * shape.vocabulary * extent.predicted * passes
    return Cost(
        products=(products * layers + useful * logits) / (device.flops(precision) * reached.products),
        traffic=moved / (device.bandwidth * reached.copies), flops=useful * (layers + logits),
    )  # fmt: skip
