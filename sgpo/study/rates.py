"""Each method's learning rate, from its trials on the tuning split: the same number of trials for every method."""

import statistics
from collections import defaultdict

from sgpo.config.study import StudyConfig
from sgpo.study.cells import cells_of
from sgpo.study.results import Results, StudyError


def best_rate(study: StudyConfig, results: Results, table: str, method: str, world: str, family: str) -> float:
    """Return the rate with the best mean avg@k over the trials of `method`; the largest k counts.

    Trials of this world and family count where there are any, else those of this world, else all. Raises StudyError
    while trials of the method are missing.
    """
    wanted = {cell.name for cell in cells_of(study, (table,)) if cell.method == method}
    k = max(study.tables[table].k)
    rows = [row for row in results.of(table, (k,)) if row.method == method]
    if missing := sorted(wanted - {row.cell for row in rows}):
        raise StudyError(f"table '{table}' has no result of '{missing[0]}' yet: run it first (--table {table})")
    if not rows:
        raise StudyError(f"table '{table}' has no trials of method '{method}' (expected some among its methods)")
    near = [row for row in rows if (row.world, row.family) == (world, family)]
    near = near or [row for row in rows if row.world == world] or rows
    by_rate: dict[float, list[float]] = defaultdict(list)
    for row in near:
        if row.learning_rate is not None:
            by_rate[row.learning_rate].append(row.avg)
    return max(by_rate, key=lambda rate: (statistics.fmean(by_rate[rate]), -rate))
