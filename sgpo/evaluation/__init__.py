"""Measuring models: avg@k and pass@k with intervals, and the paired comparison of two models."""

from sgpo.evaluation.comparison import Comparison, Gain, compare
from sgpo.evaluation.intervals import Estimate
from sgpo.evaluation.scores import EvaluationError, Outcome, Scores, pass_at, score

__all__ = ["Comparison", "Estimate", "EvaluationError", "Gain", "Outcome", "Scores", "compare", "pass_at", "score"]
