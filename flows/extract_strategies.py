"""Flow: strong-model responses and the strategies extracted from them, versioned by DVC."""

import json

from prefect.artifacts import create_table_artifact

from flows.data_versions import Md5s, reproduce
from flows.definitions import operated_flow
from flows.limits import this_checkout
from flows.process import REPOSITORY


@operated_flow(name="extract-strategies", flow_run_name="extract strategies")
def extract_strategies() -> Md5s:
    """Bring data/strategies.parquet up to date and say what was kept and refused; returns its version."""
    with this_checkout():
        versions = reproduce("strategies")
        counts = json.loads((REPOSITORY / "data" / "strategies.json").read_text(encoding="utf-8"))
    refused = [{"what": f"refused: {reason}", "count": count} for reason, count in counts["refused"].items()]
    bands = [{"what": f"{band} quality", "count": f"{counts[band]:.1%}"} for band in ("high", "medium", "low")]
    create_table_artifact(
        [{"what": "kept", "count": counts["kept"]}, *bands, *refused],
        key="strategies",
        description="Strategies kept and candidates refused, by reason",
    )
    return versions
