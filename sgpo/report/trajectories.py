"""Traces as the viewer takes them: a short line for each trajectory, and its tokens packed until it is opened."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sgpo.problems.domains.registry import MATH
from sgpo.report.answers import answer_in_words
from sgpo.report.run_record import RunRecord

_NUMBERS = ("step", "kl", "masked", "logprobs", "guided_logprobs", "candidates", "delta")
_TEXTS = ("question", "answer", "strategy", "pieces", "tokens", "trajectory", "alpha", "distilled", "pass_rates")


def pack_trajectories(record: RunRecord, family_of: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the index that the viewer sorts and filters, and each trajectory as gzip in base64, in the same order.

    A trajectory that was followed has its numbers of every step at which it was measured.
    """
    index, packed, unreadable = [], [], 0
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in record.traces:
        groups.setdefault((str(row.get("first_step")), str(row.get("problem_id"))), []).append(row)
    for rows in groups.values():
        try:
            line, whole = _line(rows, family_of), _pack(rows)
            json.dumps(line, allow_nan=False)
        except (AttributeError, KeyError, TypeError, ValueError):
            unreadable += 1
            continue
        index.append(line)
        packed.append(whole)
    if unreadable:
        record.notes.append(f"traces/: {unreadable} trajectories are not as this version writes them: left out.")
    return index, packed


def _line(rows: Sequence[dict[str, Any]], family_of: Mapping[str, str]) -> dict[str, Any]:
    first, kls = rows[0], [value for value in rows[0]["kl"] if value is not None]
    without, guided = (float(first["pass_rates"][name]) for name in ("autonomous", "guided"))
    return {
        "step": first["step"] + 1,
        "steps": [row["step"] + 1 for row in rows],
        "problem": first["problem_id"],
        "question": first["question"],
        "tier": first["tier"],
        "family": family_of.get(first["problem_id"], _approach(first["strategy"])),
        "alpha": first["alpha"],
        "distilled": first["distilled"],
        "without": without,
        "guided": guided,
        "hurt": guided < without,
        "tokens": len(first["tokens"]),
        "masked": len(first["masked"]),
        "largest": max(kls, default=0.0),
        "mean": sum(kls) / max(1, len(kls)),
    }


def _approach(strategy: str) -> str:
    """Return the line of a strategy that names its approach."""
    lines = [line.removeprefix("Strategy:").strip() for line in strategy.splitlines() if line.startswith("Strategy:")]
    return lines[0] if lines else ""


def _pack(rows: Sequence[dict[str, Any]]) -> str:
    words: dict[str, str] = {}
    for row in rows:
        words.update(row["words"])
    whole = {
        **{name: rows[0][name] for name in _TEXTS},
        "rollouts": {name: [_answer(one, rows[0]) for one in group] for name, group in rows[0]["rollouts"].items()},
        "words": words,
        "measured": [{name: row[name] for name in _NUMBERS} for row in rows],
    }
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _answer(answer: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return what the viewer shows of an answer, in the words of the problem's domain."""
    why = answer_in_words(answer, str(row.get("domain") or MATH))
    return {"text": answer["text"], "reward": answer["reward"], "why": why}
