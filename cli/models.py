"""medzoo models: list the catalogue, draw a network's stages."""

from __future__ import annotations

from fnmatch import fnmatchcase

import click

from .output import DefaultGroup, print_columns, print_json


@click.group("models", cls=DefaultGroup)
def command() -> None:
    """List the networks; `medzoo models show NAME` draws one's stages.

    \b
    Example:
      medzoo models 'mobilenet*'
      medzoo models show resnet50
    """


@command.command("list")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(pattern: str, as_json: bool) -> None:
    """List the networks whose name or family matches PATTERN (the default of `medzoo models`)."""
    from medzoo.errors import ConfigError, nearest
    from medzoo.models.catalog import list_models
    from medzoo.models.describe import describe
    from medzoo.weights.cards import list_card_names

    matching = [
        spec
        for spec in list_models()
        if any(
            fnmatchcase(word, wanted)
            for word in (spec.name, spec.family)
            for wanted in (pattern, f"{pattern}*")
        )
    ]
    if not matching:
        raise ConfigError(
            f"no model matches {pattern!r}", nearest(pattern, [spec.name for spec in list_models()])
        )
    rows = [
        {
            "model": spec.name,
            "family": spec.family,
            "parameters": describe(spec).size,
            "input_size": spec.input_size,
            "weights": [name for name in list_card_names() if name.startswith(f"{spec.name}.")],
        }
        for spec in matching
    ]
    if as_json:
        print_json(rows)
        return
    header = ("model", "family", "parameters", "input", "weights")
    cells = [
        (
            str(row["model"]),
            str(row["family"]),
            f"{row['parameters']:,}",
            str(row["input_size"]),
            _list_tags(row["weights"]),  # type: ignore[arg-type]
        )
        for row in rows
    ]
    print_columns(header, cells, numbers=(2, 3))
    click.echo("Parameters: all weights, with 3 input channels and 1,000 classes.")


def _list_tags(names: list[str]) -> str:
    """List the first tags of a network's weights, and count the rest."""
    tags = [name.partition(".")[2] for name in names]
    rest = f" and {len(tags) - 2} more" if len(tags) > 3 else ""
    return ", ".join(tags[:2] if rest else tags) + rest or "—"


@command.command("show")
@click.argument("name")
@click.option("--classes", default=1000, show_default=True, help="Outputs of the head.")
@click.option("--channels", default=3, show_default=True, help="Input channels.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(name: str, classes: int, channels: int, as_json: bool) -> None:
    """Draw the stages of one network, bottom-up, with their parameters."""
    from medzoo.models.catalog import find_model
    from medzoo.models.describe import describe
    from medzoo.specs import Stage

    spec = find_model(name)
    target = describe(spec, classes, channels)

    def count(stage: Stage) -> tuple[int, int]:
        held = [tensor for tensor in target.tensors.values() if stage.holds(tensor.name.rpartition("/")[0])]
        return len(held), sum(tensor.size for tensor in held)

    rows, total = [], 0
    for stage in spec.stages:
        tensors, parameters = count(stage)
        total += parameters
        blocks = [{"block": block.name, "parameters": count(block)[1]} for block in stage.blocks]
        row = {"stage": stage.name, "output": stage.output, "tensors": tensors, "parameters": parameters}
        rows.append(row | {"cumulative": total, "blocks": blocks})
    if as_json:
        print_json({"model": spec.name, "family": spec.family, "options": dict(spec.options), "stages": rows})
        return
    options = ", ".join(f"{key} {value}" for key, value in spec.options.items())
    click.echo(f"{spec.name}: family {spec.family}, {options}; input {spec.input_size}×{spec.input_size}")
    cells = []
    for row in rows:
        cells.append(
            (
                str(row["stage"]),
                str(row["output"]),
                str(row["tensors"]),
                f"{row['parameters']:,}",
                f"{row['cumulative']:,}",
            )
        )
        cells.extend(
            (f"  {block['block']}", "", "", f"{block['parameters']:,}", "")
            for block in row["blocks"]  # type: ignore[attr-defined]
        )
    print_columns(("stage", "output", "tensors", "parameters", "cumulative"), cells, numbers=(2, 3, 4))
