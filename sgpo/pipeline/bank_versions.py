"""Versions of a strategy file: a Parquet file, or what the DVC records of a git revision say that the file was."""

import tempfile
from pathlib import Path

from sgpo.errors import UserError
from sgpo.strategies.bank import StrategyFileError, load_strategies
from sgpo.strategies.schema import Strategy


class VersionError(UserError):
    """A version that cannot be read; the message says which, and what would be right."""


def read_version(spec: str, path: Path) -> dict[str, Strategy]:
    """Return the strategies by problem id of a version of `path`, such as data/strategies.parquet.

    `spec` is a Parquet file, or a git revision (tag, branch, commit) of the repository that holds `path`; then the
    content comes from DVC's cache or remote, and the working tree is left alone. Raises VersionError, and
    StrategyFileError for a content that is no strategy file, which names a revision's as `path@revision`.
    """
    file = Path(spec)
    if file.is_file():
        return load_strategies(file)
    if file.suffix == ".parquet":
        raise VersionError(f"{spec}: no such file (expected a Parquet file or a git revision)")
    content = _content_at(spec, path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        try:
            return load_strategies(copy)
        except StrategyFileError as error:
            raise StrategyFileError(str(error).replace(str(copy), f"{path}@{spec}")) from None


def _content_at(revision: str, path: Path) -> bytes:
    """Return the bytes of `path` as of `revision`."""
    import dvc.api
    from dvc.exceptions import NotDvcRepoError, PathMissingError
    from dvc.repo import Repo
    from dvc.scm import RevError

    full = path.absolute()
    folder = next(parent for parent in full.parents if parent.is_dir())
    try:
        root = Path(Repo.find_root(str(folder)))
        content = dvc.api.read(str(full.relative_to(root)), repo=str(root), rev=revision, mode="rb")
    except NotDvcRepoError:
        raise VersionError(f"{path}: not in a DVC repository (expected one, to look up '{revision}' in)") from None
    except RevError:
        raise VersionError(f"'{revision}' is no file and no git revision (expected a tag, commit or file)") from None
    except PathMissingError:
        message = "DVC has no record of it, or its content is neither in the cache nor in the remote"
        raise VersionError(f"{path}@{revision}: {message} (expected a revision whose data was pushed)") from None
    except Exception as error:  # every kind of remote has a client with errors of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise VersionError(f"{path}@{revision}: cannot be fetched: {reason}") from None
    assert isinstance(content, bytes)
    return content
