"""medzoo train: images and a network in, a run directory out."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import click

from .data_options import SOURCES, add_data_options, read_data_options
from .metrics import print_metrics
from .output import mute_native_notices, print_json, print_note
from .recipe_options import RECIPE_NAMES, add_recipe_options

#: Option → setting. The help of each is the option's own.
_SETTINGS = {
    "data": "data.source",
    "cache": "data.cache",
    "image_size": "data.image_size",
    "preprocessing": "data.preprocessing",
    "model": "model.name",
    "channels": "model.channels",
    "src": "weights.src",
    "dialect": "weights.dialect",
    **{name: f"weights.{name}" for name in (*RECIPE_NAMES, "rules")},
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "lr": "training.learning_rate",
    **{
        name: f"training.{name}"
        for name in ("recipe", "steps", "accumulate", "augment", "flips", "mix", "balance", "devices")
    },
    "objective": "objective.kind",
    "optimizer": "optimizer.name",
    "clip_norm": "optimizer.clip_norm",
    "freeze": "optimizer.freeze",
    "schedule": "schedule.kind",
    "metric": "validation.metric",
    "early_stopping": "validation.early_stopping",
    "until": "validation.until",
    "seed": "training.seed",
    "precision": "training.precision",
    "xla": "training.xla",
    "out": "run.out",
}


@click.command("train")
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--data", help=f"{SOURCES}  [default: phantom].")
@add_data_options
@click.option(
    "--cache", metavar="auto|memory|disk|off", help="Where prepared images are kept  [default: auto]."
)
@click.option("--image-size", type=int, metavar="P", help="Input of P×P pixels  [default: the images' size].")
@click.option(
    "--preprocessing",
    metavar="CONTRACT",
    help="Input contract  [default: that of --src, else the network's].",
)
@click.option(
    "--strict", is_flag=True, help="Refuse images beyond the contract's range, instead of a warning."
)
@click.option("--model", help="Network  [default: that of --src, else cbr_tiny].")
@click.option("--channels", type=int, help="Input channels  [default: the images'].")
@click.option("--src", help="Weights: a card, a tag such as `imagenet`, a run or a file.")
@click.option("--dialect", help="How the weights name their tensors  [default: recognised].")
@add_recipe_options
@click.option("--lsuv", is_flag=True, help="Then scale every layer by what training images give (LSUV).")
@click.option(
    "--recipe",
    metavar="NAME",
    help="A paper's settings, below those given: default, transfusion, bit-hyperrule, feature-reuse, ttl, lwft, "
    "fat or linear-probe.",
)
@click.option("--epochs", type=int, help="[default: 15]")
@click.option("--steps", type=int, help="Updates in all, in place of --epochs.")
@click.option("--batch-size", type=int, help="[default: 32]")
@click.option("--accumulate", type=int, metavar="N", help="Compute each batch in N parts, for less memory.")
@click.option("--lr", type=float, help="Peak learning rate  [default: 0.001].")
@click.option("--schedule", metavar="cosine|step|plateau|constant", help="[default: cosine]")
@click.option("--optimizer", metavar="adamw|adam|sgd|lamb", help="[default: adamw]")
@click.option("--clip-norm", type=float, metavar="X", help="Largest norm of all gradients together.")
@click.option(
    "--freeze", metavar="STAGE", help="The last stage that stays as it is; `backbone`: all but the head."
)
@click.option(
    "--objective",
    metavar="auto|softmax|sigmoid|ordinal|regression",
    help="What is minimised  [default: auto].",
)
@click.option(
    "--augment",
    metavar="RECIPE",
    help="none, light, medical, bit, resized-crops, feature-reuse or randaugment  [default: none].",
)
@click.option("--flips", metavar="none|horizontal|both", help="Mirrored images  [default: the recipe's].")
@click.option("--mix", metavar="none|mixup|cutmix", help="Mix images of a batch  [default: none].")
@click.option(
    "--balance",
    metavar="none|weights|oversample",
    help="Weigh rare classes in the loss, or draw them more often  [default: none].",
)
@click.option(
    "--metric",
    metavar="auroc|auprc|kappa|macro_recall|loss",
    help="What the best epoch is chosen by on validation images  [default: auroc].",
)
@click.option("--early-stopping", type=int, metavar="N", help="Stop after N validations without gain.")
@click.option(
    "--until", metavar="METRIC=X", help="Stop where a validation score is reached, and record the step."
)
@click.option("--precision", metavar="auto|float32|mixed_bfloat16", help="[default: auto]")
@click.option("--xla", metavar="auto|on|off", help="[default: auto]")
@click.option("--devices", type=int, metavar="N", help="Train on N devices at once  [default: 1].")
@click.option("--tensorboard", is_flag=True, help="Write event files for TensorBoard into the run.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run that was broken off."
)
@click.option("--out", help="Run directory  [default: a new one under runs/].")
@click.option("--overwrite", is_flag=True, help="Replace the run at --out.")
@click.option(
    "--set", "extra", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. training.warmup=0.2."
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def command(
    config: Path | None,
    extra: tuple[str, ...],
    ignore: tuple[str, ...],
    overwrite: bool,
    strict: bool,
    lsuv: bool,
    as_json: bool,
    tensorboard: bool,
    resume: Path | None,
    **options: Any,
) -> None:
    """Train a network and write a run: weights, history, predictions, metrics with intervals.

    CONFIG is a TOML file (a run's config.toml is one); options stand above it. The best epoch is chosen by
    an exact validation score. Without any option the built-in phantom is learnt. Ctrl-C and SIGTERM finish
    the step, write a checkpoint and stop; --resume goes on as if nothing had happened.

    \b
    Example:
      medzoo train
      medzoo train --data breastmnist.npz --model mobilenet_075 --src imagenet --mode stats --image-size 64
      medzoo train --data manifest.csv --label-column diagnosis --src runs/first --mode transfusion --upto block4
      medzoo train --data manifest.csv --src imagenet --recipe lwft --freeze block4 --until auroc=.9
      medzoo train --resume runs/first
    """
    from medzoo.errors import ConfigError
    from medzoo.training.config import make_config, parse_setting, read_config
    from medzoo.training.unfinished import find_unfinished, refuse_early

    settings = [parse_setting(text) for text in extra]
    settings += [(f"data.{name}", value) for name, value in read_data_options(options).items()]
    settings += [
        (_SETTINGS[name], value) for name, value in options.items() if name in _SETTINGS and value is not None
    ]
    if overwrite:
        settings.append(("run.overwrite", True))
    if strict:
        settings.append(("data.strict", True))
    if lsuv:
        settings.append(("weights.lsuv", True))
    if tensorboard:
        settings.append(("run.tensorboard", True))
    if ignore:
        settings.append(("weights.ignore", ignore))
    # Batch systems end a job with SIGTERM: it is met as Ctrl-C is.
    terminated = _note_termination()
    if config is not None and config.suffix != ".toml":
        raise ConfigError(f"{config} is no .toml", "a configuration before the options", f"--data {config}")
    base = read_config(config).model_dump(exclude_unset=True) if config else {}
    if any(key == "training.recipe" for key, _ in settings) and "steps_per_execution" in base.get(
        "training", {}
    ):
        raise ConfigError(
            f"--recipe with {config}, which names every setting already",
            "a file of the settings that were given",
            "the options that began the run",
        )
    checked = make_config(base, settings)
    has_given = config is not None or bool(settings)
    # What can be refused without it is refused before TensorFlow is loaded, which takes seconds.
    if resume is not None:
        find_unfinished(resume)
    else:
        refuse_early(checked)
    with mute_native_notices():
        from medzoo.training import launch
        from medzoo.training.signals import RunStoppedError
        from medzoo.training.stepping.hardware import has_gpu

        has_gpu()  # wakes the device libraries, which speak too
    try:
        if resume is not None:
            run = launch.resume(resume, checked if has_given else None, report=print_note)
        else:
            run = launch.train(checked, report=print_note)
    except RunStoppedError as stopped:
        if stopped.asked_by != "SIGTERM":
            raise
        # A batch system that ends a job and starts it again has not met a failure.
        print_note(str(stopped))
        return
    except KeyboardInterrupt as interrupted:
        if not (terminated and "--resume" in str(interrupted)):
            raise
        print_note(str(interrupted))
        return
    from medzoo.training.stepping.distribution import is_follower

    if is_follower():  # the chief says everything
        return
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    if as_json:
        print_json(metrics)
    else:
        print_metrics(metrics)
        click.echo(run.path)


def _note_termination() -> list[int]:
    """Let SIGTERM interrupt as Ctrl-C does; gives a list that is not empty once it has come."""
    terminated: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        """Note it, and interrupt."""
        terminated.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGTERM, interrupt)
    return terminated
