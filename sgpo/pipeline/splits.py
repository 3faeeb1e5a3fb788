"""Which problems are trained on, and why each of the others is not."""

from collections import Counter
from pathlib import Path
from typing import Literal

from sgpo.amounts import counted
from sgpo.config import ConfigError, Settings, WarmupConfig
from sgpo.config.pipeline import PipelineParams, SplitConfig
from sgpo.files import publish_folder, write_json
from sgpo.problems import Problem, read_problems, write_problems
from sgpo.problems.repeats import refuse_shared
from sgpo.problems.table import read_table
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.schema import StrongResponse

_ROUNDING = 1e-9  # 3/5 - 2/5 is a little below 1/5


class ProbedProblem(Settings):
    """The champion's pass rate on one problem without and with its strategy; `lift` is the difference."""

    problem_id: str
    autonomous: float
    guided: float
    lift: float


class LeftOutProblem(Settings):
    """One line of left_out.jsonl: a problem with a strategy that is not trained on, and what the probe measured."""

    problem_id: str
    reason: Literal["solved", "low_lift"]
    autonomous: float
    guided: float
    lift: float


def split(params: PipelineParams, data: Path) -> None:
    """data/splits from problems, strategies and the probe's pass rates, and the counts in data/splits.json.

    The folder has {warmup,train,held_out}.parquet, and left_out.jsonl with a reason for every problem that has a
    strategy and is not trained on. Raises ConfigError where a setting leaves nothing, or asks for more than was probed,
    and ProblemFileError where a problem is both trained on and held out.
    """
    settings = params.splits
    train_file, held_out_file = (data / "problems" / f"{name}.parquet" for name in ("train", "held_out"))
    problems, held_out = read_problems(train_file), read_problems(held_out_file)
    refuse_shared(str(train_file), problems, held_out_file, held_out)  # put there by hand, it passed no import
    strategies = load_strategies(data / "strategies.parquet", problems)
    probed = {row.problem_id: row for row in read_table(data / "probe.parquet", ProbedProblem)}
    candidates = [problem for problem in problems if problem.id in strategies]
    for_warmup = problems_for_warmup(candidates, settings)
    to_probe = candidates[len(for_warmup) :]
    check_probed(params, len(to_probe), sum(problem.id in probed for problem in to_probe))
    left_out = _left_out([probed[problem.id] for problem in to_probe if problem.id in probed], settings)
    gone = {row.problem_id for row in left_out}
    usable = [problem for problem in to_probe if problem.id not in gone]
    counts = dict(sorted(Counter(row.reason for row in left_out).items()))
    if not usable:
        why = ", ".join(f"{reason} {count}" for reason, count in counts.items())
        raise ConfigError(
            f"{data / 'splits'}: no problem left to train on, all {len(to_probe)} that are probed are left out "
            f"({why}; see splits.min_lift and splits.drop_solved)"
        )
    with_response = with_responses(for_warmup, data / "responses.parquet")
    with publish_folder(data / "splits") as folder:
        if with_response:
            write_problems(with_response, folder / "warmup.parquet")
        write_problems(usable, folder / "train.parquet")
        write_problems(held_out, folder / "held_out.parquet")
        lines = [row.model_dump_json() + "\n" for row in left_out]
        (folder / "left_out.jsonl").write_text("".join(lines), encoding="utf-8")
    sizes = {"warmup": len(for_warmup), "train": len(usable)}
    write_json(data / "splits.json", {"strategies": len(candidates), "left_out": counts, **sizes})
    print(
        f"{counted(len(for_warmup), 'problem')} for warm-up, {len(usable)} for RL{_describe_left_out(counts, settings)}"
    )


def problems_for_warmup(candidates: list[Problem], settings: SplitConfig) -> list[Problem]:
    """Return the first `warmup_fraction` of the problems that have a strategy; the probe and RL have the others.

    ConfigError where none would be left for them.
    """
    count = round(settings.warmup_fraction * len(candidates))
    if candidates and count == len(candidates):
        raise ConfigError(
            f"splits.warmup_fraction is {settings.warmup_fraction}: none of {len(candidates)} problems is left for RL "
            "(expected a smaller one)"
        )
    return candidates[:count]


def check_warmup(warmup: WarmupConfig, params: PipelineParams) -> None:
    """Raise ConfigError where a warm-up is asked for and no problems are kept for it."""
    if warmup.epochs and not params.splits.warmup_fraction:
        raise ConfigError(
            f"warmup.epochs is {warmup.epochs}, but splits.warmup_fraction is 0 in params.yaml (expected a share of "
            "the problems such as 0.33, or warmup.epochs=0)"
        )


def check_probed(params: PipelineParams, strategies: int, probed: int) -> None:
    """Raise ConfigError where `splits.min_lift` asks about `strategies` of which only some are probed."""
    if params.splits.min_lift is not None and probed < strategies:
        raise ConfigError(
            f"splits.min_lift is {params.splits.min_lift}: {probed} of {strategies} strategies are probed "
            f"(raise probe.problems from {params.probe.problems} to at least {strategies}, or set min_lift to null)"
        )


def _left_out(rows: list[ProbedProblem], settings: SplitConfig) -> list[LeftOutProblem]:
    return [
        LeftOutProblem(
            problem_id=row.problem_id, reason=reason, autonomous=row.autonomous, guided=row.guided, lift=row.lift
        )
        for row in rows
        if (reason := _reason(row, settings)) is not None
    ]


def _reason(row: ProbedProblem, settings: SplitConfig) -> Literal["solved", "low_lift"] | None:
    if settings.drop_solved and row.autonomous == 1.0:
        return "solved"
    if settings.min_lift is not None and row.lift < settings.min_lift - _ROUNDING:
        return "low_lift"
    return None


def with_responses(warmup: list[Problem], responses: Path) -> list[Problem]:
    """Return the problems with the strong model's response as theirs."""
    texts = {row.problem_id: row.text for row in read_table(responses, StrongResponse)}
    return [problem.model_copy(update={"response": texts[problem.id]}) for problem in warmup]


def _describe_left_out(counts: dict[str, int], settings: SplitConfig) -> str:
    words = {"solved": "solved every time without a strategy", "low_lift": f"lifted by less than {settings.min_lift}"}
    return "; left out: " + ", ".join(f"{count} {words[reason]}" for reason, count in counts.items()) if counts else ""
