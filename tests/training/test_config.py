"""Configurations: TOML in, frozen models, TOML out."""

from __future__ import annotations

from pathlib import Path

import pytest

import medzoo
from medzoo.errors import ConfigError
from medzoo.training.config import format_config, make_config, parse_setting
from medzoo.training.settings import TrainConfig


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = make_config({"data": {"source": "a b.csv"}, "training": {"learning_rate": 1e-4}})
    (tmp_path / "c.toml").write_text(format_config(config))
    assert medzoo.read_config(tmp_path / "c.toml") == config


def test_settings_stand_above_the_file() -> None:
    config = make_config({"training": {"epochs": 3, "seed": 2}}, [parse_setting("training.epochs=7")])
    assert (config.training.epochs, config.training.seed) == (7, 2)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().training.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"trainning": {}}, "'training'"),
        ({"training": {"epoch": 1}}, "'training.epochs'"),
        ({"training": {"epochs": "many"}}, "training.epochs = 'many'"),
        ({"training": {"precision": "float8"}}, "float32"),
        ({"training": {"epochs": 0}}, "greater than or equal to 1"),
        ({"training": 3}, "training"),
    ],
)
def test_mistakes_are_named(content: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_config(content)


@pytest.mark.parametrize("text", ["epochs", "epochs=3"])
def test_a_setting_needs_section_and_value(text: str) -> None:
    with pytest.raises(ConfigError, match="section"):
        make_config({}, [parse_setting(text)])


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        medzoo.read_config(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("[training\n")
    with pytest.raises(ConfigError, match="no TOML"):
        medzoo.read_config(tmp_path / "broken.toml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "data.frame",
            "last",
            r"^data\.frame = 'last'; expected 'first', 'middle' or 'all', or a valid integer",
        ),
        ("data.uncertain", {"*": "maybe"}, r"^data\.uncertain = 'maybe'; expected 'ones', 'zeros'"),
        (
            "data.uncertain",
            {"Edema": "maybe"},
            r"^data\.uncertain\.Edema = 'maybe'; expected 'ones', 'zeros'",
        ),
    ],
)
def test_a_setting_of_several_types_is_named_as_it_is_written(key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_config({}, [(key, value)])
