"""From a study's file to its cells, in the order in which they are to run."""

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sgpo.config import ConfigError
from sgpo.config.base import parse_settings, read_yaml
from sgpo.config.study import StudyConfig, StudyTable


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a study, and how it is measured."""

    table: str
    world: str
    family: str
    method: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Return what tells it from the other cells."""
        parts = (self.table, self.world, self.family, self.method, self.variant, str(self.seed))
        return "/".join(part for part in parts if part)


def load_study(path: Path) -> StudyConfig:
    """Return the study in a YAML file; ConfigError names the file and what is wrong in it."""
    study = parse_settings(StudyConfig, read_yaml(path), str(path))
    names = Counter(cell.name for cell in cells_of(study))
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(f"{path}: cell '{twice[0]}' is there {names[twice[0]]} times (expected every cell once)")
    return study


def cells_of(study: StudyConfig, tables: tuple[str, ...] = ()) -> list[Cell]:
    """Return the cells of these tables, or of all: in the order of the file, but tables that choose rates first.

    Seeds are outermost: what is cut off early then has few seeds of everything, and not all seeds of little.
    """
    if unknown := [name for name in tables if name not in study.tables]:
        raise ConfigError(f"unknown table '{unknown[0]}' (expected one of: {', '.join(study.tables)})")
    return [
        Cell(name, world, family, method, variant, seed)
        for name, table in sorted(study.tables.items(), key=lambda item: item[1].rates_from is not None)
        if not tables or name in tables
        for seed, world, family, variant, method in _grid(table)
    ]


def _grid(table: StudyTable) -> itertools.product:
    return itertools.product(table.seeds, table.worlds, table.families, table.variants, table.methods)
