"""medzoo transplant: weights in, plan out, weights out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .jobs import DEFAULT_MODEL, Job, choose_rules_of, plan_job, read_job, scale_job
from .output import print_json, print_note
from .plan import describe_again
from .recipe_options import add_recipe_options

if TYPE_CHECKING:
    from medzoo.tensors import Source
    from medzoo.transplant.plan import Plan


@click.command("transplant")
@click.option("--src", help="Weights: a card, a tag such as `imagenet`, a run or a file.")
@click.option("--dialect", help="How the weights name their tensors  [default: recognised].")
@click.option(
    "--model",
    help="Network to fill, or a .keras file of any model "
    f"[default: the card's or run's, {DEFAULT_MODEL} for a tag; a file needs it].",
)
@add_recipe_options
@click.option("--classes", type=int, help="Outputs of the head  [default: the source's].")
@click.option("--channels", type=int, help="Input channels  [default: the source's].")
@click.option(
    "--input-size",
    "--image-size",
    "input_size",
    type=click.IntRange(min=1),
    metavar="P",
    help="Input of P×P pixels  [default: the network's].",
)
@click.option("--dtype", metavar="float32|float16|bfloat16", help="Of the tensors  [default: float32].")
@click.option("--lsuv", metavar="DATA", help="Then scale every layer by what images of DATA give (LSUV).")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .weights.h5, .safetensors or (Keras 2) .h5 file."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Replay this plan.json.")
@click.option(
    "--min-coverage", type=float, metavar="P", help="Refuse below this share (0 to 1) from the source."
)
@click.option("--allow-nonfinite", is_flag=True, help="Take NaN and infinity of the source as they are.")
@click.option("--explain", is_flag=True, help="Print the rules as TOML and do nothing.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    out: Path | None,
    overwrite: bool,
    plan_file: Path | None,
    min_coverage: float | None,
    allow_nonfinite: bool,
    explain: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Move weights into a network: copy, cut, thin, select, draw from their statistics, grow, inflate.

    Prints the plan, a row per tensor under its stage, and writes the weights with the plan beside them. A Keras model
    of the same network reads them: `medzoo.build(MODEL, classes=…).load_weights(FILE)`.

    \b
    Example:
      medzoo transplant --src imagenet --mode stats
      medzoo transplant --src weights.h5 --model mobilenet_075 --mode copy --classes 2 --channels 1
      medzoo transplant --src imagenet --mode wt-st --upto block4 --classes 2
      medzoo transplant --src imagenet --mode truncate --at block6 --classes 2 --dry-run
      medzoo transplant --plan mobilenet_075.imagenet.stats.plan.json --out again.weights.h5
    """
    if min_coverage is not None and not 0 <= min_coverage <= 1:
        raise click.UsageError(f"--min-coverage {min_coverage}: a share between 0 and 1, such as 0.9")
    if explain:
        if plan_file is not None:
            raise click.UsageError(
                "--explain prints the rules of a mode; a plan has none: medzoo plan show FILE"
            )
        _explain(options)
        return
    from dataclasses import replace

    from medzoo.transplant.run import complete_plan

    digests: dict[str, str] = {}
    if plan_file is not None:
        job, digests = read_job(plan_file, options)
    else:
        job = plan_job(options)
        if options["lsuv"]:
            job = scale_job(job, options["lsuv"], allow_nonfinite)
    _check_coverage(job.plan, min_coverage)
    path = out or Path(job.name + (".safetensors" if options["dtype"] == "bfloat16" else ".weights.h5"))
    _check_place(path, job.source)
    if dry_run or as_json or _is_taken(path):
        # Only a file that is written at once, and nothing else, can wait for its source's digest until it is written.
        job = replace(job, plan=complete_plan(job.plan, job.source))
    _report(job.plan, job.note, as_json, None if dry_run else path)
    if not dry_run:
        _write(job, path, overwrite, digests, allow_nonfinite)


def _check_place(path: Path, source: Source) -> None:
    """Refuse an output of an unknown ending, or one that would replace the source, before anything is computed."""
    from medzoo.errors import ConfigError
    from medzoo.weights.writers import find_suffix

    find_suffix(path)
    if Path(source.origin).exists() and Path(source.origin).resolve() == path.resolve():
        raise ConfigError(f"--out {path} is the source itself", "another file", "another --out")


def _is_taken(path: Path) -> bool:
    """Tell whether something is there already, which is compared with the plan."""
    from medzoo.transplant.run import record_path

    return path.exists() or record_path(path).exists()


def _explain(options: dict[str, Any]) -> None:
    """Print what decides over the tensors, as a file for --rules."""
    from medzoo.transplant.rules_file import format_rules

    _, spec, chosen = choose_rules_of(options)
    click.echo(f"# {spec.name}")
    click.echo(format_rules(chosen.rules, (*chosen.ignore, *options["ignore"]), chosen.adaptations), nl=False)


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
    from medzoo.transplant.run import record_path
    from medzoo.transplant.table import describe_plan, format_plan

    record = record_path(path) if path else None
    if as_json:
        print_note(note)
        written = {"out": str(path) if path else None, "plan": str(record) if record else None}
        print_json(describe_plan(plan) | written)
    else:
        click.echo(note)
        click.echo(format_plan(plan))


def _write(job: Job, path: Path, overwrite: bool, digests: dict[str, str], allow_nonfinite: bool) -> None:
    """Write the weights and the plan, unless exactly these lie there already."""
    from medzoo.errors import PlanError
    from medzoo.transplant.run import check_output, refuse_shared_record, write

    if not overwrite and check_output(job.plan, path):
        print_note(f"{path} holds just this plan's weights already; nothing to do")
        return
    if overwrite:
        refuse_shared_record(path)
    target = job.target or describe_again(job.plan)
    if tuple(target.tensors.values()) != tuple(step.target for step in job.plan.steps):
        raise PlanError(
            f"the plan's tensors are not those of {job.plan.model}", "a plan made by this version"
        )
    record = write(job.plan, job.source, target, path, digests, allow_nonfinite)
    print_note(f"wrote {path} and {record}")
