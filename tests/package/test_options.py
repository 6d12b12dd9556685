"""Settings that say what they mean: docstring, checks and command line follow from one line each."""

import dataclasses
import inspect
import math

import numpy as np
import pytest

from numrnn.initializers import InitialValues
from numrnn.options import Option, checked, documented, inherited, option, options
from numrnn.training import TrainingConfig

SETTINGS = (InitialValues, TrainingConfig)
RANGED = [(kind, name) for kind in SETTINGS for name, meaning in options(kind).items() if meaning.range]


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How it goes.

    Raises
    ------
    ValueError
        If it does not.
    """

    size: int = option(3, "how many", at_least=1, more="Not more than fit.")
    share: float | None = option(None, "part {range} of it", at_least=0, below=1, none="all of it")
    way: str | None = option(None, "which", choices=("here", "there"))
    pace: float = option(1.0, "how fast", above=0)
    free: float = option(0.0, "whatever")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Others:
    size: int = inherited(Settings, "size", 5)
    pace: float = inherited(Settings, "pace", 2.0, help="how slow", above=1)


def test_the_docstring_names_every_field_with_type_meaning_and_range_before_what_is_raised():
    assert inspect.cleandoc(Settings.__doc__) == inspect.cleandoc(
        """How it goes.

    Parameters
    ----------
    size : int
        how many, >= 1. Not more than fit.
    share : float or None
        part >= 0 and < 1 of it. None: all of it.
    way : {'here', 'there'} or None
        which.
    pace : float
        how fast, > 0.
    free : float
        whatever.

    Raises
    ------
    ValueError
        If it does not.
    """
    )


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_settings_of_the_package_have_one_meaning_for_every_field(kind):
    assert list(options(kind)) == [field.name for field in dataclasses.fields(kind)]
    for name in options(kind):
        assert kind.__doc__.count(f"\n    {name} : ") == 1


def test_an_inherited_field_means_the_same_but_for_what_is_changed():
    assert options(Others)["size"] == options(Settings)["size"]
    assert options(Others)["pace"] == Option(help="how slow", above=1)
    assert (Others().size, Others().pace) == (5, 2.0)
    with pytest.raises(KeyError, match="colour"):
        inherited(Settings, "colour", 1)


def test_values_are_checked_by_type_and_range_and_none_is_left_out():
    assert dict(checked(Settings(size=np.int64(4), pace=2))) == {"size": 4, "pace": 2.0}
    assert type(dict(checked(Settings(pace=2)))["pace"]) is float
    assert dict(checked(Settings(share=0)))["share"] == 0
    for value in (1, 1.5, -0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"share must be a finite number >= 0 and < 1, got "):
            dict(checked(Settings(share=value)))
    with pytest.raises(TypeError, match=r"size must be an integer >= 1, got 2\.5"):
        dict(checked(Settings(size=2.5)))


def of(kind, **values):
    """Return settings that are right but for what is given."""
    length = {} if kind is InitialValues or values.keys() & {"epochs", "iterations", "seconds"} else {"epochs": 1}
    return kind(**length, **({"forget_bias": "chrono"} if "t_max" in values else {}), **values)


@pytest.mark.parametrize(("kind", "name"), RANGED, ids=[f"{kind.__name__}.{name}" for kind, name in RANGED])
def test_the_range_that_the_help_names_is_the_range_that_is_checked(kind, name):
    meaning, rng = options(kind)[name], np.random.default_rng(len(name))
    integer = "int" in str(next(field.type for field in dataclasses.fields(kind) if field.name == name))
    bound = meaning.above if meaning.at_least is None else meaning.at_least
    offsets = rng.integers(1, 100, 20) if integer else 10.0 ** rng.uniform(-12, 3, 20)
    for offset in offsets.tolist():
        with pytest.raises(ValueError, match=f"{name} must be .*{meaning.range}, got"):
            of(kind, **{name: bound - offset})
        inside = bound + offset
        if meaning.below is None or inside < meaning.below:
            assert getattr(of(kind, **{name: inside}), name) == inside
    if meaning.at_least is None:
        with pytest.raises(ValueError, match=f"{name} must be"):
            of(kind, **{name: bound})
    else:
        assert getattr(of(kind, **{name: bound}), name) == bound
