"""Seeds are derived from what a rollout is, and from nothing else."""

from __future__ import annotations

import itertools
import subprocess
import sys

from sgpo.rollouts.seeds import derive_seed


def test_the_seed_is_the_same_in_another_process() -> None:
    code = "from sgpo.rollouts.seeds import derive_seed; print(derive_seed(7, 3, 'ünïcode', 'guided', 2))"
    for salt in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == str(derive_seed(7, 3, "ünïcode", "guided", 2))


def test_the_seed_never_changes_between_versions() -> None:
    assert derive_seed(0, 0, "p", "autonomous", 0) == 4684601124362400454


def test_every_argument_makes_a_different_seed_of_63_bits() -> None:
    arguments = itertools.product((0, 1, 11), (0, 1, 11), ("1", "11", "p"), ("autonomous", "guided"), range(12))
    seeds = [derive_seed(*each) for each in arguments]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
