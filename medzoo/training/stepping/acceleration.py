"""Batch norm by the fused kernel, in any Keras model, whose variables, names and files stay as they are."""

from __future__ import annotations

from typing import Any

from medzoo.training.stepping.norm_call import (
    count_reasons,
    drop_idle_call,
    explain_unfused,
    find_call,
    find_norms,
    forget_compiled,
    take_call,
)


def accelerate(model: Any) -> Any:
    """Let every batch norm of a model that can use TensorFlow's fused kernel use it; gives the model itself.

    Keras on TensorFlow computes the moments of a batch norm step by step, in float32 also where its inputs are
    bfloat16, and on a CPU most of a training step goes there. The fused kernel computes the same (outputs and
    gradients agree to 3e-6 in float32) in one go, with the ReLU after it.

    The layers are changed in place and stay what they are: `model.save`, `save_weights` and `get_config` write
    what they write for the plain model, without a word of medzoo. A batch norm of another rank than 4, of another
    axis than the last, with `synchronized` or `renorm`, of a data type other than float32 and bfloat16, or under
    another backend stays Keras's own, and a call with a mask is computed by Keras. Functions of your own that were
    traced before (`tf.function`) keep what they traced; those of `fit`, `evaluate` and `predict` are made anew.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> describe_acceleration(accelerate(model))
    '1 of 1 batch norm fused'
    """
    changed = False
    for layer in find_norms(model):
        if not explain_unfused(layer):
            call = take_call(layer)
            changed |= not call.fused
            call.fused = True
    if changed:
        forget_compiled(model)
    return model


def decelerate(model: Any) -> Any:
    """Undo `accelerate`: every batch norm computes as Keras's does; gives the model itself.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> describe_acceleration(decelerate(accelerate(model)))
    '0 of 1 batch norm fused'
    """
    changed = False
    for layer in find_norms(model):
        call = find_call(layer)
        if call is not None and call.fused:
            call.fused, changed = False, True
            drop_idle_call(layer)
    if changed:
        forget_compiled(model)
    return model


def describe_acceleration(model: Any) -> str:
    """Say how many batch norms use the fused kernel, and why others cannot.

    >>> import keras
    >>> describe_acceleration(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    'no batch norm'
    """
    norms = find_norms(model)
    if not norms:
        return "no batch norm"
    fused = sum((call := find_call(layer)) is not None and call.fused for layer in norms)
    text = f"{fused} of {len(norms)} batch norm{'s' if len(norms) > 1 else ''} fused"
    reasons = [reason for reason in map(explain_unfused, norms) if reason]
    return f"{text} (not: {count_reasons(reasons)})" if reasons else text
