"""A study as one file: which methods are trained on which worlds and seeds, and how they are measured."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sgpo.config.base import Settings

OWN = "own"
"""The benchmark of the world's own problems, of the table's split."""


def _as_names(given: Any) -> Any:
    """Return one name as a list of it: `against: grpo`."""
    return (given,) if isinstance(given, str) else given


class StudyWorld(Settings):
    """Data and base models; `decisions` and `habit` are copied into the results."""

    data: Path = Field(description="Folder with problems, strategies and splits")
    models: dict[str, Path] = Field(description="Base model of each family: a folder or hub id")
    benchmarks: dict[str, Path] = Field(
        default={}, description="Further problem files to measure on; files that do not exist are skipped"
    )
    decisions: int | None = Field(default=None, ge=1)
    habit: float | None = Field(default=None, ge=0.0, le=1.0)


class StudyMethod(Settings):
    """A method: its changes to the recipe, and the model that it starts from."""

    settings: tuple[str, ...] = Field(default=(), description="Overrides such as training.algorithm.type=grpo")
    start: str | None = Field(
        default=None, description="Method whose trained model it starts from; null: the base model"
    )
    train: bool = Field(default=True, description="false: only measure the model that it starts from")


class StudyTable(Settings):
    """A grid: every combination is a cell."""

    worlds: tuple[str, ...] = Field(min_length=1)
    families: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    variants: dict[str, tuple[str, ...]] = Field(
        default={"": ()}, min_length=1, description="Named sets of further overrides: a dimension of the grid"
    )
    split: Literal["tuning", "held_out"] = "held_out"
    k: tuple[int, ...] = Field(
        default=(4,), min_length=1, description="Responses per problem; the largest number is sampled"
    )
    rates_from: str | None = Field(
        default=None, description="Table on the tuning split that gives its best rate to each method that names none"
    )
    benchmarks: tuple[str, ...] = Field(default=(), description="Benchmarks of its worlds to measure too")
    against: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = Field(
        default=(), description="Methods with which the report compares the others"
    )


class StudyConfig(Settings):
    """One study, whole."""

    recipe: Path = Field(description="Run recipe of every cell")
    results: Path = Field(description="File with one line per finished cell and k; meant to be committed")
    runs: Path = Field(description="Folder of the cells' runs")
    at_once: int = Field(default=2, ge=1, le=64, description="Cells that run at the same time, one thread each")
    worlds: dict[str, StudyWorld]
    methods: dict[str, StudyMethod]
    tables: dict[str, StudyTable]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for name, table in self.tables.items():
            for kind, chosen, known in (
                ("world", table.worlds, self.worlds), ("method", table.methods, self.methods),
                ("method", table.against, self.methods),
                ("table", (table.rates_from,) if table.rates_from else (), self.tables),
            ):  # fmt: skip
                for one in chosen:
                    if one not in known:
                        raise ValueError(
                            f"table '{name}': unknown {kind} '{one}' (expected one of: {', '.join(known)})"
                        )
            for world in table.worlds:
                for family in table.families:
                    if family not in self.worlds[world].models:
                        raise ValueError(
                            f"table '{name}': world '{world}' has no model of family '{family}' "
                            f"(expected one of: {', '.join(self.worlds[world].models)})"
                        )
                for benchmark in table.benchmarks:
                    if benchmark not in self.worlds[world].benchmarks:
                        raise ValueError(
                            f"table '{name}': world '{world}' has no benchmark '{benchmark}' "
                            f"(expected one of: {', '.join(self.worlds[world].benchmarks) or 'none'})"
                        )
            source = self.tables[table.rates_from] if table.rates_from else None
            if source is not None and (source.split != "tuning" or source.rates_from is not None):
                raise ValueError(
                    f"table '{name}': rates_from '{table.rates_from}' is not on the tuning split, or takes its rates "
                    "from another (expected a table with trials)"
                )
        return self

    @model_validator(mode="after")
    def _own_is_no_benchmark(self) -> Self:
        for name, world in self.worlds.items():
            if OWN in world.benchmarks:
                raise ValueError(
                    f"world '{name}': a benchmark '{OWN}' (expected another name: its own problems have it)"
                )
        return self

    @model_validator(mode="after")
    def _starts_end(self) -> Self:
        for name in self.methods:
            seen, start = [name], self.methods[name].start
            while start is not None:
                if start not in self.methods or start in seen:
                    why = "starts from itself" if start in seen else f"starts from the unknown method '{start}'"
                    raise ValueError(f"method '{name}' {why} (expected another one of: {', '.join(self.methods)})")
                seen.append(start)
                start = self.methods[start].start
        return self
