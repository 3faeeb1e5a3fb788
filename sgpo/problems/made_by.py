"""Which command makes a file of the data folder: what to do where one is missing."""

from pathlib import Path

_IMPORT = "`sgpo problems import FILE --split {0}` puts your own there, `dvc repro world` the testbed's"
_MAKERS = {
    "problems/train.parquet": _IMPORT.format("train"),
    "problems/tuning.parquet": _IMPORT.format("tuning"),
    "problems/held_out.parquet": _IMPORT.format("held_out"),
    "responses.parquet": "`dvc repro responses` makes it",
    "strategies.parquet": "`dvc repro strategies` makes it",
    "probe.parquet": "`dvc repro probe` makes it",
    "splits/train.parquet": "`dvc repro splits` makes it",
    "splits/held_out.parquet": "`dvc repro splits` makes it",
    "splits/warmup.parquet": "`dvc repro splits` makes it, with splits.warmup_fraction above 0 in params.yaml",
}


def no_such_file(path: Path | str) -> str:
    """Return the message for a missing file, with the command that makes it where it is one of the data folder's."""
    end = "/".join(Path(path).parts[-2:])
    maker = _MAKERS.get(end) or _MAKERS.get(Path(path).name)
    return f"{path}: no such file ({maker})" if maker else f"{path}: no such file"
