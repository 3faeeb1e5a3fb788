"""The error of everything that opens a model, in a file that imports no torch."""

from sgpo.errors import UserError


class ModelFolderError(UserError, ValueError):
    """A model folder or file that cannot be opened; names what is missing."""
