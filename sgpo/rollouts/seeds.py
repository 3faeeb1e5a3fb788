"""Seeds of rollouts: derived, never carried, so that a resumed run draws the same rollouts."""

import hashlib


def derive_seed(run_seed: int, step: int, problem_id: str, group: str, index: int) -> int:
    """Return a seed in [0, 2^63), a function of its arguments alone: the same in every process, on every platform."""
    text = f"{run_seed}\0{step}\0{problem_id}\0{group}\0{index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
