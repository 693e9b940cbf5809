"""medzoo data bench: how fast data are read and prepared, against how fast a model takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .data_options import add_data_options, make_options
from .output import mute_native_notices, print_columns, print_json, print_note

if TYPE_CHECKING:
    from medzoo.data.dataset import Dataset
    from medzoo.data.feeding.throughput import Rates, Workload
    from medzoo.specs import ModelSpec

_STAGES = {
    "storage": "reading from storage",
    "decode": "decoding and resizing",
    "augment": "augmenting",
    "pipeline": "the whole pipeline",
    "step": "training steps of {model}",
}


@click.command("bench")
@click.argument("data", metavar="DATA")
@click.option("--model", default="cbr_tiny", show_default=True, help="The network whose step is measured.")
@click.option("--image-size", type=click.IntRange(min=1), metavar="P", help="[default: as in training]")
@click.option("--channels", type=click.IntRange(min=1), help="Input channels  [default: the images'].")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--cache",
    type=click.Choice(["auto", "memory", "disk", "off"]),
    default="auto",
    show_default=True,
    help="Where prepared images are kept.",
)
@click.option("--augment", default="none", show_default=True, metavar="RECIPE", help="As in training.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "mixed_bfloat16"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.05),
    default=3.0,
    show_default=True,
    help="How long each part is measured.",
)
@add_data_options
@click.option("--json", "as_json", is_flag=True, help="Print the rates as JSON and nothing else.")
def command(
    data: str,
    model: str,
    image_size: int | None,
    channels: int | None,
    batch_size: int,
    cache: Any,
    augment: str,
    precision: str,
    seconds: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure DATA's training images per second: storage, decoding, augmentation, all of it, and the model.

    Each part runs alone for some seconds, and the median counts. The last line says which part limits training, by
    how much, and what to type. Nothing is written, except to the cache of --cache disk.

    \b
    Example:
      medzoo data bench images/
      medzoo data bench manifest.csv --model resnet50 --image-size 224 --augment medical
      medzoo data bench scans.csv --cache off --json > rates.json
    """
    with mute_native_notices():
        from medzoo.training.stepping.bare import make_step
        from medzoo.training.stepping.hardware import has_gpu

        is_gpu = has_gpu()  # wakes the device libraries, which speak too
    from medzoo.data.feeding.augment import fit_size, make_augment
    from medzoo.data.feeding.pipeline import check_channels
    from medzoo.data.feeding.throughput import Workload, judge, measure_rates
    from medzoo.data.open import open_source
    from medzoo.models.catalog import find_model

    spec = find_model(model)
    whole = open_source(data, make_options(options))
    dataset = whole.of_split("train")
    check_channels(dataset, channels or dataset.channels)
    size = _choose_size(spec, dataset, image_size)
    load = Workload(
        dataset,
        batch_size,
        size,
        channels or dataset.channels,
        spec.preprocessing,
        cache,
        make_augment(augment, size=size, value_range=dataset.value_range),
        fit_size(augment, size),
    )
    place = load.choose_cache(cache)  # refused before anything is measured
    step = make_step(spec, dataset, load.channels, size, precision, is_gpu)
    if not as_json:
        print_note(f"data {whole.name}: {len(dataset):,} training images, {_describe(load)}, cache {place}")
        print_note(f"measuring each part for {seconds:g} s")
    rates = measure_rates(load, step, seconds)
    verdict = judge(rates, load, shares_cores=not is_gpu)
    if as_json:
        print_json(
            {
                "data": whole.name,
                "images": len(dataset),
                "model": spec.name,
                "image_size": size,
                "channels": load.channels,
                "batch_size": batch_size,
                "cache": place,
                "augment": augment,
                "images_per_second": asdict(rates),
                "limit": verdict.limit,
                "verdict": verdict.text,
            }
        )
        return
    _print_rates(rates, spec.name)
    click.echo(verdict.text)


def _choose_size(spec: ModelSpec, dataset: Dataset, wanted: int | None) -> int:
    """Choose the input size as training does, and refuse one that the network does not take."""
    from medzoo.specs import check_input_size
    from medzoo.training.intake import refuse_volumes
    from medzoo.training.prepare import choose_size

    refuse_volumes(dataset)
    size = wanted or choose_size(spec, dataset)
    check_input_size(spec, size)
    return size


def _describe(load: Workload) -> str:
    """Say what images become."""
    return f"{load.image_size}×{load.image_size}×{load.channels} in batches of {load.batch_size}"


def _print_rates(rates: Rates, model: str) -> None:
    """Print a table of images per second."""
    rows = [
        (_STAGES[part].format(model=model), f"{rate:,.0f}")
        for part, rate in asdict(rates).items()
        if rate is not None
    ]
    print_columns(("part", "images/s"), rows, numbers=(1,))
