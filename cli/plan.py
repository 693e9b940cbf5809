"""medzoo plan: look at the plan beside a transplant's weights, and compare two of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import clean, mute_native_notices, print_json

if TYPE_CHECKING:
    from medzoo.tensors import Source, Target
    from medzoo.transplant.plan import Plan
    from medzoo.transplant.record import PlanRecord

_FILE = click.Path(path_type=Path)

#: The ending of a file with a whole model, which a plan names where the network is none of the catalogue.
_KERAS_FILE = ".keras"


@click.group("plan")
def command() -> None:
    """Print the plan of written weights, or what two plans do differently.

    \b
    Example:
      medzoo plan show mobilenet_075.imagenet.stats.plan.json
      medzoo plan diff one.plan.json two.plan.json
    """


@command.command("show")
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(file: Path, as_json: bool) -> None:
    """Print the table of FILE: a plan.json, or the weights file that it lies beside.

    \b
    Example:
      medzoo plan show mobilenet_075.imagenet.stats.plan.json
    """
    from medzoo.transplant.table import describe_plan, format_plan

    record = _read(file)
    plan = record.plan
    if as_json:
        print_json(describe_plan(plan) | {"numpy": record.numpy, "output_digest": record.output_digest})
        return
    network = f"{plan.model or 'a network of its own'}, classes {plan.classes}, channels {plan.channels}"
    click.echo(clean(f"{network} from {plan.origin}, seed {plan.seed}"))
    _print_text(format_plan(plan))


@command.command("diff")
@click.argument("first", type=_FILE)
@click.argument("second", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff_command(first: Path, second: Path, as_json: bool) -> None:
    """Print what the plans FIRST and SECOND do differently: settings, then one tensor a line.

    The first line is `same` or the number of differences; the exit code is 0 either way. The order of steps and
    the names of stages are not compared.

    \b
    Example:
      medzoo plan diff one.plan.json two.plan.json
    """
    from medzoo.transplant.diff import describe_diff, diff_plans

    found = diff_plans(_read(first).plan, _read(second).plan)
    if as_json:
        print_json(describe_diff(found))
    else:
        _print_text(str(found))


def _read(file: Path) -> PlanRecord:
    """Read a plan, or the one beside a weights file."""
    from medzoo.transplant.record import read_plan
    from medzoo.transplant.run import record_path
    from medzoo.weights.writers import SUFFIXES

    return read_plan(record_path(file) if file.name.endswith(SUFFIXES) else file)


def _print_text(text: str) -> None:
    """Print several lines; names in them come from files."""
    for line in text.split("\n"):
        click.echo(clean(line))


def describe_again(plan: Plan) -> Target:
    """Describe the network that a plan was made for, in the plan's dtypes; of a .keras file, the model in it."""
    from medzoo.models.describe import describe
    from medzoo.tensors import cast_target

    with mute_native_notices():  # a derived network is built
        if plan.model.endswith(_KERAS_FILE):
            from medzoo.models.load import load_model

            target = describe(load_model(plan.model))
        else:
            size, head = plan.input_size or None, plan.head or None
            target = describe(plan.model, plan.classes, plan.channels, size, head)
    dtypes = {step.target.dtype for step in plan.steps}
    narrow = next((name for name in ("float16", "bfloat16") if name in dtypes), "")
    return cast_target(target, narrow) if narrow else target


def open_again(plan: Plan, src: str | None = None) -> Source:
    """Open the source that a plan was made from, or the one given instead."""
    from medzoo.models.catalog import find_model
    from medzoo.transplant.replay import open_planned

    is_foreign = not plan.model or plan.model.endswith(_KERAS_FILE)
    row = None if is_foreign else find_model(plan.model).row
    with mute_native_notices():
        return open_planned(plan, row, describe_again, src)
