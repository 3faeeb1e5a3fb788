"""Flow: the champion sampled with and without strategies, and the training splits made from it."""

from prefect.artifacts import create_table_artifact

from flows.champion import fetch_champion
from flows.data_versions import Md5s, reproduce
from flows.definitions import operated_flow
from flows.limits import this_checkout
from flows.names import probe_name
from flows.parameters import Overrides, Recipe, Version, settings_of
from flows.process import REPOSITORY, show
from sgpo.config.pipeline import load_params
from sgpo.evaluation.intervals import Estimate
from sgpo.pipeline.probe import StrategyLift, lift_of_problems, lift_of_tiers
from sgpo.registry.promotion import CHAMPION

PROBLEMS_SHOWN = 200


@operated_flow(name="generate-rollouts", flow_run_name=probe_name)
def generate_rollouts(
    recipe: Recipe = "configs/testbed.yaml", version: Version = "", overrides: Overrides = ()
) -> Md5s:
    """Probe the champion: pass rate without and with strategy, problem by problem; returns the splits' version."""
    with this_checkout():
        fetch_champion(settings_of(recipe, overrides).tracking, version or CHAMPION)
        reproduce("probe")
        _show_probe()
        return reproduce("splits")


def _show_probe() -> None:
    """Publish the tables `probe` (tiers) and `probe-problems`."""
    settings = load_params(REPOSITORY / "params.yaml").probe
    tiers = lift_of_tiers(REPOSITORY / "data", settings)
    everything = tiers[-1]
    show(f"  champion passes {everything.autonomous.value:.1%} without and {everything.guided.value:.1%} with strategy")
    create_table_artifact(
        [{"problems": f"{row.name} ({row.problems})", **_cells(row)} for row in tiers],
        key="probe",
        description="The champion's mean pass rate on training problems, with 95 % intervals over problems",
    )
    problems = lift_of_problems(REPOSITORY / "data", settings)
    create_table_artifact(
        [{"problem": row.name, **_cells(row)} for row in problems[:PROBLEMS_SHOWN]],
        key="probe-problems",
        description=f"{min(len(problems), PROBLEMS_SHOWN)} of {len(problems)} problems, the largest lift first, with "
        "95 % intervals over rollouts; all: data/probe.parquet",
    )


def _cells(row: StrategyLift) -> dict[str, str]:
    def cell(estimate: Estimate, sign: str) -> str:
        return f"{estimate.value:{sign}.1%} ({estimate.low:{sign}.1%} to {estimate.high:{sign}.1%})"

    return {
        "without strategy": cell(row.autonomous, ""),
        "with strategy": cell(row.guided, ""),
        "lift": cell(row.lift, "+"),
    }
