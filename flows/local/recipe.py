"""The recipe of this checkout: the one that prefect.yaml gives its retrainings (`sgpo init` writes it)."""

from pathlib import Path

import yaml

DEFAULT = "configs/testbed.yaml"


def recipe_of(checkout: Path) -> str:
    """Return the recipe of the deployment `retrain`; the testbed's where the file does not say."""
    try:
        tree = yaml.safe_load((checkout / "prefect.yaml").read_text(encoding="utf-8"))
        retrain = next(one for one in tree["deployments"] if one["name"] == "retrain")
        return str(retrain["parameters"]["recipe"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration):
        return DEFAULT
