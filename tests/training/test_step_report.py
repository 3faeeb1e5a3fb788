"""After the third step of a start the run says what is left."""

import torch

from sgpo.training.report import ESTIMATED_AFTER, StepReport
from sgpo.training.world import World


def test_what_is_left_is_told_once_after_the_third_step_of_a_start(capsys) -> None:
    report = StepReport(World(0, 1, torch.device("cpu")), 40, 10)
    told = {}
    for step in range(10, 40):
        metrics = {"time/rollout": 2.0, "time/verify": 1.0, "throughput/tokens_per_second": 100.0}
        found = report.estimate(step, metrics)
        report.show(step, {**metrics, **found})
        told |= {step: found} if found else {}
    assert list(told) == [10 + ESTIMATED_AFTER - 1]
    assert told[12]["throughput/tokens_left"] == 27 * 300.0  # 27 steps, each of 3 s at 100 tokens a second
    assert capsys.readouterr().out.count("estimate after 3 steps") == 1


def test_a_run_of_two_steps_tells_nothing() -> None:
    report = StepReport(World(0, 1, torch.device("cpu")), 2, 0)
    assert [report.estimate(step, {}) for step in range(2)] == [{}, {}]
