"""The names of metrics that take a number: `partial_auroc@.1`, `top@3`, `sensitivity@specificity=.9`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from medzoo.errors import ConfigError


@dataclass(frozen=True)
class Parameter:
    """A metric's number: what stands before it in the name, what it is without one, whether it is a whole number.

    >>> PARAMETERS["top"].default
    3
    """

    separator: str
    default: float
    is_whole: bool = False


#: Metrics that take a number, with the number that the bare name stands for.
PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "partial_auroc": Parameter("@", 0.1),
        "top": Parameter("@", 3, is_whole=True),
        "sensitivity@specificity": Parameter("=", 0.9),
        "specificity@sensitivity": Parameter("=", 0.9),
    }
)


def read_name(name: str) -> tuple[str, float | None]:
    """Split a metric's name into that of its row in the registry and its number, None where it has none.

    Raises ConfigError for a number that is no share above 0 and up to 1, or for `top` no whole number from 1.
    Whether a metric of that name exists is not asked.

    >>> read_name("partial_auroc@.1"), read_name("sensitivity@specificity=.95"), read_name("auroc")
    (('partial_auroc', 0.1), ('sensitivity@specificity', 0.95), ('auroc', None))
    """
    for base, parameter in PARAMETERS.items():
        prefix = base + parameter.separator
        if name.startswith(prefix):
            return base, _read_number(name, name.removeprefix(prefix), parameter)
    return name, None


def _read_number(name: str, text: str, parameter: Parameter) -> float:
    """Read the number of a metric's name, refusing one that the metric has no meaning for."""
    expected = "a whole number from 1" if parameter.is_whole else "a share above 0 and up to 1"
    example = name.removesuffix(text) + f"{parameter.default:g}".removeprefix("0")
    try:
        number = float(text)
    except ValueError:
        raise ConfigError(f"the metric {name!r} has no number", expected, example) from None
    fits = number >= 1 and number.is_integer() if parameter.is_whole else 0 < number <= 1
    if not fits:
        raise ConfigError(f"the metric {name!r}", expected, example)
    return number
