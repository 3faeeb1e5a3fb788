"""A user's own problems in the place of the testbed's: data/problems/<split>.parquet, and nothing that undoes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from sgpo.amounts import counted
from sgpo.errors import UserError, one_line
from sgpo.problems.layouts.mapping import FieldMapping
from sgpo.problems.readers import read_problems, write_problems
from sgpo.problems.repeats import refuse_shared
from sgpo.problems.schema import Problem
from sgpo.problems.sources import SourceReport, read_sources

Split = Literal["train", "tuning", "held_out"]
SPLITS: tuple[Split, ...] = get_args(Split)


class ProblemImportError(UserError):
    """Problems that cannot be put in their place; the message says what stands in the way and what to do."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import: the file, its problems, and how many problems each split has now.

    `sources` says how each file was read; `report` says it in lines, or of a task what was drawn. `advice` is what DVC
    needs next, None outside a repository.
    """

    file: Path
    problems: int
    splits: dict[Split, int]
    sources: tuple[SourceReport, ...] = ()
    report: tuple[str, ...] = ()
    advice: str | None = None

    def lines(self) -> list[str]:
        """Return it for a person."""
        present = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        absent = ", ".join(name for name in SPLITS if name not in self.splits)
        return [
            *self.report,
            f"{self.file}: {counted(self.problems, 'problem')}",
            f"{self.file.parent}: {present}" + (f"; no {absent}" if absent else ""),
            *([] if self.advice is None else [self.advice]),
        ]


def import_problems(
    sources: Sequence[Path], data: Path, split: Split, *, force: bool = False, mapping: FieldMapping | None = None,
    dry_run: bool = False,
) -> Imported:  # fmt: skip
    """Write the problems of Parquet, JSON, JSONL or CSV files as `data`/problems/`split`.parquet, whole or not at all.

    `mapping` names the fields of files in a layout that is not known. A dry run reads and checks, and writes nothing.
    Raises ProblemFileError for a source that cannot be used, that gives one question two answers, or that
    shares an id or a question with another split, and ProblemImportError where the split is there already and not
    `force`, or where a DVC stage makes the problems and would overwrite these.
    """
    tracked = _check_place(data, split, force)
    problems, reports = read_sources(sources, mapping)
    where = ", ".join(str(source) for source in sources)
    imported = _checked(problems, where, data, split, _elsewhere(data, split))
    report = tuple(line for report in reports for line in report.lines())
    return _written(problems, replace(imported, sources=tuple(reports), report=report, advice=tracked), dry_run)


def import_task(
    task: str, size: int, seed: int, options: Mapping[str, Any], data: Path, split: Split, *, levels: int = 0,
    force: bool = False, dry_run: bool = False,
) -> Imported:  # fmt: skip
    """Write problems drawn from a reasoning-gym task, as `import_problems`; questions of other splits are left out.

    `levels` spreads them over the task's levels of difficulty, which become tiers. Raises DomainError for an unknown
    task or option, where the task has too few different questions, and where another process draws others.
    """
    from sgpo.problems.domains.reasoning_gym.repeatable import refuse_unrepeatable
    from sgpo.problems.domains.reasoning_gym.source import draw_problems, text_key

    tracked = _check_place(data, split, force)
    elsewhere = _elsewhere(data, split)
    taken = {text_key(problem.question) for problems in elsewhere.values() for problem in problems}
    drawn = draw_problems(task, size, seed, options, levels, taken)
    refuse_unrepeatable(drawn.problems)
    imported = _checked(drawn.problems, f"reasoning-gym:{task}", data, split, elsewhere)
    return _written(drawn.problems, replace(imported, report=tuple(drawn.lines()), advice=tracked), dry_run)


def _check_place(data: Path, split: Split, force: bool) -> str | None:
    target = data / "problems" / f"{split}.parquet"
    tracked = _check_maker(target.parent)
    if target.exists() and not force:
        raise ProblemImportError(f"{target}: is there already (expected no such file, or --force to replace it)")
    return tracked


def _elsewhere(data: Path, split: Split) -> dict[Split, list[Problem]]:
    paths: dict[Split, Path] = {other: data / "problems" / f"{other}.parquet" for other in SPLITS if other != split}
    return {other: read_problems(path) for other, path in paths.items() if path.exists()}


def _checked(
    problems: Sequence[Problem], where: str, data: Path, split: Split, elsewhere: Mapping[Split, Sequence[Problem]]
) -> Imported:
    """Return where the problems of `where` belong and how many each split then has; raises for shared ones."""
    folder = data / "problems"
    for other, others in elsewhere.items():
        refuse_shared(where, problems, folder / f"{other}.parquet", others)
    counts = {split: len(problems), **{other: len(others) for other, others in elsewhere.items()}}
    splits: dict[Split, int] = {name: counts[name] for name in SPLITS if name in counts}
    return Imported(folder / f"{split}.parquet", len(problems), splits)


def _written(problems: Sequence[Problem], imported: Imported, dry_run: bool) -> Imported:
    if not dry_run:
        write_problems(problems, imported.file)
    return imported


def _check_maker(folder: Path) -> str | None:
    """Return what to do for DVC afterwards, None outside a repository; raises where a stage makes `folder`."""
    try:
        from dvc.exceptions import DvcException, NotDvcRepoError, OutputNotFoundError
        from dvc.repo import Repo
    except ModuleNotFoundError:  # the plain install: no stages are run here
        return None
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    try:
        repository = Repo(Repo.find_root(str(place)))
        makers = [out.stage for out in repository.find_outs_by_path(str(folder.absolute()), strict=False)]
    except NotDvcRepoError:
        return None
    except OutputNotFoundError:
        makers = []
    except DvcException as error:
        raise ProblemImportError(f"{folder}: DVC cannot say what makes it: {one_line(error)}") from None
    for stage in makers:
        if stage.cmd:
            raise ProblemImportError(
                f"{folder}: the DVC stage '{stage.addressing}' makes it and would overwrite your problems "
                f"(run `dvc remove --outs {stage.addressing}` first; it also removes the stage's files)"
            )
    if makers:
        return "`dvc repro` and `dvc add` record the new version"
    return f"`dvc add {folder}` has DVC record this version, and `dvc repro` every later one"
