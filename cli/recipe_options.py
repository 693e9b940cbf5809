"""The options that say how weights are moved: the same for transplants and for training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--mode",
        help="copy, stats, transfusion, wt-st, truncate, slim, select, gabor, covariance, inflate, widen, deepen or "
        "random  [default: copy with --src].",
    ),
    click.option("--upto", metavar="STAGE", help="Last stage, block or unit copied (transfusion, wt-st)."),
    click.option("--at", metavar="STAGE", help="Cut the network after this stage or block (any mode)."),
    click.option("--above", metavar="STAGE", help="Last stage or block copied whole (slim)."),
    click.option("--factor", type=float, help="How many times thinner, above it (slim)  [default: 2]."),
    click.option("--norm", metavar="reset|keep|resample", help="Norm layers under stats  [default: reset]."),
    click.option("--bias", metavar="own|zero", help="Biases under stats  [default: own]."),
    click.option("--ddof", type=int, metavar="0|1", help="Variances with n − 1 under stats  [default: 0]."),
    click.option("--exact", is_flag=True, default=None, help="Standardise the draws of stats."),
    click.option("--sampler", metavar="normal|shuffle|bootstrap", help="How stats draws  [default: normal]."),
    click.option(
        "--tokens",
        metavar="keep|resample|zero",
        help="Class tokens and positions under stats  [default: keep].",
    ),
    click.option(
        "--rest", metavar="random|stats", help="What gabor and covariance do not fill  [default: random]."
    ),
    click.option(
        "--pick",
        metavar="first|even",
        help="Channels kept where the target is narrower  [default: refuse; even under select].",
    ),
    click.option("--noise", type=float, help="Noise on kernels under widen, in deviations  [default: 0]."),
    click.option(
        "--channel-mode",
        metavar="WAY|MAP",
        help="First kernel for other channels: sum, mean, first, luminance, tile, or 0:R,1:G  [default: sum].",
    ),
    click.option(
        "--fold/--no-fold",
        default=None,
        help="Fold the channels' contracts into a summed first kernel  [default: fold].",
    ),
    click.option("--inflate", metavar="mean|centre|acs", help="Fill 3-D kernels from 2-D ones."),
    click.option(
        "--head-weights",
        metavar="fresh|zero|copy",
        help="The head, under any mode  [default: the mode's rule].",
    ),
    click.option("--classes-map", metavar="MAP", help="Head's classes from the source's: 0:207,1:208."),
    click.option(
        "--interpolation",
        metavar="bicubic|bilinear",
        help="Of positions and patches at another input size  [default: bicubic].",
    ),
    click.option(
        "--antialias/--no-antialias", default=None, help="Antialias when they shrink  [default: antialias]."
    ),
    click.option("--rules", metavar="FILE", help="Rules of your own as TOML, in place of a mode."),
    click.option("--seed", type=int, help="Seed of every draw, and of the order of training  [default: 0]."),
    click.option(
        "--ignore", multiple=True, metavar="GLOB", help="Source tensors that may stay unused; repeatable."
    ),
)

#: The names of the options that `medzoo.transplant.modes.read_recipe` takes.
RECIPE_NAMES = (
    *("mode", "upto", "at", "above", "factor", "norm", "bias", "ddof", "exact", "sampler", "tokens", "rest"),
    *("pick", "noise", "channel_mode", "fold", "inflate", "head_weights", "classes_map", "interpolation"),
    "antialias",
)


def add_recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of recipes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_recipe(options: dict[str, Any]) -> dict[str, Any]:
    """Give those of a command's options that make a recipe and were typed."""
    return {name: options[name] for name in RECIPE_NAMES if options.get(name) is not None}
