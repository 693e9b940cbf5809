"""Reading and checking the options of a row: text to a value of the option's type, widths, slim networks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from medzoo.errors import ConfigError, nearest
from medzoo.specs import Scalar, Stage, list_parts

#: No layer of a network that anyone trains has more channels.
WIDEST = 2**20


def read_option(row: str, key: str, text: str, default: Scalar, allowed: str) -> Scalar:
    """Read the text of an option as a value of its default's type.

    Raises:
        ConfigError: the text is no such value.

    >>> read_option("cbr_tiny", "width", "2", 1.0, "a factor")
    2.0
    """
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        raise ConfigError(f"{key}={text!r} for {row}", allowed) from None


def scale_width(row: str, width: int, factor: float) -> int:
    """Multiply a number of channels by the option `width`.

    Raises:
        ConfigError: the product is no whole number of channels, or none.
    """
    scaled = width * factor
    if not (1 <= scaled <= WIDEST and scaled == int(scaled)):
        raise ConfigError(
            f"width={factor:g} makes {scaled:g} of {width} channels in {row}",
            "a factor that leaves a whole number of channels, such as 0.25, 0.5 or 2",
        )
    return int(scaled)


def divide_width(row: str, width: int, factor: int) -> int:
    """Divide a number of channels by the factor of a slim network.

    Raises:
        ConfigError: it does not divide; the factors that do are named.
    """
    if factor < 1 or width % factor:
        allowed = ", ".join(str(number) for number in range(1, min(width, 64) + 1) if width % number == 0)
        raise ConfigError(
            f"slim factor {factor} does not divide {width} channels of {row}", f"one of {allowed}"
        )
    return width // factor


def read_slim(row: str, slim: str, stages: Sequence[Stage]) -> tuple[str, int]:
    """Read the option `slim`, `STAGE:FACTOR`: the last stage or block of full width, and the factor above it.

    Without it, the name is empty and the factor 1.

    Raises:
        ConfigError: another form, or a stage that the network has not or that leaves nothing to thin.

    >>> read_slim("a", "", ())
    ('', 1)
    """
    if not slim:
        return "", 1
    name, colon, factor = slim.partition(":")
    if not colon or not (factor.isascii() and factor.isdigit()) or not 1 <= int(factor) <= WIDEST:
        raise ConfigError(f"slim={slim!r} for {row}", "STAGE:FACTOR, such as slim=conv3:2")
    parts = list_parts(stages)
    # Above the last part below the head there is nothing to thin.
    last = {parts[-2].name, stages[-2].name, stages[-1].name}
    known = [part.name for stage in stages for part in (stage, *stage.blocks) if part.name not in last]
    if name not in known:
        raise ConfigError(f"slim={slim!r}: no stage {name!r} to thin above in {row}", nearest(name, known))
    return name, int(factor)


def simplify_slim(slim: Scalar) -> Scalar:
    """Write the option `slim` in its one form: no zeros before the factor, and nothing for a factor of one.

    >>> simplify_slim("conv3:02"), simplify_slim("conv3:1"), simplify_slim("conv3")
    ('conv3:2', '', 'conv3')
    """
    name, colon, factor = str(slim).partition(":")
    if not colon or not (factor.isascii() and factor.isdigit()):
        return slim  # refused where the stages are known
    return "" if int(factor) == 1 else f"{name}:{int(factor)}"


def check_choice(row: str, key: str, value: Scalar, allowed: Collection[Scalar]) -> None:
    """Refuse a value that an option cannot have.

    Raises:
        ConfigError: the allowed values are named.
    """
    if value not in allowed:
        raise ConfigError(f"{key}={value!r} for {row}", f"one of {', '.join(map(str, allowed))}")


def read_numbers(text: Scalar) -> list[int]:
    """Read whole numbers joined by dashes.

    >>> read_numbers("3-4-6-3")
    [3, 4, 6, 3]
    """
    return [int(number) for number in str(text).split("-")]
