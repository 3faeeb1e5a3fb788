"""A run directory made by hand: what training, evaluation and the flow leave, small or as large as asked."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from sgpo.config import dump_config, load_config
from sgpo.evaluation.comparison import Comparison, compare
from sgpo.evaluation.scores import Outcome
from sgpo.files import write_json
from sgpo.pipeline.report import Summary, training_means
from sgpo.registry.records import ChampionChange

WORDS = [" first", " second", " add", " take", " left", " so", " 12", " 40", ".", ",", "\n", " é"]


def make_run(folder: Path, data: Path, steps: int = 20, trajectories: int = 4, tokens: int = 30) -> Path:
    """Write a run of SGPO that ended with a promotion; the first traced problem is followed over the steps."""
    folder.mkdir(parents=True)
    config = load_config(None, [f"training.steps={steps}", f"data={data}"])
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    rows = metric_rows(steps)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "traces").mkdir()
    choose, followed = random.Random(1), list[dict[str, Any]]()
    for step, names in _names(trajectories, steps).items():
        made = [trace_row(choose, step, name, tokens) for name in names]
        rows_of_step = made + [followed_row(choose, step, one) for one in followed]
        followed = followed or made[:1]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of_step)
        (folder / "traces" / f"step-{step:06d}.jsonl").write_text(lines, encoding="utf-8")
    write_json(folder / "summary.json", summary_of(folder.name, rows).model_dump(mode="json"))
    return folder


def metric_rows(steps: int) -> list[dict[str, Any]]:
    """Numbers with all their digits."""
    choose = random.Random(0)
    names = (
        "reward/autonomous", "reward/guided", "distill/alpha_mean", "distill/kl_mean", "policy/entropy",
        "distill/tokens_masked_fraction", "distill/kl_mass_masked_fraction", "response/length_mean",
        "response/truncated_fraction", "policy/sampler_mismatch_kl", "time/rollout", "time/verify",
        "time/forward_backward",
    )  # fmt: skip
    rows = [{"step": step, "timestamp_ms": step, **{name: choose.random() for name in names}} for step in range(steps)]
    for row in rows[4::5]:
        low, value, high = sorted(choose.random() for _ in range(3))
        row |= {"validation/avg_at_k": value, "validation/avg_at_k_low": low, "validation/avg_at_k_high": high}
        row["validation/pass_at_k"] = choose.random()
    return rows


def comparison() -> Comparison:
    choose = random.Random(2)

    def outcomes(rate: float) -> list[Outcome]:
        return [
            Outcome(
                problem_id=f"p{n}", tier=f"tier {n % 3}", rewards=tuple(float(choose.random() < rate) for _ in "123")
            )
            for n in range(40)
        ]

    return compare(outcomes(0.3), outcomes(0.6), 0.95, 500, 0)


def summary_of(run_id: str, rows: list[dict[str, Any]], **changed: Any) -> Summary:
    change = ChampionChange(
        action="promote", version="7", before="3", after="7", who="retrain", why="Retraining.",
        when="2026-11-27T12:00:00+00:00", reasons=("The lower end is above the margin.",),
    )  # fmt: skip
    whole: dict[str, Any] = {
        "run_id": run_id, "registered_model": "sgpo-testbed", "challenger_version": "7", "champion_before": "3",
        "champion_after": "7", "decision": change, "comparison": comparison(), "training": training_means(rows),
        "data_versions": {"data/splits": "0123abcd"}, "git_commit": "f00d", "seconds": {"training": 61.2, "probe": 3.4},
    }  # fmt: skip
    return Summary(**{**whole, **changed})


def trace_row(choose: random.Random, step: int, name: str, tokens: int) -> dict[str, Any]:
    """A trajectory of a problem whose question holds what must not be read as a tag."""
    rewards = [float(choose.random() < 0.5) for _ in range(4)]
    rollouts = [
        {"text": f"So \\boxed{{{n}}} <b>", "reward": reward, "finish_reason": "stop", "reason": "wrong", "tokens": 9}
        for n, reward in enumerate(rewards)
    ]
    guided = [{"text": "So \\boxed{5}", "reward": 1.0, "finish_reason": "stop", "reason": "correct", "tokens": tokens}]
    row = {
        "format": 1, "kind": "sampled", "first_step": step, "problem_id": name, "tier": f"tier {choose.randint(1, 3)}",
        "question": f"How many in {name}? </script><script>document.title = 'taken'</script>", "answer": "5",
        "strategy": f"Problem type: counting\nStrategy: Count {choose.choice('ab')}.\nSteps: 1. Count.",
        "alpha": 0.4, "distilled": True, "trajectory": 0,
        "pass_rates": {"autonomous": sum(rewards) / 4, "guided": 1.0},
        "rollouts": {"autonomous": rollouts, "guided": guided},
        "prompts": {"autonomous": [1, 2], "guided": [1, 3, 2]},
    }  # fmt: skip
    ids = [choose.randrange(len(WORDS)) for _ in range(tokens)]
    return {**row, **_numbers(choose, step, ids), "tokens": ids, "pieces": [WORDS[one] for one in ids]}


def followed_row(choose: random.Random, step: int, first: dict[str, Any]) -> dict[str, Any]:
    row = {"format": 1, "kind": "followed", "first_step": first["step"], "problem_id": first["problem_id"]}
    return {**row, **_numbers(choose, step, first["tokens"]), "tokens": first["tokens"], "pieces": first["pieces"]}


def _numbers(choose: random.Random, step: int, ids: list[int]) -> dict[str, Any]:
    kl = [round(choose.expovariate(8.0), 4) for _ in ids]
    kl[len(kl) // 2] = 1.75
    candidates = [
        [(one, round(choose.random(), 4), round(choose.random(), 4)) for one in choose.sample(range(len(WORDS)), 8)]
        for _ in ids
    ]
    return {
        "step": step, "delta": 1.0, "temperature": 1.0, "kl": kl,
        "masked": [at for at, value in enumerate(kl) if value > 1.0],
        "logprobs": [round(-choose.expovariate(1.0), 4) for _ in ids],
        "guided_logprobs": [round(-choose.expovariate(2.0), 4) for _ in ids],
        "candidates": candidates, "words": {str(at): word for at, word in enumerate(WORDS)},
    }  # fmt: skip


def _names(trajectories: int, steps: int) -> dict[int, list[str]]:
    """Trajectories over traced steps, four of each and the rest on the last."""
    traced = [*range(0, steps, 10)]
    names = [f"problem-{n}" for n in range(trajectories)]
    each = max(1, trajectories // len(traced))
    return {step: names[at * each : (at + 1) * each if step != traced[-1] else None] for at, step in enumerate(traced)}
