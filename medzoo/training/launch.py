"""Configuration → run: a new one, or one that goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.data.feeding.fetch import explain_failure
from medzoo.errors import ConfigError, DataError, TrainingError
from medzoo.outputs import write_text
from medzoo.training.announcement import announce, name_run
from medzoo.training.checkpoints import Checkpoint, read_last, sweep
from medzoo.training.config import format_config, list_differences
from medzoo.training.prepare import Prepared, Report, prepare
from medzoo.training.rundir import Run, choose_folder, lock_run, open_run
from medzoo.training.settings import RunSection, TrainConfig
from medzoo.training.signals import RunStoppedError, catch_stop
from medzoo.training.unfinished import find_unfinished

if TYPE_CHECKING:  # the devices need TensorFlow, which nothing needs before them
    from medzoo.training.stepping.devices import Devices


def train(config: TrainConfig, report: Report | None = None) -> Run:
    """Train a network as configured and give its run directory.

    Whatever can be refused is refused before the directory is made: every image is decoded once before. An
    earlier run is replaced only when the new one is done. Seeds Python, NumPy and the backend. `report`
    receives notes for a person; without it the run is silent. Ctrl-C and SIGTERM finish the step, write a
    checkpoint and stop. On several hosts the first alone writes and reports; all give the directory that it has.

    Raises:
        ConfigError, DataError, WeightsError, PlanError: what was asked for cannot be done.
        TrainingError: the loss or the scores stopped being finite, memory ran out, or another host stopped.
        RunStoppedError: a TrainingError too: a signal asked to stop, and `resume` goes on.

    >>> import tempfile
    >>> from medzoo.training.config import make_config
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     run = train(make_config({"training": {"epochs": 1}, "run": {"out": f"{folder}/run"}}))
    """
    devices = _open_devices(config, report)
    if not devices.is_chief:
        return _follow(config, devices)
    with devices.meet():
        prepared = _prepare(config, report, devices)
        folder = choose_folder(config.run.out, config.run.overwrite, name_run(prepared))
    devices.share_text(str(folder))
    if report:
        announce(prepared, config.data.source is not None, report)
        report(f"run {folder}")
    # Where a run lies is no part of what it is: a run's own configuration starts a new run.
    run_settings = RunSection(
        **prepared.config.run.model_dump(exclude={"out", "overwrite"}, exclude_unset=True)
    )
    settings = prepared.config.model_copy(update={"run": run_settings})
    try:
        with open_run(folder, {"config.toml": format_config(settings)}) as run, lock_run(run):
            _work(run, prepared, report, None, devices)
    except KeyboardInterrupt:
        kept = f"goes on with medzoo train --resume {folder}" if folder.exists() else "was not begun"
        raise KeyboardInterrupt(f"interrupted; {folder} {kept}") from None
    return run


def _follow(config: TrainConfig, devices: Devices) -> Run:
    """Train with the chief, which writes and says everything; gives the directory that it has."""
    with devices.meet():
        prepared = _prepare(config.model_copy(update={"run": RunSection()}), None, devices)
    run = Run(Path(devices.share_text("")))
    _work(run, prepared, None, None, devices)
    return run


def _open_devices(config: TrainConfig, report: Report | None) -> Devices:
    """Open the devices of a run, before TensorFlow fixes them."""
    from medzoo.training.stepping.distribution import open_devices

    return open_devices(config.training.devices, report)


def _prepare(config: TrainConfig, report: Report | None, devices: Devices) -> Prepared:
    """Make every decision of a run on these devices.

    Raises:
        ConfigError: a batch has fewer images than there are devices, or XLA was asked for on several.
    """
    from medzoo.training.stepping.distribution import choose_xla_between

    prepared = prepare(config, report)
    size = prepared.config.training.batch_size
    if devices.count > size:
        raise ConfigError(
            f"batches of {size} on {devices.count} devices",
            "an image for each",
            f"--batch-size {devices.count}",
        )
    if report and devices.count > 1:
        report(f"{devices.describe()}: each computes its share of every batch of {size}")
    return replace(prepared, xla=choose_xla_between(devices, prepared.xla))


def resume(folder: str | Path, config: TrainConfig | None = None, report: Report | None = None) -> Run:
    """Go on with a run that was broken off, from its last checkpoint, and give its directory.

    On the same machine, in float32 and without XLA, what comes out is bit for bit what an uninterrupted run would
    have given. `config`, where given, must be the run's own.

    Raises:
        ConfigError: there is no such run, it is finished or at work, or its configuration has changed.
        DataError: the data are not those that the run began with.
        TrainingError: as `train`.
    """
    run, own = find_unfinished(folder)
    if config is not None:
        own = _take_run_settings(own, config.run)
    devices = _open_devices(own, report)
    if not devices.is_chief:
        report = None
    with lock_run(run) if devices.is_chief else contextlib.nullcontext():
        with devices.meet():
            checkpoint, notes = read_last(run.path)
            if checkpoint is not None:
                _refuse_changed(checkpoint, own, run)
            prepared = _prepare(own, report, devices)
            if config is not None:
                _refuse_given(own, config, run, prepared)
            if checkpoint is not None:
                _check_same(checkpoint, prepared)
            if devices.is_chief:
                sweep(run.path, checkpoint)
        if report:
            for note in notes:
                report(f"note: {note}")
            announce(prepared, own.data.source is not None, report)
            at = f"step {checkpoint.step:,}" if checkpoint else "the start: no checkpoint was written"
            report(f"run {run.path} goes on from {at}")
        try:
            _work(run, prepared, report, checkpoint, devices)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; {folder} goes on with medzoo train --resume {folder}"
            ) from None
    return run


def _take_run_settings(own: TrainConfig, given: RunSection) -> TrainConfig:
    """Give a run's configuration with what is given of how it is watched, which changes no result."""
    strange = sorted(given.model_fields_set & {"out", "overwrite"})
    if strange:
        raise ConfigError(
            f"run.{strange[0]} with a run that goes on", "it to stay where it is", "--resume alone"
        )
    watched = own.run.model_copy(update=given.model_dump(exclude_unset=True))
    return own.model_copy(update={"run": watched})


#: Settings that hold paths, which a run's own configuration makes absolute.
_PATHS = {
    "data": ("source", "image_folder", "splits"),
    "weights": ("src", "rules", "classes_map"),
}


def _refuse_given(own: TrainConfig, given: TrainConfig, run: Run, prepared: Prepared) -> None:
    """Refuse settings given beside a run that are not its own."""
    asked = given.model_dump(mode="json", exclude={"run"}, exclude_unset=True)
    before = own.model_dump(mode="json", exclude={"run"})
    for section, settings in asked.items():
        for key, value in settings.items():
            is_path = key in _PATHS.get(section, ()) and value != before[section][key]
            if is_path and isinstance(value, str) and Path(value).exists():
                settings[key] = str(Path(value).resolve())
        before[section] = {key: value for key, value in before[section].items() if key in settings}
    # What a run's decisions made of a setting is that setting: the cut network, a batch of all images.
    if asked.get("model", {}).get("name") == prepared.spec.row:
        asked["model"]["name"] = prepared.spec.name
    images = int((prepared.dataset.table["split"] == "train").sum())
    if asked.get("training", {}).get("batch_size", 0) > images:
        asked["training"]["batch_size"] = images
    _refuse(list_differences({section: before[section] for section in asked}, asked), run, "given")


def _refuse_changed(checkpoint: Checkpoint, own: TrainConfig, run: Run) -> None:
    """Refuse a config.toml that is not that of the checkpoint."""
    now = own.model_dump(mode="json", exclude={"run"})
    _refuse(list_differences(checkpoint.state["config"], now), run, "in config.toml")


def _refuse(differences: list[str], run: Run, where: str) -> None:
    """Refuse to go on with other settings, showing which differ."""
    if differences:
        raise ConfigError(
            f"{run.path} began with other settings than those {where}: {'; '.join(differences)}",
            "the run's own",
            "--resume alone, or a new run",
        )


def _check_same(checkpoint: Checkpoint, prepared: Prepared) -> None:
    """Refuse to go on with other data, or in another precision."""
    if checkpoint.state["table_digest"] != prepared.dataset.digest:
        raise DataError(
            f"{prepared.dataset.name} has other rows than when the run began",
            "the same ids, splits and labels",
            "the data as they were, or a new run",
        )
    if checkpoint.state["precision"] != prepared.precision.value:
        raise ConfigError(
            f"the run began in {checkpoint.state['precision']}, this machine would go on in "
            f"{prepared.precision.value}",
            "the same precision",
            f"--set training.precision={checkpoint.state['precision']} in a new run, or a machine like the first",
        )


def _work(
    run: Run, prepared: Prepared, report: Report | None, checkpoint: Checkpoint | None, devices: Devices
) -> None:
    """Train in a run's directory and write its results."""
    import keras

    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(prepared.config.training.seed)
    keras.config.set_dtype_policy(prepared.precision.value)
    try:
        with _explain_errors(prepared, run, devices):
            _fit_and_finish(run, prepared, report, checkpoint, devices)
    finally:
        keras.config.set_dtype_policy(policy)


def _fit_and_finish(
    run: Run, prepared: Prepared, report: Report | None, checkpoint: Checkpoint | None, devices: Devices
) -> None:
    """Train until nothing is left to do, then predict and score."""
    from medzoo.training.assembly import assemble
    from medzoo.training.finish import finish
    from medzoo.training.loop import fit
    from medzoo.training.monitoring.watchers import make_watchers
    from medzoo.training.stepping.acceleration import describe_acceleration
    from medzoo.transplant.record import format_record

    with catch_stop() as request:
        assembly = assemble(prepared, report, devices)
        if devices.is_chief:
            write_text(run / "plan.json", format_record(assembly.plan, {}))
        watchers = make_watchers(run, prepared, report) if devices.is_chief else ()
        monitor, position = fit(run, prepared, assembly, watchers, request, checkpoint)
    _stop_if_asked(devices.hear(request.asked_by), run)
    if report and position.stopped:
        report(f"stopped after step {position.step:,} of {assembly.steps:,}: {position.stopped}")
    facts = {
        "best_step": monitor.best_step,
        "best_epoch": round(monitor.best_step / assembly.steps_per_epoch, 4),
        "steps": position.step,
        "stopped": position.stopped or "after the last step",
        "until": monitor.crossing(),
        "seconds": round(position.seconds, 1),
        "traces": assembly.stepper.traces,
        "xla": {"value": assembly.xla.value, "reason": assembly.xla.reason},
        "batch_norm": describe_acceleration(assembly.model),
        "devices": devices.describe(),
    }
    del assembly  # its memory is needed for predicting
    with devices.meet():  # a host that leaves early would take the others with it
        if devices.is_chief:
            finish(run, prepared, facts)
    if prepared.config.run.mlflow is not None:
        from medzoo.training.monitoring.tracking import record_results

        record_results(prepared.config.run.mlflow, run, report)


def _stop_if_asked(asked_by: str, run: Run) -> None:
    """Stop between training and predicting, where a signal came during the last step."""
    if asked_by:
        raise RunStoppedError(
            asked_by,
            f"stopped by {asked_by} after the last step",
            f"medzoo train --resume {run.path}, which predicts and scores",
        )


@contextlib.contextmanager
def _explain_errors(prepared: Prepared, run: Run, devices: Devices) -> Iterator[None]:
    """Say in one line what a framework's error means."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        training = prepared.config.training
        raise TrainingError(
            f"out of memory at batch size {training.batch_size} in {training.accumulate} part"
            + "s" * (training.accumulate > 1),
            "less at a time",
            f"--batch-size {max(1, training.batch_size // 2)}, or --accumulate {2 * training.accumulate} "
            "for the same batch in smaller parts",
        ) from error
    except tf.errors.OpError as error:
        # A file may have gone since it was checked.
        broken = explain_failure(str(error.message), prepared.dataset)
        if broken is not None:
            raise broken from error
        if devices.hosts > 1 and "Collective ops is aborted" in str(error.message):
            raise TrainingError(
                f"the connection between the {devices.hosts} hosts broke off",
                "all of them at work until the last step",
                f"what the other host says, then medzoo train --resume {run.path} on all of them",
            ) from error
        raise TrainingError(f"TensorFlow stopped: {str(error.message).splitlines()[0]}") from error
    except OSError as error:
        raise TrainingError(
            f"cannot write in {run.path} ({error.strerror or error})",
            "room on the disk",
            f"to make room, then medzoo train --resume {run.path}",
        ) from error
