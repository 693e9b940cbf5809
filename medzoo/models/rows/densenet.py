"""Rows of the DenseNets (Huang et al. 2017) of keras.applications."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.models.rows.options import divide_width, read_numbers, read_slim
from medzoo.specs import HEAD_STAGE, PREPROCESSINGS, ModelSpec, Scalar, Stage

#: Channels that each layer adds.
GROWTH = 32

ROWS: Mapping[str, Mapping[str, Scalar]] = {
    f"densenet{depth}": {"constructor": f"DenseNet{depth}", "depths": depths, "slim": ""}
    for depth, depths in ((121, "6-12-24-16"), (169, "6-12-32-32"), (201, "6-12-48-32"))
}
CHANGES: Mapping[str, str] = {
    "slim": "STAGE:FACTOR, layers above the stage or block add FACTOR times fewer channels"
}


def describe_row(name: str, options: Mapping[str, Scalar]) -> ModelSpec:
    """Describe a DenseNet: a stem, four dense blocks with a transition after each but the last, a norm.

    Raises:
        ConfigError: a stage to thin above that is not there, or a factor that does not divide the growth.
    """
    stages = [Stage("conv1", "conv1_*|pool1|pool1_*", "pool1")]
    depths = read_numbers(options["depths"])
    for number, depth in enumerate(depths, start=2):
        blocks = tuple(
            Stage(
                f"conv{number}_block{block}",
                f"conv{number}_block{block}_*",
                f"conv{number}_block{block}_concat",
            )
            for block in range(1, depth + 1)
        )
        stages.append(Stage(f"conv{number}", f"conv{number}_*", blocks[-1].output, blocks))
        if number <= len(depths):
            stages.append(Stage(f"pool{number}", f"pool{number}_*", f"pool{number}_pool"))
    stages += [Stage("norm", "bn|relu", "relu"), HEAD_STAGE]
    # Above the last dense block there is only a norm: nothing to thin.
    _, factor = read_slim(name, str(options["slim"]), [*stages[:-2], stages[-1]])
    divide_width(name, GROWTH, factor)
    return ModelSpec(name, "densenet", options, tuple(stages), 224, 32, PREPROCESSINGS["torch"])
