"""Each method's learning rate, from its trials on the tuning split: the same number of trials for every method."""

import statistics
from collections import defaultdict

from sgpo.config.study import StudyConfig
from sgpo.study.cells import cells_of
from sgpo.study.results import Results, StudyError


def best_rate(study: StudyConfig, results: Results, table: str, method: str, world: str, family: str) -> float:
    """Return the rate with the best mean avg@k over the trials of `method`; the largest k counts.

    The table's trials of this world and family count where it has any, else those of this world, else those of this
    family, else all: each rate on the same ones. Raises StudyError while one of them has no result.
    """
    trials = [cell for cell in cells_of(study, (table,)) if cell.method == method]
    if not trials:
        raise StudyError(f"table '{table}' has no trials of method '{method}' (expected some among its methods)")
    near = (
        [cell for cell in trials if (cell.world, cell.family) == (world, family)]
        or [cell for cell in trials if cell.world == world]
        or [cell for cell in trials if cell.family == family]
        or trials
    )
    k = max(study.tables[table].k)
    rows = {row.cell: row for row in results.of(table, (k,))}
    if missing := sorted(cell.name for cell in near if cell.name not in rows):
        raise StudyError(f"table '{table}' has no result of '{missing[0]}' yet: run it first (--table {table})")
    by_rate: dict[float, list[float]] = defaultdict(list)
    for row in (rows[cell.name] for cell in near):
        if row.learning_rate is not None:
            by_rate[row.learning_rate].append(row.avg)
    return max(by_rate, key=lambda rate: (statistics.fmean(by_rate[rate]), -rate))
