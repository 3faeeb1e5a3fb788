"""Break sgpo/objectives on purpose, one small change at a time, and see that a test notices each.

    python benchmarks/mutate_objectives.py > docs/measured/mutations.md

Every mutation is applied to a temporary copy of the package; `pytest tests/objectives -x -q` runs against that copy.
Prints a Markdown table; exit code 1 when a mutation survives. Takes several minutes on one core.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TIME_LIMIT_S = 300


@dataclass(frozen=True)
class Mutation:
    """Every occurrence of `old` in sgpo/objectives/`file` becomes `new`; `what` says it in words."""

    equation: str
    what: str
    file: str
    old: str
    new: str


PLAIN_KL = """    logq_NV = (student_ND @ weight_VD.t() / temperature).log_softmax(-1)
    logp_NV = ({teacher} @ weight_VD.t() / temperature).log_softmax(-1)
    first, second = (logq_NV, logp_NV) if reverse else (logp_NV, logq_NV)
    return (first.exp() * (first - second)).sum(-1)
"""
CALL_KL = "    return _LinearKL.apply("
MUTATIONS = [
    Mutation(*fields)
    for fields in (
        ("1", "sign of the loss", "grpo.py", "loss_BT = -torch.minimum", "loss_BT = torch.minimum"),
        ("1", "max for min", "grpo.py", "torch.minimum(", "torch.maximum("),
        (
            "1",
            "ratio upside down",
            "grpo.py",
            "logprobs_BT - old_logprobs_BT.detach()",
            "old_logprobs_BT.detach() - logprobs_BT",
        ),
        ("1", "eps_high replaced by eps_low", "grpo.py", "math.inf if clip_high is None else clip_high", "clip_low"),
        ("1", "eps_low replaced by eps_high", "grpo.py", "1.0 if clip_low is None else clip_low", "clip_high"),
        ("1", "eps_low 0.1", "grpo.py", "clip_low: float | None = 0.2", "clip_low: float | None = 0.1"),
        ("1", "eps_high 0.2", "grpo.py", "clip_high: float | None = 0.28", "clip_high: float | None = 0.2"),
        ("1", "no clipping from above", "grpo.py", "ratio_BT.clamp(low, high)", "ratio_BT.clamp(low)"),
        ("1", "gradient into the old policy", "grpo.py", "old_logprobs_BT.detach()", "old_logprobs_BT"),
        ("1", "gradient into the advantage", "grpo.py", "advantages_B.detach()", "advantages_B"),
        ("1", "divisor: padded width for length", "grpo.py", "loss_B / lengths_B", "loss_B / mask_BT.shape[1]"),
        ("1", "no division by length", "grpo.py", "loss_B = loss_B / lengths_B", "pass"),
        ("1", "padding counts in the loss", "grpo.py", "loss_BT.masked_fill(~mask_BT, 0.0)", "loss_BT"),
        ("1", "padding reaches exp", "grpo.py", ".masked_fill(~mask_BT, 0.0).exp()", ".exp()"),
        ("1", "sum over responses for mean", "grpo.py", "max(1.0, responses)\n", "1.0\n"),
        ("1", "clip fraction counts ties", "grpo.py", "clipped_BT < surrogate_BT", "clipped_BT <= surrogate_BT"),
        ("1", "no clip: low bound 1", "grpo.py", "1.0 if clip_low is None", "0.0 if clip_low is None"),
        ("1", "constant length forgotten", "grpo.py", " * constant_length", ""),
        ("1", "token mean over responses", "grpo.py", "max(1.0, tokens)", "max(1.0, responses)"),
        ("1", "importance weight dropped", "grpo.py", "loss_BT * importance_BT.detach()", "loss_BT"),
        ("1", "gradient into the importance weight", "grpo.py", "importance_BT.detach()", "importance_BT"),
        (
            "IS",
            "importance upside down",
            "importance.py",
            "old_logprobs_BT - sampler_logprobs_BT",
            "sampler_logprobs_BT - old_logprobs_BT",
        ),
        ("IS", "importance without its cap", "importance.py", "ratio_BT.clamp_max(cap)", "ratio_BT"),
        ("SFT", "sign", "supervised.py", "return -logprobs_BT", "return logprobs_BT"),
        ("SFT", "no division by length", "supervised.py", " / lengths_B", ""),
        ("LUFFY", "sign", "luffy.py", "return -advantages_B", "return advantages_B"),
        ("LUFFY", "no shaping", "luffy.py", "probability_BT / (probability_BT + shaping)", "probability_BT"),
        ("LUFFY", "shaping 0.2", "luffy.py", "SHAPING = 0.1", "SHAPING = 0.2"),
        ("LUFFY", "gradient into the advantage", "luffy.py", "advantages_B.detach()", "advantages_B"),
        ("1", "advantage: mean added", "grpo.py", "rewards_G - rewards_G.mean", "rewards_G + rewards_G.mean"),
        ("1", "advantage: mean over all groups", "grpo.py", "rewards_G.mean(dim=-1, keepdim=True)", "rewards_G.mean()"),
        ("1", "advantage: population std", "grpo.py", "correction=1", "correction=0"),
        ("1", "advantage: epsilon 1e-8", "grpo.py", "STD_EPSILON = 1e-6", "STD_EPSILON = 1e-8"),
        ("1", "advantage: std always divided by", "grpo.py", "if normalize_std and rewards", "if rewards"),
        (
            "1",
            "advantage: equal rewards not set to 0",
            "grpo.py",
            "advantages_G.masked_fill(equal_G.all(dim=-1, keepdim=True), 0.0)",
            "advantages_G",
        ),
        (
            "1, 4",
            "sign of the probability term in the gradient",
            "logprobs.py",
            "probs_CV * -dlogprobs_N",
            "probs_CV * dlogprobs_N",
        ),
        (
            "1, 4",
            "one-hot term dropped",
            "logprobs.py",
            "dlogits_CV.scatter_add_(1, targets_N[span, None], dlogprobs_N[span, None])",
            "pass",
        ),
        ("1, 4", "entropy sign", "logprobs.py", "= -logprobs_CV.exp()", "= logprobs_CV.exp()"),
        (
            "1, 4",
            "entropy gradient: H subtracted",
            "logprobs.py",
            "logprobs_CV + entropy_N[span, None]",
            "logprobs_CV - entropy_N[span, None]",
        ),
        (
            "1-4",
            "temperature multiplied",
            "projection.py",
            "logits_CV.div_(temperature)",
            "logits_CV.mul_(temperature)",
        ),
        ("1-4", "temperature missing in backward", "projection.py", "dlogits_CV.div_(self.temperature)", "pass"),
        (
            "1-4",
            "weight gradient of the last chunk only",
            "projection.py",
            "total.addmm_(left, right.to(total.dtype))",
            "torch.mm(left, right.to(total.dtype), out=total)",
        ),
        ("1-4", "accumulation in the input's precision", "projection.py", "else torch.float32", "else dtype"),
        ("1-4", "the whole [N, V] at once", "projection.py", "size = chunk_size or", "size = tokens or"),
        ("1-4", "chunk budget ignored", "projection.py", "max(1, budget // vocabulary)", "2**26"),
        (
            "3",
            "forward and reverse exchanged",
            "divergence.py",
            "(logq_CV, logp_CV) if reverse",
            "(logp_CV, logq_CV) if reverse",
        ),
        ("3", "sign of the KL", "divergence.py", "first_CV - second_CV", "second_CV - first_CV"),
        (
            "3",
            "sign of the gradient",
            "divergence.py",
            "logq_CV.exp() - logp_CV.exp()",
            "logp_CV.exp() - logq_CV.exp()",
        ),
        ("3", "a KL below zero", "divergence.py", ".clamp_min_(0.0)", ""),
        ("3", "reverse gradient without its mean", "divergence.py", ".sub_(kl_N[span, None])", ""),
        (
            "3",
            "gradient handed to the guided side",
            "divergence.py",
            "return dstudent_ND, None,",
            "return dstudent_ND, dstudent_ND,",
        ),
        ("3", "no stop-gradient at all", "divergence.py", CALL_KL, PLAIN_KL.format(teacher="teacher_ND") + CALL_KL),
        (
            "3",
            "no stop-gradient on the guided side's weight",
            "divergence.py",
            CALL_KL,
            PLAIN_KL.format(teacher="teacher_ND.detach()") + CALL_KL,
        ),
        (
            "3",
            "one pass: sign of the gradient",
            "fused.py",
            "logq_CV.exp_().sub_(first_CV)",
            "first_CV.sub_(logq_CV.exp_())",
        ),
        ("3", "one pass: forward and reverse exchanged", "fused.py", "(logq_CV if reverse", "(logp_CV if reverse"),
        ("3", "one pass: slope dropped", "fused.py", "dlogits_CV.mul_(slope_C[:, None])", "dlogits_CV"),
        (
            "3",
            "one pass: reverse without its mean",
            "fused.py",
            "difference_CV.sub_(kl_N[span, None])",
            "difference_CV",
        ),
        ("3", "one pass: a KL below zero", "fused.py", ".clamp_min_(0.0)", ""),
        ("1", "one pass: sign of the probability term", "fused.py", "probs_CV.mul_(-slope_C", "probs_CV.mul_(slope_C"),
        (
            "1",
            "one pass: one-hot term dropped",
            "fused.py",
            "dlogits_CV.scatter_add_(1, targets_N[span, None], slope_C[:, None])",
            "pass",
        ),
        ("1", "one pass: entropy sign", "fused.py", "-torch.linalg.vecdot", "torch.linalg.vecdot"),
        ("1", "one pass: entropy slope", "fused.py", "mul_(probs_CV).neg_()", "mul_(probs_CV)"),
        ("1", "one pass: upstream gradient forgotten", "fused.py", "float(dloss) != 1.0", "False"),
        ("4", "argmin for argmax", "target.py", "return max(range", "return min(range"),
        ("4", "mean by default", "target.py", '= "sum",', '= "mean",'),
        ("4", "mean multiplied by length", "target.py", "total / length", "total * length"),
        ("4", "random is always the first", "target.py", "torch.randint(len(sums)", "torch.randint(1"),
        ("4", "no selection: shares do not sum to 1", "target.py", "[1.0 / count] * count", "[1.0] * count"),
        ("4", "the last of equals", "target.py", "max(range(len(scores)),", "max(reversed(range(len(scores))),"),
        ("5", "a token at delta is masked", "kd.py", "measured_BT > delta", "measured_BT >= delta"),
        ("5", "tokens below delta are masked", "kd.py", "measured_BT > delta", "measured_BT < delta"),
        ("5", "delta 2", "kd.py", "delta: float | None = 1.0", "delta: float | None = 2.0"),
        (
            "5",
            "truncated, not masked",
            "kd.py",
            "kl_BT.masked_fill(~mask_BT | above_BT, 0.0)",
            "kl_BT.masked_fill(~mask_BT, 0.0).clamp(max=delta)",
        ),
        ("5", "nothing masked", "kd.py", "~mask_BT | above_BT", "~mask_BT"),
        ("5", "padding counts", "kd.py", "~mask_BT | above_BT", "above_BT"),
        (
            "5",
            "divisor: kept tokens",
            "kd.py",
            "kept_BT.sum(dim=1) / lengths_B",
            "kept_BT.sum(dim=1) / (lengths_B - above_BT.sum(dim=1)).clamp_min(1)",
        ),
        ("5", "sign", "kd.py", "return kept_BT.sum", "return -kept_BT.sum"),
        ("5", "masked mass counts what is kept", "kd.py", "masked_fill(~above_BT", "masked_fill(above_BT"),
        ("5", "gradient through the truncation's share", "kd.py", "kl_BT.detach().masked_fill", "kl_BT.masked_fill"),
        ("5", "truncate is the mask", "kd.py", "delta / measured_BT", "0.0 * measured_BT"),
        ("5", "delta annealed backwards", "kd.py", "(delta_end - delta)", "(delta - delta_end)"),
        ("5", "delta annealed a step late", "kd.py", "max(1, steps - 1)", "steps"),
        ("6", "group-advantage weight without its cap", "weight.py", ", 0.0), alpha_max)", ", 0.0), 100.0)"),
        ("6", "group-advantage weight of the first rollout", "weight.py", "(whole_G)[-1]", "(whole_G)[0]"),
        ("6", "alpha0 0.4", "weight.py", "alpha0: float = 0.5", "alpha0: float = 0.4"),
        ("6", "gamma 0.2", "weight.py", "gamma: float = 0.1", "gamma: float = 0.2"),
        ("6", "alpha_max 1", "weight.py", "alpha_max: float = 0.8", "alpha_max: float = 1.0"),
        ("6", "no gamma above", "weight.py", "(guide - auto + gamma)", "(guide - auto)"),
        ("6", "gamma subtracted below", "weight.py", "/ (auto + gamma)", "/ (auto - gamma)"),
        ("6", "pass rates exchanged", "weight.py", "guide - auto + gamma", "auto - guide + gamma"),
        ("6", "no lower cap", "weight.py", "clamp(0.0, alpha_max)", "clamp(max=alpha_max)"),
        ("6", "no upper cap", "weight.py", "clamp(0.0, alpha_max)", "clamp(min=0.0)"),
        (
            "6",
            "weight without a correct guided rollout",
            "weight.py",
            "alpha = alpha.masked_fill(guide == 0.0, 0.0)",
            "pass",
        ),
        ("6", "gradient through alpha", "weight.py", ").detach()", ")"),
        ("7", "sign of the distillation", "total.py", "grpo_loss_P + alpha_P", "grpo_loss_P - alpha_P"),
        ("7", "gradient into alpha", "total.py", "alpha_P.detach()", "alpha_P"),
        ("7", "sum over problems for mean", "total.py", " / max(1, grpo_loss_P.shape[0])", ""),
        (
            "k3",
            "direction of the mismatch",
            "mismatch.py",
            "trainer_logprobs_BT - sampler_logprobs_BT",
            "sampler_logprobs_BT - trainer_logprobs_BT",
        ),
        ("k3", "precision lost", "mismatch.py", "log_ratio_BT.expm1()", "(log_ratio_BT.exp() - 1)"),
    )
]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="mutate-objectives-") as folder:
        killer, seconds = run_tests(Path(folder), None)
    if killer is not None:
        print(f"the unchanged objectives fail {killer}: nothing can be learnt from mutations", file=sys.stderr)
        return 2
    print("# Mutations of the objectives\n")
    print("Made by `python benchmarks/mutate_objectives.py`; the unchanged code passes.")
    print(
        f"Each row is one change to a copy of `sgpo/objectives`, {len(MUTATIONS)} in all, and the first failing test.\n"
    )
    print("| Eq. | Mutation | File | Killed by |\n|---|---|---|---|")
    survivors = 0
    for number, mutation in enumerate(MUTATIONS, 1):
        with tempfile.TemporaryDirectory(prefix="mutate-objectives-") as folder:
            killer, seconds = run_tests(Path(folder), mutation)
        survivors += killer is None
        verdict = f"`{killer}`" if killer else "**survived**"
        print(f"| {mutation.equation} | {mutation.what} | {mutation.file} | {verdict} |", flush=True)
        print(f"{number}/{len(MUTATIONS)} {mutation.what}: {killer or 'SURVIVED'} ({seconds:.0f} s)", file=sys.stderr)
    print(f"\n{len(MUTATIONS) - survivors} of {len(MUTATIONS)} killed.")
    return 1 if survivors else 0


def run_tests(folder: Path, mutation: Mutation | None) -> tuple[str | None, float]:
    """(the first failing test, or None when all pass; seconds) for a copy of the package, mutated, in `folder`."""
    shutil.copytree(REPOSITORY / "sgpo" / "objectives", folder / "sgpo" / "objectives")
    shutil.copy(REPOSITORY / "sgpo" / "__init__.py", folder / "sgpo" / "__init__.py")
    shutil.copytree(REPOSITORY / "tests" / "objectives", folder / "tests" / "objectives")
    (folder / "tests" / "objectives" / "test_copy.py").write_text(
        "import sgpo.objectives\n\n"
        f"def test_copy():\n    assert sgpo.objectives.__file__.startswith({str(folder)!r})\n",
        encoding="utf-8",
    )
    if mutation is not None:
        path = folder / "sgpo" / "objectives" / mutation.file
        source = path.read_text(encoding="utf-8")
        if mutation.old not in source:
            raise SystemExit(
                f"{mutation.file}: '{mutation.old}' is not there (mutation '{mutation.what}' is out of date)"
            )
        path.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/objectives",
        "-x",
        "-q",
        "--rootdir",
        ".",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.monotonic()
    try:
        run = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the time limit of {TIME_LIMIT_S} s", TIME_LIMIT_S
    seconds = time.monotonic() - started
    if run.returncode == 0:
        return None, seconds
    failed = re.search(r"^FAILED tests/objectives/(\S+?)(?:\[.*)?(?: - .*)?$", run.stdout, re.MULTILINE)
    if run.returncode != 1 or failed is None or "test_copy" in failed[1]:
        raise SystemExit(
            f"pytest ended with {run.returncode} and no failing test:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
        )
    return failed[1], seconds


if __name__ == "__main__":
    sys.exit(main())
