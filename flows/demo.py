"""`make demo`: the whole retraining loop on the testbed, on one machine, with nothing set up."""

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from flows.server import prefect_server, wait_for
from sgpo.config import ConfigError, RunConfig, load_config

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = "configs/testbed.yaml"


def main() -> None:
    """Check the overrides, start Prefect's API unless there is one, and run the demo; errors are one line."""
    overrides = tuple(sys.argv[1:])
    os.chdir(REPOSITORY)

    def demonstrate(settings: RunConfig) -> None:
        from flows.demonstration import run

        run(settings, RECIPE, overrides)

    run_with_server(RECIPE, overrides, demonstrate)


def run_with_server(recipe: str, overrides: Sequence[str], demonstrate: Callable[[RunConfig], None]) -> None:
    """Call `demonstrate` with the settings, with Prefect's API running; it may import Prefect, and nothing before."""
    try:
        settings = load_config(recipe, overrides)
    except ConfigError as error:
        sys.exit(f"ConfigError: {error}")
    home = Path(os.environ.setdefault("PREFECT_HOME", str(REPOSITORY / ".sgpo" / "prefect")))
    os.environ.setdefault("SGPO_CONSOLE", "1")
    # The terminal gets the demo's own lines; the run's whole log, tracebacks included, is in the Prefect UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    server = ExitStack()
    atexit.register(server.close)  # registered before Prefect's, so after its last lines are sent
    if "PREFECT_API_URL" not in os.environ:
        os.environ["PREFECT_API_URL"] = server.enter_context(prefect_server(home))
    from flows.demonstration import prepare  # Prefect reads its settings when it is imported

    prepare(settings)  # while Prefect makes its own database
    wait_for(os.environ["PREFECT_API_URL"])
    demonstrate(settings)


if __name__ == "__main__":
    main()
