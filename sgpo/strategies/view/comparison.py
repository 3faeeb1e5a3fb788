"""What changed between two versions of a strategy file, problem by problem."""

from collections.abc import Mapping
from dataclasses import dataclass

from sgpo.strategies.schema import Strategy

WORDING = ("problem_type", "approach", "steps")
"""The fields that the student reads; the others say how the strategy came about."""


@dataclass(frozen=True, slots=True)
class ChangedStrategy:
    """One problem's strategy in both versions, and the `fields` that differ, in the order of the record."""

    problem_id: str
    fields: tuple[str, ...]
    old: Strategy
    new: Strategy


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Problem ids that only the new or only the old version has, and what differs in both; all sorted by id."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ChangedStrategy, ...]
    unchanged: int


def compare_versions(old: Mapping[str, Strategy], new: Mapping[str, Strategy]) -> VersionDiff:
    """Return the difference of two versions, each with its strategies by problem id, in whatever order."""
    both = sorted(old.keys() & new.keys())
    pairs = [(name, _differing_fields(old[name], new[name])) for name in both]
    changed = tuple(ChangedStrategy(name, fields, old[name], new[name]) for name, fields in pairs if fields)
    return VersionDiff(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=changed,
        unchanged=len(both) - len(changed),
    )


def describe_diff(diff: VersionDiff, limit: int | None = None) -> list[str]:
    """Return the difference as lines for a terminal: counts, then at most `limit` problems of each kind (None: all)."""
    reworded = sum(any(field in WORDING for field in change.fields) for change in diff.changed)
    lines = [
        f"{len(diff.added)} added, {len(diff.removed)} removed, {len(diff.changed)} changed ({reworded} in wording), "
        f"{diff.unchanged} unchanged"
    ]
    lines += _listed([[f"+ {name}"] for name in diff.added], limit, "added")
    lines += _listed([[f"- {name}"] for name in diff.removed], limit, "removed")
    return lines + _listed([_describe_change(change) for change in diff.changed], limit, "changed")


def _differing_fields(old: Strategy, new: Strategy) -> tuple[str, ...]:
    return tuple(name for name in Strategy.model_fields if getattr(old, name) != getattr(new, name))


def _listed(entries: list[list[str]], limit: int | None, what: str) -> list[str]:
    shown = entries if limit is None else entries[:limit]
    lines = [line for entry in shown for line in entry]
    if len(shown) < len(entries):
        lines.append(f"  … and {len(entries) - len(shown)} more {what}")
    return lines


def _describe_change(change: ChangedStrategy) -> list[str]:
    lines = [f"~ {change.problem_id}: {', '.join(change.fields)}"]
    for name in change.fields:
        old, new = _shown(getattr(change.old, name)), _shown(getattr(change.new, name))
        lines += (
            [f"    {name}: {old} -> {new}"] if len(old + new) <= 60 else [f"  - {name}: {old}", f"  + {name}: {new}"]
        )
    return lines


def _shown(value: object) -> str:
    """Return a field's value on one line."""
    if isinstance(value, tuple):
        value = " ".join(f"{number}. {step}" for number, step in enumerate(value, start=1))
    if isinstance(value, dict):
        value = ", ".join(f"{key} {_shown(item)}" for key, item in sorted(value.items()))
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
