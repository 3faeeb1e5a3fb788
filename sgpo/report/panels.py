"""The curves of a run: which metrics stand in one picture, and the sentence that tells how to read it."""

from dataclasses import dataclass
from typing import Any

from sgpo.jsonl import number


@dataclass(frozen=True, slots=True)
class Series:
    """A metric's values over the steps; `low` and `high` are the metrics of its interval."""

    metric: str
    label: str
    low: str | None = None
    high: str | None = None

    def points(self, rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
        """Return (step, value) where the metric is logged; a step counts from 1, as the progress line does."""
        return [(row["step"] + 1, number(row[self.metric])) for row in rows if self.metric in row]


@dataclass(frozen=True, slots=True)
class Panel:
    """Metrics that are read together."""

    name: str
    title: str
    unit: str
    series: tuple[Series, ...]
    reading: str


PANELS = (
    Panel(
        "rewards", "Right answers in training", "share of responses",
        (Series("reward/autonomous", "without strategy"), Series("reward/guided", "with strategy")),
        "The rate without strategies is what training is for: it should rise. The rate with strategies should stay "
        "above it; if it falls, the model no longer follows the strategies, and soon there is nothing left to distil.",
    ),
    Panel(
        "validation", "Validation", "share of responses",
        (
            Series("validation/avg_at_k", "mean", "validation/avg_at_k_low", "validation/avg_at_k_high"),
            Series("validation/pass_at_k", "some answer right"),
        ),
        "On problems that are not trained on; the band is the mean's interval over problems. The mean should rise with "
        "the training rewards. If it falls while they rise, what is learnt does not generalise.",
    ),
    Panel(
        "alpha", "How much is distilled (alpha)", "weight",
        (Series("distill/alpha_mean", "mean alpha"),),
        "Large where strategies help and the model fails alone [Eq. 6]. It should fall by itself as the model learns. "
        "If it is near 0 from the start, strategies have no effect.",
    ),
    Panel(
        "kl", "How far the strategy moves a token (KL)", "nats per token",
        (Series("distill/kl_mean", "mean d"),),
        "Mean of d over the tokens of the distilled answers [Eq. 3]. It should fall slowly. If it rises, guide and "
        "student drift apart.",
    ),
    Panel(
        "masked", "What clipping removes", "share",
        (
            Series("distill/kl_mass_masked_fraction", "of the KL"),
            Series("distill/tokens_masked_fraction", "of the tokens"),
        ),
        "Tokens that move further than delta are not distilled [Eq. 5]. Few tokens can hold most of the KL. Above one "
        "half over many steps, clipping removes most of what there is to learn.",
    ),
    Panel(
        "entropy", "Variety of answers (entropy)", "nats per token",
        (Series("policy/entropy", "entropy"),),
        "How undecided the model is about its own next token. Level or slowly falling is normal. If it slides towards "
        "0, the model collapses to one way of answering.",
    ),
    Panel(
        "lengths", "Length of responses", "tokens",
        (Series("response/length_mean", "mean length"),),
        "Level is normal. Growth towards the limit is rambling, often the first sign of collapse.",
    ),
    Panel(
        "truncated", "Cut responses", "share of responses",
        (Series("response/truncated_fraction", "cut at the limit"),),
        "Responses that reached the length limit count as wrong. Above 0.1, raise the limit.",
    ),
)  # fmt: skip
