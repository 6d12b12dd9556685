"""Packages that an extra of numrnn installs, imported where they are first needed."""

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
        As `import` takes it.
    package : str
        How the package is called in the error.
    extra : str
        What installs it: pip install numrnn[extra].
    user : str
        Who needs it.

    Raises
    ------
    MissingExtraError
        If it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"{user} needs {package}: pip install numrnn[{extra}] (found: {error})") from error
