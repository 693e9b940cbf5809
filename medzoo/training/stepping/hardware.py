"""Precision and XLA by measured rule, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choice:
    """A decision and the reason that a person reads beside it."""

    value: str
    reason: str


def choose_precision(setting: str, flags: frozenset[str], has_gpu: bool) -> Choice:
    """Choose the precision policy: bfloat16 pays where the processor multiplies it in hardware.

    Measured on a CPU with AMX (Keras 3.15, TensorFlow 2.21): mixed_bfloat16 trains a CBR network 1.6 times as
    fast as float32; without AMX or AVX512-BF16 it is emulated.

    >>> choose_precision("auto", frozenset({"amx_bf16"}), has_gpu=False).value
    'mixed_bfloat16'
    """
    if setting != "auto":
        return Choice(setting, "as asked for")
    if has_gpu:
        return Choice("mixed_bfloat16", "a GPU is present")
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in flags:
            return Choice("mixed_bfloat16", f"this CPU has {flag}")
    return Choice("float32", "this CPU has neither amx_bf16 nor avx512_bf16")


def choose_xla(setting: str, has_gpu: bool) -> Choice:
    """Choose whether steps are compiled with XLA: on a GPU, not on a CPU.

    Measured on two CPU cores: six networks trained 1.3 to 3.4 times slower with XLA, after seconds of compiling.

    >>> choose_xla("auto", has_gpu=False).value
    'off'
    """
    if setting != "auto":
        return Choice(setting, "as asked for")
    if has_gpu:
        return Choice("on", "a GPU is present")
    return Choice("off", "measured slower on CPUs")


def processor_flags() -> frozenset[str]:
    """Read the processor's feature flags; empty where the system does not tell them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").partition(":")[2].split())


def has_gpu() -> bool:
    """Tell whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
