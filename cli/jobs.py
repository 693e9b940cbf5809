"""A transplant as its options decide it: the plan, what it reads, what it fills, what to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import clean, mute_native_notices, print_note
from .plan import open_again
from .recipe_options import take_recipe

if TYPE_CHECKING:
    from medzoo.tensors import Source, Target
    from medzoo.transplant.modes import Recipe
    from medzoo.transplant.plan import Plan
    from medzoo.transplant.rules_file import RuleSet

DEFAULT_MODEL = "mobilenet_075"


@dataclass(frozen=True)
class Job:
    """A transplant that was decided on: the plan, what it reads, what it fills, what to say of it."""

    plan: Plan
    source: Source
    target: Target | None
    note: str
    name: str


def choose_rules_of(options: dict[str, Any]) -> tuple[Recipe, Any, RuleSet]:
    """Read the recipe, and find the network that it fills and its rules."""
    from medzoo.models.catalog import find_model
    from medzoo.transplant.modes import choose_rules, name_target, read_recipe
    from medzoo.weights.source import model_of

    typed = take_recipe(options)
    beside = sorted(set(typed) - {"at"})
    if options["rules"] and beside:
        option = beside[0].replace("_", "-")
        raise click.UsageError(
            f"--{option} beside --rules, which decides it: see [[rule]] and [adapt] in the file"
        )
    recipe = read_recipe(typed)
    name = options["model"] or model_of(options["src"]) or DEFAULT_MODEL
    if name.endswith(".keras"):
        spec = whole = _name_foreign(name)
        if recipe.at or recipe.above:
            raise click.UsageError("--at and --above need a network of the catalogue, not a .keras file")
    else:
        whole = find_model(name)
        spec = find_model(name_target(recipe, whole.name))
    return recipe, spec, choose_rules(recipe, spec, whole, options["rules"])


def _name_foreign(path: str) -> Any:
    """Give a network that medzoo knows nothing of but its file."""
    from medzoo.specs import ModelSpec

    return ModelSpec(path, "", {}, (), 0, 0)


def plan_job(options: dict[str, Any]) -> Job:
    """Make the plan that the options ask for, and the first line that says what was taken."""
    from dataclasses import replace

    from medzoo.models.describe import describe
    from medzoo.tensors import cast_target, source_from_arrays
    from medzoo.transplant.plan import make_plan, needs_values
    from medzoo.transplant.targets import fit_options
    from medzoo.weights.align import align
    from medzoo.weights.source import open_weights

    src, dialect = options["src"], options["dialect"]
    recipe, spec, chosen = choose_rules_of(options)
    if src is None and chosen.needs_source:
        what = f"--rules {options['rules']}" if options["rules"] else f"--mode {recipe.mode}"
        raise click.UsageError(f"{what} needs --src: a card, a tag such as imagenet, a run or a file")
    foreign = _load_foreign(spec.name) if spec.name.endswith(".keras") else None
    assumed = ""
    if src is None:
        source = source_from_arrays({}, origin="none")
    else:
        with mute_native_notices():
            known = describe(spec) if foreign is None else foreign
            row = spec.row if foreign is None else None
            values = needs_values(chosen.rules, known, chosen.adaptations)
            source = open_weights(src, row, values, dialect)
            if foreign is not None and dialect is None:
                source, dialect = _open_plainly(src, source, foreign)
            if not source.preprocessing and foreign is None:
                # A file does not say; the network's own contract is what training feeds it.
                assumed = spec.preprocessing.name
                source = replace(source, preprocessing=assumed)
        for note in source.notes:
            print_note(f"note: {clean(note)}")
    # A run's network is built as it was: some tensors follow the input's size and the kind of head.
    is_same = source.model == spec.name
    size = options["input_size"] or (source.input_size if is_same else None) or None
    head = (source.head if is_same else None) or None
    if foreign is not None:
        if any(options[name] for name in ("classes", "channels", "input_size")):
            raise click.UsageError("--classes, --channels and --input-size are those of the .keras file")
        target = foreign
        source = align(source, target)
    else:
        with mute_native_notices():  # a derived network is built
            smallest = describe(spec, 1, 1, size, head)
            source = align(source, smallest)
            counts = fit_options(source, smallest, options["classes"], options["channels"])
            target = describe(spec, *counts, size, head)
    if options["dtype"]:
        target = cast_target(target, options["dtype"])
    ignore = (*chosen.ignore, *options["ignore"])
    seed = options["seed"] or 0
    plan = make_plan(source, target, chosen.rules, seed, ignore, chosen.adaptations, hash_source=False)
    plan = replace(plan, dialect=dialect or "", model=plan.model or (spec.name if foreign else ""))
    if assumed and any("fold" in step.options for step in plan.steps):
        print_note(
            f"note: {clean(source.origin)} names no input contract: {assumed} is taken, --no-fold leaves it out"
        )
    # A word that is neither the source's own name nor a path is a tag, joined to the default model.
    is_tag = src is not None and source.origin == f"{DEFAULT_MODEL}.{src}"
    default = " (the default model)" if not options["model"] and (src is None or is_tag) else ""
    bundled = ": its bundled moments file, which needs no network" if source.format == "moments" else ""
    mode = f"rules {options['rules']}" if options["rules"] else f"mode {recipe.mode}"
    note = f"{spec.name}{default} from {source.origin}{bundled}; {mode}, seed {plan.seed}"
    return Job(plan, source, target, note, _output_name(plan, recipe, options["rules"]))


def _load_foreign(path: str) -> Target:
    """Describe the model in a .keras file."""
    from medzoo.models.describe import describe

    with mute_native_notices():
        from medzoo.models.load import load_model

        return describe(load_model(path))


def _open_plainly(src: str, source: Source, target: Target) -> tuple[Source, str | None]:
    """Open a source under the names in its file, where more of the user's own model has these than translated ones.

    Gives the dialect too, which a replay must know: None for the one that is recognised.
    """
    from medzoo.errors import WeightsError
    from medzoo.weights.source import open_weights

    try:
        plain = open_weights(src, None, True, "keras")
    except WeightsError:
        return source, None
    common, own = (sum(name in each for name in target.tensors) for each in (source, plain))
    return (plain, "keras") if own > common else (source, None)


def scale_job(job: Job, data: str, allow_nonfinite: bool) -> Job:
    """Measure LSUV's scales on images and put them into the plan."""
    from dataclasses import replace

    notes: list[str] = []
    with mute_native_notices():  # of our own notes too
        from medzoo.training.scaling import scale_plan

        plan = scale_plan(job.plan, job.source, data, notes.append, allow_nonfinite)
    for note in notes:
        print_note(f"note: {clean(note)}")
    return replace(job, plan=plan, note=f"{job.note}; scaled by images of {data}", name=f"{job.name}.lsuv")


def read_job(plan_file: Path, options: dict[str, Any]) -> tuple[Job, dict[str, str]]:
    """Read a plan and open its source, or the one given instead."""
    import numpy as np

    from medzoo.transplant.record import read_plan

    for name, value in options.items():
        if name != "src" and value not in (None, ()):
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} cannot be used with --plan, which holds it already")
    record = read_plan(plan_file)
    source = open_again(record.plan, options["src"])
    if record.numpy != np.__version__:
        print_note(f"note: planned under NumPy {record.numpy}, replayed under {np.__version__}")
    plan = record.plan
    note = f"replaying {plan_file}: {plan.model} from {plan.origin}, seed {plan.seed}"
    name = plan_file.name.removesuffix(".json").removesuffix(".plan")
    return Job(plan, source, None, note, name), dict(record.digests)


def _output_name(plan: Plan, recipe: Recipe, rules: str | None) -> str:
    """Name the output after model, source and mode: mobilenet_075.imagenet.stats."""
    from medzoo.models.catalog import find_model
    from medzoo.specs import write_network_name

    origin = Path(plan.origin).name
    for ending in (".weights.h5", ".h5", ".safetensors", ".npz", ".th", ".pth", ".pt"):
        origin = origin.removesuffix(ending)
    mode = Path(rules).stem if rules else recipe.mode
    if plan.model.endswith(".keras"):
        return ".".join((Path(plan.model).stem, origin, mode))
    tag = origin.removeprefix(f"{find_model(plan.model).row}.")
    # Signs such as a colon are not for every file system.
    parts = [
        write_network_name(plan.model),
        "" if origin == "none" else tag,
        mode,
        recipe.upto or "",
    ]
    return ".".join(part for part in parts if part)
