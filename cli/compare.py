"""medzoo compare: runs or predictions side by side, with paired differences and what each network costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .models_show import write_count
from .output import clean, mute_native_notices, print_columns, print_json, print_note
from .score_text import UNKNOWN, shorten_paths, write_counts, write_interval, write_score, write_signed

if TYPE_CHECKING:
    from medzoo.evaluation.comparison import Comparison
    from medzoo.training.facts import RunFacts
    from medzoo.training.latency import Latency

#: What is compared by where nothing is asked for: every further metric makes every p-value larger.
DEFAULT_METRICS = ("auroc",)


@click.command("compare")
@click.argument("runs", metavar="RUN|FILE RUN|FILE…", nargs=-1)
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="May be given again  [default: auroc]"
)
@click.option("--all-pairs", is_flag=True, help="Each with each; without, each with the first.")
@click.option(
    "--shared", is_flag=True, help="Compare on the test images that all have, where they have others too."
)
@click.option("--labels", is_flag=True, help="Compare each of several labels or classes, not their mean.")
@click.option("--delong", is_flag=True, help="Test AUROC by DeLong's paired test, not by resamples.")
@click.option("--separate", is_flag=True, help="Runs that differ by their seed alone stay runs of their own.")
@click.option("--latency", is_flag=True, help="Measure how long each run's network takes on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON and nothing else.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--replicates", type=click.IntRange(min=1), default=1000, show_default=True, help="Resamples.")
def command(
    runs: tuple[str, ...],
    metrics: tuple[str, ...],
    all_pairs: bool,
    shared: bool,
    labels: bool,
    delong: bool,
    separate: bool,
    latency: bool,
    as_json: bool,
    seed: int,
    replicates: int,
) -> None:
    """Compare runs on the same test images: scores, cost, and paired differences from the first run.

    RUN is the directory of a finished run, FILE a table of predictions from anywhere. Each difference has a 95 %
    interval over patients, and a p-value adjusted by Holm over all differences printed; many differences draw more
    resamples, up to 20,000. Runs that differ by their seed alone are one run: their mean. Nothing is written, and no
    framework is loaded without --latency.

    \b
    Examples:
      medzoo compare runs/random runs/imagenet
      medzoo compare runs/a runs/b others.csv --metric auroc --metric balanced_accuracy --all-pairs
      medzoo compare runs/a runs/b --labels --delong
      medzoo compare runs/small runs/large --latency --json
    """
    from medzoo.errors import ConfigError
    from medzoo.evaluation.comparison import compare
    from medzoo.evaluation.predictions import load_predictions
    from medzoo.evaluation.uncertainty.resampling import Resampling
    from medzoo.training.facts import read_facts

    paths = check_paths(runs)
    facts = {path: read_facts(Path(path)) for path in paths}
    if latency and not any(facts.values()):
        raise ConfigError("--latency with tables of predictions alone", "a run", "a run's directory")
    groups = group_seeds(facts, shorten_paths(paths), separate)
    if len(groups) < 2:
        remedy = (
            "--separate, which compares seeds, or a run of another kind" if len(paths) > 1 else "another RUN"
        )
        what = "runs that differ by their seed alone" if len(paths) > 1 else "one run"
        raise ConfigError(what, "two or more runs to compare", remedy)
    loaded = {name: [load_predictions(path) for path in several] for name, several in groups.items()}
    found = compare(
        loaded,
        metrics or DEFAULT_METRICS,
        Resampling(replicates=replicates, seed=seed),
        pairs="all" if all_pairs else "first",
        shared=shared,
        by_label=labels,
        delong=delong,
    )
    if found.replicates > replicates:
        lines = len(found.differences)
        print_note(
            f"{found.replicates:,} resamples in place of {replicates:,}: p-values are adjusted over {lines} lines"
        )
    firsts = {name: facts[several[0]] for name, several in groups.items()}
    measured, hardware = _measure({name: one for name, one in firsts.items() if one}) if latency else ({}, "")
    if as_json:
        print_json(_describe(found, groups, firsts, measured, hardware))
        return
    click.echo(f"test: {write_counts(found.counts)}")
    if shared:
        _count_left_out(loaded, found.counts.n)
    _print_runs(found, firsts, measured)
    click.echo()
    _print_differences(found)
    _print_notes(found, groups, firsts, measured, hardware)


def check_paths(runs: tuple[str, ...]) -> list[str]:
    """Refuse no paths, and one given twice.

    Raises:
        ConfigError: what to type instead.
    """
    from medzoo.errors import ConfigError
    from medzoo.evaluation.predictions import IN_A_RUN

    if not runs:
        raise ConfigError("no run", "the folders of runs, or tables of predictions", "medzoo runs")
    seen: dict[Path, str] = {}
    for run in runs:
        # A run's folder and the table within it are the same predictions.
        place = Path(run).resolve()
        inside = (place / name for name in IN_A_RUN)
        path = next((one.resolve() for one in inside if one.is_file()), place)
        if path in seen:
            also = "" if seen[path] == run else f", also as {seen[path]}"
            raise ConfigError(f"{run} twice{also}", "each run once")
        seen[path] = run
    return list(runs)


def group_seeds(
    facts: dict[str, RunFacts | None], names: dict[str, str], separate: bool = False
) -> dict[str, list[str]]:
    """Gather paths whose runs differ by their seed alone, under the first one's name; files stand for themselves."""
    groups: dict[str, list[str]] = {}
    for path, fact in facts.items():
        home = names[path]
        for name, members in groups.items():
            others = [facts[member] for member in members]
            fits = fact is not None and all(one is not None and fact.is_same_but_seed(one) for one in others)
            if fits and not separate and fact and fact.seed not in [one.seed for one in others if one]:
                home = name
                break
        groups.setdefault(home, []).append(path)
    return {
        name if len(members) == 1 else f"{name} ({len(members)} seeds)": members
        for name, members in groups.items()
    }


def _measure(facts: dict[str, RunFacts]) -> tuple[dict[str, Latency], str]:
    """Measure latencies; what native libraries say while they start is not ours."""
    with mute_native_notices():
        from medzoo.training.latency import describe_hardware, measure_latencies

        hardware = describe_hardware()
    print_note(f"measuring {len(facts)} network{'s' * (len(facts) > 1)} on {hardware}")
    return measure_latencies({name: fact.path for name, fact in facts.items()}), hardware


def _describe(
    found: Comparison,
    groups: dict[str, list[str]],
    facts: dict[str, RunFacts | None],
    measured: dict[str, Latency],
    hardware: str,
) -> dict[str, Any]:
    """Give everything as plain JSON."""
    from dataclasses import asdict

    described = found.describe()
    for name, entry in described["runs"].items():
        fact, latency = facts[name], measured.get(name)
        entry["paths"] = groups[name]
        entry["network"] = fact.network if fact else None
        entry["parameters"] = fact.parameters if fact else None
        entry["macs"] = latency.macs if latency else fact.macs if fact else None
        entry["macs_scaled"] = bool(fact and fact.is_scaled and not latency)
        entry["latency"] = asdict(latency) if latency else None
    return described | ({"hardware": hardware} if hardware else {})


def _count_left_out(loaded: dict[str, list[Any]], kept: int) -> None:
    """Say how many test images of each run the others do not have."""
    for name, several in loaded.items():
        count = len(several[0].of_split("test").annotated())
        if count > kept:
            click.echo(
                f"{clean(name)}: {count - kept:,} of its {count:,} test images are not shared and left out"
            )


def _print_runs(found: Comparison, facts: dict[str, RunFacts | None], measured: dict[str, Latency]) -> None:
    """Print a line a run: scores beside cost."""
    header = ["run", *found.metrics, "network", "parameters", "MACs"]
    if measured:
        header += ["ms an image", "images/s in batches"]
    rows = []
    for name, scores in found.scores.items():
        fact, latency = facts[name], measured.get(name)
        row = [
            name,
            *(write_score(scores[metric], found.deviations[name][metric]) for metric in found.metrics),
        ]
        row += [fact.network if fact else UNKNOWN, _write_parameters(fact), _write_macs(fact, latency)]
        if measured and latency is None:
            row += [UNKNOWN, UNKNOWN]
        elif latency is not None:
            row.append(f"{1000 * latency.one:.3g}")
            row.append(f"{latency.batch_size / latency.batch:,.3g} of {latency.batch_size}")
        rows.append(row)
    after = 1 + len(found.metrics)
    print_columns(header, rows, numbers=tuple(range(after + 1, len(header))))


def _write_parameters(fact: RunFacts | None) -> str:
    """Write how many weights a network has."""
    return UNKNOWN if fact is None or fact.parameters is None else f"{fact.parameters:,}"


def _write_macs(fact: RunFacts | None, latency: Latency | None) -> str:
    """Write a network's multiply-accumulates, exact where it was built."""
    if latency is not None and latency.macs is not None:
        return write_count(latency.macs)
    if fact is None or fact.macs is None:
        return UNKNOWN
    return f"{'≈ ' if fact.is_scaled else ''}{write_count(fact.macs)}"


def _print_differences(found: Comparison) -> None:
    """Print a line a difference, and what it means."""
    rows = [
        (
            one.run,
            one.baseline,
            one.measured,
            write_signed(one.difference.value),
            write_interval(one.difference.low, one.difference.high, signed=True),
            one.words,
        )
        for one in found.differences
    ]
    header = ("run", "minus", "metric", "difference", f"{100 * found.level:g} % interval", "")
    print_columns(header, rows, numbers=(3,))


def _print_notes(
    found: Comparison,
    groups: dict[str, list[str]],
    facts: dict[str, RunFacts | None],
    measured: dict[str, Latency],
    hardware: str,
) -> None:
    """Say what the tables' numbers rest on."""
    for name, several in groups.items():
        if len(several) > 1:
            print_note(
                f"{clean(name)}: mean ± sd over {len(several)} seeds, {', '.join(map(clean, several))}"
            )
    for name, scores in found.scores.items():
        for metric, score in scores.items():
            if score.reason:
                print_note(f"{clean(name)}, {metric}: {score.reason}")
    if any(fact and fact.is_scaled and name not in measured for name, fact in facts.items()):
        print_note(
            "≈: the catalogue's count scaled by the area of the input; --latency builds the network and counts"
        )
    if found.test == "delong":
        by = "rows" if found.counts.patients is None else "patients"
        print_note(f"differences: DeLong's paired test over {by}; the scores' own intervals are resampled")
    if hardware:
        precisions = ", ".join(sorted({one.precision for one in measured.values()}))
        print_note(f"latency: medians of calls in turn, {precisions}, on {hardware}")
