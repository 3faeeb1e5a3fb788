"""`make demo`: the whole retraining loop on the testbed, on one machine, with nothing set up."""

import atexit
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from flows.server import prefect_server, wait_for
from sgpo.config import ConfigError, load_config

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = "configs/testbed.yaml"


def main() -> None:
    """Check the overrides, start Prefect's API unless there is one, and run the demo; errors are one line."""
    overrides = tuple(sys.argv[1:])
    os.chdir(REPOSITORY)
    try:
        settings = load_config(RECIPE, overrides)
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
    from flows.demonstration import prepare, run  # Prefect reads its settings when it is imported

    prepare(settings)  # while Prefect makes its own database
    wait_for(os.environ["PREFECT_API_URL"])
    run(settings, RECIPE, overrides)


if __name__ == "__main__":
    main()
