"""The tables of docs/training.md name every setting once, with its meaning, and say what the code says."""

import dataclasses

import pytest

import tables
from syncdraw.training import RunConfig, read_recipe


def test_every_setting_is_somebodys() -> None:
    named = sorted(name for names in tables.WHO.values() for name in names)
    assert named == sorted(setting.name for setting in tables.settings())


@pytest.mark.parametrize("setting", list(tables.settings()), ids=lambda setting: setting.name)
def test_a_setting_is_explained(setting: tables.Setting) -> None:
    value = RunConfig()
    for name in setting.name.split("."):
        value = getattr(value, name)  # it is where its name says
    assert len(setting.meaning) > 4
    if setting.choices:
        assert setting.default in setting.choices


def test_settings_are_read_from_the_code() -> None:
    @dataclasses.dataclass(frozen=True)
    class Cooking:
        """How.

        Attributes:
            minutes: of boiling,
                or more.
            salt: none at all.

        Raises:
            UserError: never.
        """

        minutes: int = 7
        salt: float | None = None

    found = list(tables.settings(Cooking, "pot."))
    assert found == [
        tables.Setting("pot.minutes", "7", (), "of boiling, or more."),
        tables.Setting("pot.salt", "none", (), "none at all."),
    ]
    Cooking.__doc__ = "How.\n\nAttributes:\n    minutes: of boiling."
    with pytest.raises(KeyError, match="salt"):
        list(tables.settings(Cooking))


def test_recipes_made_from_nothing_begin_from_nothing() -> None:
    """A model that was made by its recipe owes nothing to one that was not."""
    for name in tables.BY_RECIPE:
        start = read_recipe(name).stages[0].config.train.start
        assert all(begun is None or begun in tables.BY_RECIPE for begun in (start.model, start.first_look))
