"""Optional packages, installed by an extra of numrnn and imported when first needed."""

from __future__ import annotations

import importlib
from typing import Any


class MissingExtraError(ImportError):
    """A package that an extra of numrnn installs cannot be imported; the message names the extra."""


def import_extra(module: str, *, package: str, extra: str, user: str) -> Any:
    """Return a module of a package that an extra installs.

    Parameters
    ----------
    module : str
        Name of the module.
    package : str
        Name of the package in the error.
    extra : str
        The extra that installs it: pip install numrnn[extra].
    user : str
        What needs it, for the error.

    Raises
    ------
    MissingExtraError
        If it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"{user} needs {package}: pip install numrnn[{extra}] (found: {error})") from error
