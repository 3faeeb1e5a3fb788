import subprocess
import sys

from sgpo.strategies.teacher.teacher import request_seed


def test_request_seeds_are_the_same_in_every_process() -> None:
    program = "from sgpo.strategies.teacher.teacher import request_seed; print(request_seed(3, 'extract', 'p', 2))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(printed) == request_seed(3, "extract", "p", 2)


def test_request_seeds_differ_with_everything_that_is_asked() -> None:
    asked = [
        (run, kind, problem, index)
        for run in (0, 1)
        for kind in ("a", "b")
        for problem in ("p", "q")
        for index in (1, 2)
    ]
    seeds = {request_seed(*parts) for parts in asked}
    assert len(seeds) == len(asked)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(1, "1", "2") != request_seed(1, "12") != request_seed(11, "2")
