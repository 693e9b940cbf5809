"""medzoo transplant: weights in, plan, weights out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import clean, mute_native_notices, print_json, print_note

if TYPE_CHECKING:
    from medzoo.tensors import Source, Target
    from medzoo.transplant.plan import Plan

DEFAULT_MODEL = "mobilenet_075"


@click.command("transplant")
@click.option("--src", help="Weights: a card, a tag such as `imagenet`, a run or a file.")
@click.option("--dialect", help="How the weights name their tensors  [default: recognised].")
@click.option("--mode", help="copy, stats, transfusion or random  [default: copy].")
@click.option(
    "--model",
    help=f"Network to fill  [default: the card's or run's, {DEFAULT_MODEL} for a tag; a file needs it].",
)
@click.option("--upto", metavar="STAGE", help="Last stage or block copied (transfusion).")
@click.option("--norm", metavar="reset|keep", help="Norm layers under stats  [default: reset].")
@click.option("--classes", type=int, help="Outputs of the head  [default: the source's].")
@click.option("--channels", type=int, help="Input channels  [default: the source's].")
@click.option("--seed", type=int, help="Seed of every draw  [default: 0].")
@click.option(
    "--ignore", multiple=True, metavar="GLOB", help="Source tensors that may stay unused; repeatable."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .weights.h5, .safetensors or (Keras 2) .h5 file."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Replay this plan.json.")
@click.option(
    "--min-coverage", type=float, metavar="P", help="Refuse below this share (0 to 1) from the source."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    src: str | None,
    dialect: str | None,
    mode: str | None,
    model: str | None,
    upto: str | None,
    norm: str | None,
    classes: int | None,
    channels: int | None,
    seed: int | None,
    ignore: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    plan_file: Path | None,
    min_coverage: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Move weights into a network: copy them, draw from their statistics, or copy up to a stage.

    Prints the plan, one row per tensor, and writes the weights with the plan beside them. A Keras model of
    the same network reads them: `medzoo.build(MODEL, classes=…).load_weights(FILE)`.

    \b
    Example:
      medzoo transplant --src imagenet --mode stats
      medzoo transplant --src weights.h5 --model mobilenet_075 --mode copy --classes 2 --channels 1
      medzoo transplant --src imagenet --mode transfusion --upto block4 --classes 2
      medzoo transplant --plan mobilenet_075.imagenet.stats.plan.json --out again.weights.h5
    """
    if min_coverage is not None and not 0 <= min_coverage <= 1:
        raise click.UsageError(f"--min-coverage {min_coverage}: a share between 0 and 1, such as 0.9")
    if plan_file is not None:
        given: dict[str, Any] = {"mode": mode, "model": model, "upto": upto, "norm": norm, "classes": classes}
        given |= {"dialect": dialect, "channels": channels, "seed": seed, "ignore": ignore or None}
        _refuse_options(given)
        plan, source, digests = _read_replay(plan_file, src)
        name = plan_file.name.removesuffix(".json").removesuffix(".plan")
        note = f"replaying {plan_file}: {plan.model} from {plan.origin}, seed {plan.seed}"
    else:
        plan, source, note = _plan(
            src, dialect, mode or "copy", model, upto, norm, classes, channels, seed or 0, ignore
        )
        digests = {}
        name = _output_name(plan, mode or "copy", upto)
    _check_coverage(plan, min_coverage)
    path = out or Path(f"{name}.weights.h5")
    _report(plan, note, as_json, None if dry_run else path)
    if not dry_run:
        _write(plan, source, path, overwrite, digests)


def _plan(
    src: str | None,
    dialect: str | None,
    mode: str,
    model: str | None,
    upto: str | None,
    norm: str | None,
    classes: int | None,
    channels: int | None,
    seed: int,
    ignore: tuple[str, ...],
) -> tuple[Plan, Source, str]:
    """Make the plan that the options ask for, and the first line that says what was taken."""
    from dataclasses import replace

    from medzoo.models.catalog import find_model
    from medzoo.models.describe import describe
    from medzoo.tensors import source_from_arrays
    from medzoo.transplant.plan import make_plan, needs_values
    from medzoo.transplant.recipes import find_recipe
    from medzoo.transplant.targets import fit_options
    from medzoo.weights.align import align
    from medzoo.weights.source import model_of, open_weights

    if src is None and mode != "random":
        raise click.UsageError(f"--mode {mode} needs --src: a card, a tag such as imagenet, a run or a file")
    spec = find_model(model or model_of(src) or DEFAULT_MODEL)
    rules = find_recipe(mode, spec.stages, upto, norm)
    if src is None:
        source = source_from_arrays({}, origin="none")
    else:
        with mute_native_notices():
            source = open_weights(src, spec.row, needs_values(rules, describe(spec)), dialect)
        for note in source.notes:
            print_note(f"note: {clean(note)}")
    # A run's network is built as it was: some tensors follow the input's size and the kind of head.
    is_same = source.model == spec.name
    built = (source.input_size or None, source.head or None) if is_same else (None, None)
    target = describe(spec, 1, 1, *built)
    source = align(source, target)
    counts = fit_options(source, target, classes, channels)
    plan = make_plan(source, describe(spec, *counts, *built), rules, seed, ignore)
    plan = replace(plan, dialect=dialect or "")
    # A word that is neither the source's own name nor a path is a tag, joined to the default model.
    is_tag = src is not None and source.origin == f"{DEFAULT_MODEL}.{src}"
    default = " (the default model)" if not model and (src is None or is_tag) else ""
    bundled = ": its bundled moments file, which needs no network" if source.format == "moments" else ""
    return plan, source, f"{spec.name}{default} from {source.origin}{bundled}; mode {mode}, seed {seed}"


def _read_replay(plan_file: Path, src: str | None) -> tuple[Plan, Source, dict[str, str]]:
    """Read a plan and open its source, or the one given instead."""
    import numpy as np

    from medzoo.models.catalog import find_model
    from medzoo.tensors import source_from_arrays
    from medzoo.transplant.methods import find_method
    from medzoo.transplant.record import read_plan
    from medzoo.weights.align import align
    from medzoo.weights.source import open_weights

    record = read_plan(plan_file)
    needs = {find_method(step.method).needs for step in record.plan.steps}
    if needs <= {"nothing"}:
        source = source_from_arrays({}, origin="none")
    else:
        origin = src or record.plan.origin
        row = find_model(record.plan.model).row if record.plan.model else None
        source = open_weights(origin, row, "values" in needs, record.plan.dialect or None)
        source = align(source, _describe_again(record.plan))
    if record.numpy != np.__version__:
        print_note(f"note: planned under NumPy {record.numpy}, replayed under {np.__version__}")
    return record.plan, source, dict(record.digests)


def _describe_again(plan: Plan) -> Target:
    """Describe the network that a plan was made for."""
    from medzoo.models.describe import describe

    with mute_native_notices():  # a derived network is built
        return describe(plan.model, plan.classes, plan.channels, plan.input_size or None, plan.head or None)


def _refuse_options(given: dict[str, Any]) -> None:
    """Refuse options that a replayed plan decides itself."""
    for name, value in given.items():
        if value is not None:
            raise click.UsageError(f"--{name} cannot be used with --plan, which holds it already")


def _output_name(plan: Plan, mode: str, upto: str | None) -> str:
    """Name the output after model, source and mode: mobilenet_075.imagenet.stats."""
    from medzoo.models.catalog import find_model
    from medzoo.specs import write_network_name

    origin = Path(plan.origin).name.removesuffix(".weights.h5").removesuffix(".h5")
    tag = origin.removeprefix(f"{find_model(plan.model).row}.")
    # Signs such as a colon are not for every file system.
    parts = [
        write_network_name(plan.model),
        "" if mode == "random" and origin == "none" else tag,
        mode,
        upto or "",
    ]
    return ".".join(part for part in parts if part)


def _check_coverage(plan: Plan, minimum: float | None) -> None:
    """Refuse a plan that takes too little from the source."""
    from medzoo.errors import PlanError

    if minimum is not None and plan.coverage < minimum:
        raise PlanError(
            f"coverage {plan.coverage:.4f} is below --min-coverage {minimum}",
            "more values from the source",
            "medzoo transplant … --dry-run to see which tensors start afresh",
        )


def _report(plan: Plan, note: str, as_json: bool, path: Path | None) -> None:
    """Print the note, then the plan as a table or as JSON."""
    from medzoo.transplant.record import describe_step
    from medzoo.transplant.run import record_path
    from medzoo.transplant.table import format_plan

    record = record_path(path) if path else None
    if as_json:
        print_note(note)
        content = {"model": plan.model, "classes": plan.classes, "channels": plan.channels, "seed": plan.seed}
        content |= {"source": plan.origin, "source_digest": plan.source_digest, "coverage": plan.coverage}
        content |= {"unused": list(plan.unused), "steps": [describe_step(step) for step in plan.steps]}
        print_json(content | {"out": str(path) if path else None, "plan": str(record) if record else None})
    else:
        click.echo(note)
        click.echo(format_plan(plan))


def _write(plan: Plan, source: Source, path: Path, overwrite: bool, digests: dict[str, str]) -> None:
    """Write the weights and the plan, unless exactly these lie there already."""
    from medzoo.errors import PlanError
    from medzoo.transplant.run import check_output, write

    if not overwrite and check_output(plan, path):
        print_note(f"{path} holds just this plan's weights already; nothing to do")
        return
    target = _describe_again(plan)
    if tuple(target.tensors.values()) != tuple(step.target for step in plan.steps):
        raise PlanError(f"the plan's tensors are not those of {plan.model}", "a plan made by this version")
    record = write(plan, source, target, path, expected=digests)
    print_note(f"wrote {path} and {record}")
