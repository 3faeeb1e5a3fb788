"""`make demo`: the whole retraining loop on the testbed, on one machine, with nothing set up."""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("SGPO_CONSOLE", "1")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")


def main() -> None:
    """Build the base model, register it as champion, run `retrain`, and say what came of it."""
    from flows.parameters import settings_of
    from flows.process import CommandFailed, show
    from sgpo.config import ConfigError

    begun = time.perf_counter()
    overrides = sys.argv[1:]
    try:
        settings = settings_of(RECIPE, overrides)
        _run(settings, overrides)
    except (CommandFailed, ConfigError) as error:
        show(f"\n{type(error).__name__}: {error}\nRun `make demo` again: it goes on from what is done.")
        sys.exit(1)
    show(f"\n{time.perf_counter() - begun:.0f} s in all.")


RECIPE = "configs/testbed.yaml"


def _run(settings, overrides: list[str]) -> None:  # noqa: ANN001
    from prefect import flow

    from flows.data_versions import reproduce
    from flows.process import REPOSITORY, show
    from flows.retrain import PhaseClock, retrain
    from sgpo.report import describe
    from sgpo.stages import load_params

    run_id = _run_id(settings)
    show(f"SGPO demo, run {run_id}: the world, its base model, and one retraining.")

    @flow(name="demo", flow_run_name=f"demo {run_id}")
    def demo():  # noqa: ANN202
        clock = PhaseClock()
        with clock.phase("world and base model (built once, then cached by DVC)"):
            reproduce("world")
            reproduce("base_model")
        with clock.phase("base model registered as champion"):
            family = load_params(REPOSITORY / "params.yaml").base_model.family
            _register_base(settings, REPOSITORY / "data" / "base" / family)
        return retrain(RECIPE, overrides, run_id)

    summary = demo()
    folder = settings.runs / run_id
    show(f"\n{'=' * 100}\n{describe(summary)}")
    show(f"\nPicture: {folder}/report/retraining.png   Numbers: {folder}/summary.json")
    show("This very run in MLflow:  .venv/bin/mlflow ui --backend-store-uri " + settings.tracking.mlflow_uri)
    show("             in Prefect:  PREFECT_HOME=$PWD/.sgpo/prefect .venv/bin/prefect server start")


def _run_id(settings) -> str:  # noqa: ANN001
    """The newest demo run with this configuration that has not ended; else the next number."""
    from sgpo.config import dump_config

    done = sorted(settings.runs.glob("demo-[0-9][0-9][0-9]"))
    if done and not (done[-1] / "summary.json").is_file():
        kept = done[-1] / "config.yaml"
        if not kept.is_file() or kept.read_text(encoding="utf-8") == dump_config(settings):
            return done[-1].name
    return f"demo-{int(done[-1].name[-3:]) + 1 if done else 1:03d}"


def _register_base(settings, folder) -> None:  # noqa: ANN001
    """The base model as champion, whatever an earlier demo promoted: every demo shows the same retraining."""
    from flows.process import show
    from sgpo.evaluation.report import folder_digest
    from sgpo.registry.models import register_model_folder
    from sgpo.registry.promotion import set_champion

    digest = folder_digest(folder)
    version = register_model_folder(settings.tracking, folder, {"sgpo.base_model": folder.name}, f"base-{digest[:16]}")
    change = set_champion(settings.tracking, version, who="demo", why="The demo starts from the base model.")
    show(f"  {change.describe()}")


if __name__ == "__main__":
    main()
