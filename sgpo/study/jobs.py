"""The run of a cell: its settings, the model that it starts from, and what its numbers depend on."""

import re
from dataclasses import dataclass
from pathlib import Path

from sgpo import __version__
from sgpo.config import RunConfig, load_config
from sgpo.config.study import OWN, StudyConfig, StudyMethod
from sgpo.rollouts.model_folder import cached_snapshot, local_folder, may_be_hub_id
from sgpo.study.cells import Cell
from sgpo.study.digests import digest_of
from sgpo.study.rates import best_rate
from sgpo.study.results import Results, StudyError
from sgpo.training.inputs import reads_responses
from sgpo.training.recovery.origin import digest_of_what_is_computed

RATE = "training.learning_rate"


@dataclass(frozen=True, slots=True)
class Job:
    """A run of a cell: the settings, the folder of its model, and the job whose model it starts from."""

    settings: tuple[str, ...]
    config: RunConfig
    folder: Path
    base: Path
    start: "Job | None"
    train: bool

    @property
    def begins_from(self) -> Path:
        """Return the model that it starts from."""
        return self.base if self.start is None else self.start.model

    @property
    def model(self) -> Path:
        """Return the model that is measured."""
        return self.folder / "model" if self.train else self.begins_from


def job_of(study: StudyConfig, results: Results, cell: Cell, method: str | None = None) -> Job:
    """Return the run of a cell, or of the method that its method starts from; the folder is that of equal runs.

    Raises StudyError where its learning rate comes from a table that has not all its results, ModelFolderError for a
    model that the hub's cache has, and not whole.
    """
    name = method or cell.method
    chosen, table, world = study.methods[name], study.tables[cell.table], study.worlds[cell.world]
    settings = [*chosen.settings]
    if table.rates_from is not None and chosen.train and not names_its_rate(chosen):
        rate = best_rate(study, results, table.rates_from, name, cell.world, cell.family)
        settings.append(f"{RATE}={rate!r}")
    if name == cell.method:
        settings += table.variants[cell.variant]
    settings += [f"seed={cell.seed}", f"data={world.data}"]
    config, base = load_config(study.recipe, settings), _base(world.models[cell.family])
    start = job_of(study, results, cell, chosen.start) if chosen.start else None
    # What is not trained has no seed: cells of several seeds measure it once.
    known = config if chosen.train else config.model_copy(update={"seed": 0})
    parts = (cell.world, cell.family, name, str(known.seed), digest_of_what_is_computed(known))
    label = "-".join(
        re.sub(r"[^\w.]+", "-", part) for part in (*parts, start.folder.name[-8:] if start else "") if part
    )
    return Job(tuple(settings), config, study.runs / label, base, start, chosen.train)


def _base(model: Path) -> Path:
    """Return the folder of a base model, or of what Hugging Face's cache has of a hub id; a study fetches nothing."""
    if not model.is_dir() and may_be_hub_id(model) and (found := cached_snapshot(str(model))):
        return local_folder(found)
    return model


def names_its_rate(method: StudyMethod) -> bool:
    """Return whether the method's own settings say its learning rate: no trials choose it then."""
    return any(setting.partition("=")[0].strip() == RATE for setting in method.settings)


def benchmarks_of(study: StudyConfig, cell: Cell) -> list[str]:
    """Return what a cell is measured on: its world's own problems, and the benchmarks whose files are there."""
    chosen = study.tables[cell.table].benchmarks
    return [OWN, *(name for name in chosen if problems_of(study, cell, name).is_file())]


def problems_of(study: StudyConfig, cell: Cell, benchmark: str = OWN) -> Path:
    """Return the file of the problems that a cell is measured on."""
    world = study.worlds[cell.world]
    if benchmark != OWN:
        return world.benchmarks[benchmark]
    return world.data / "problems" / f"{study.tables[cell.table].split}.parquet"


def made_of(study: StudyConfig, cell: Cell, job: Job, benchmark: str = OWN) -> dict[str, str]:
    """Return what the cell's numbers depend on: digests of settings, base model and data, and the version.

    The strong model's responses are among them where the method, or one that it starts from, reads them.
    """
    data, configs = job.config.data, []
    trained: Job | None = job
    while trained is not None:
        configs.append(trained.config)
        trained = trained.start
    for path in (job.base, problems_of(study, cell, benchmark)):
        if not path.exists():
            of_hub = ", or fetch it, if it is a hub's model" if path == job.base and may_be_hub_id(path) else ""
            raise StudyError(
                f"{path}: there is none (expected what world '{cell.world}' is made of: make it first{of_hub})"
            )
    files = ["splits/train.parquet", "strategies.parquet"]
    if any(map(reads_responses, configs)):
        files += ["splits/warmup.parquet", "responses.parquet"]
    return {
        "settings": "+".join(map(digest_of_what_is_computed, configs)),
        "model": digest_of(job.base),
        **{name: digest_of(data / name) for name in files if (data / name).is_file()},
        "problems": digest_of(problems_of(study, cell, benchmark)),
        "code": __version__,
    }
