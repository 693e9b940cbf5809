"""The settings of a training run, section by section: frozen models that take no unknown key."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from medzoo.contracts import Fit, Interpolation

#: What is done with a label that its annotators called uncertain, or left blank.
Policy = Literal["ones", "zeros", "ignore", "keep"]

#: What the best epoch is chosen by; each is computed exactly on the validation images.
MetricName = Literal["auroc", "auprc", "kappa", "macro_recall", "loss"]

#: Settings that go together, as a paper has them; see medzoo/training/recipes.py.
RecipeName = Literal[
    "default", "transfusion", "bit-hyperrule", "feature-reuse", "ttl", "lwft", "fat", "linear-probe"
]


class Section(BaseModel):
    """A group of settings that cannot be changed once made and takes no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSection(Section):
    """Which images, and how they are read."""

    source: str | None = Field(default=None, min_length=1)
    image_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    patient_column: str | None = None
    label_columns: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="a column for each label, where an image has several"
    )
    group_columns: tuple[str, ...] | None = Field(
        default=None, description="the columns that reach the predictions; None is every short one"
    )
    image_folder: str | None = None
    # What -1 and an empty cell of a label column mean: one rule for all, or one a label, "*" for the others.
    uncertain: Policy | dict[str, Policy] | None = None
    blank: Policy | dict[str, Policy] | None = None
    positive: str | None = Field(default=None, description="the positive one of two classes")
    on_error: Literal["fail", "skip"] = Field(
        default="fail", description="skip leaves out rows and images that cannot be read, and lists them"
    )
    splits: str | None = Field(
        default=None, min_length=1, description="a table of medzoo data split, laid over the data by id"
    )
    fraction: float | None = Field(
        default=None, gt=0, le=100, description="percent of the training patients, of a nested split"
    )
    fold: int | None = Field(default=None, ge=1, description="the fold that is tested, of a split into folds")
    windows: tuple[str, ...] | None = Field(
        default=None, description="lung, bone, 40/400, …: values that become black to white, a channel each"
    )
    frame: Literal["first", "middle", "all"] | int | None = Field(
        default=None, description="which frame or page of a file of many is the image; None is the middle one"
    )
    cache: Literal["auto", "memory", "disk", "off"] = "auto"
    image_size: int | None = Field(default=None, ge=1, le=16384)
    preprocessing: str | None = Field(
        default=None, description="the input contract; None is that of the weights, else the network's"
    )
    # The resize rule; None is that of the run in `weights.src`, else the input contract's.
    fit: Fit | None = Field(default=None, description="how a picture meets the square input")
    interpolation: Interpolation | None = Field(
        default=None, description="how pixels between pixels are made"
    )
    crop_fraction: float | None = Field(
        default=None, gt=0, le=1, description="under crop: the input's share of the resized shorter side"
    )
    strict: bool = Field(
        default=False, description="refuse images beyond the contract's range, which is warned of otherwise"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="draws splits that the data lack, and the phantom"
    )


class ModelSection(Section):
    """Which network; None is decided by the weights' source and the images."""

    name: str | None = None
    channels: int | None = Field(default=None, ge=1)
    head: Literal["gap", "flatten", "token"] | None = Field(
        default=None, description="how features become logits; None is the network's own"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="rate of stochastic depth in the last block"
    )


class WeightsSection(Section):
    """How the network is initialised; a mode of None is `copy` with a source and `random` without."""

    src: str | None = Field(default=None, min_length=1)
    dialect: str | None = None
    mode: str | None = None
    upto: str | int | None = None
    at: str | None = None
    above: str | None = None
    factor: float | None = None
    norm: str | None = None
    bias: str | None = None
    ddof: int | None = None
    exact: bool | None = None
    sampler: str | None = None
    tokens: str | None = None
    rest: str | None = None
    pick: str | None = None
    noise: float | None = None
    channel_mode: str | None = None
    fold: bool | None = None
    inflate: str | None = None
    head_weights: str | None = None
    classes_map: str | None = None
    interpolation: str | None = None
    antialias: bool | None = None
    rules: str | None = Field(default=None, min_length=1, description="a TOML file in place of a mode")
    lsuv: bool = Field(default=False, description="scale every layer by what training images give")
    ignore: tuple[str, ...] | None = None


class TrainingSection(Section):
    """How the network is trained."""

    recipe: RecipeName = Field(default="default", description="a paper's settings, below those given")
    epochs: int = Field(default=15, ge=1, le=10**6)
    steps: int | None = Field(default=None, ge=1, le=10**9, description="updates in all, in place of epochs")
    batch_size: int = Field(default=32, ge=1, le=2**20, description="images an update")
    accumulate: int = Field(
        default=1, ge=1, le=2**16, description="parts in which a batch is computed, for less memory"
    )
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps")
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch_norm: Literal["recalibrate", "train", "frozen"] = "recalibrate"
    augment: str = Field(default="none", description="a recipe of medzoo/data/feeding/augment_recipes.py")
    flips: Literal["none", "horizontal", "both"] | None = Field(
        default=None, description="mirrored images; None is the recipe's own"
    )
    mix: Literal["none", "mixup", "cutmix"] = "none"
    mix_alpha: float = Field(default=0.2, gt=0, description="λ is drawn from Beta(α, α)")
    balance: Literal["none", "weights", "oversample"] = Field(
        default="none", description="weights in the loss, or rare images more often"
    )
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    xla: Literal["auto", "on", "off"] = "auto"
    accelerate: Literal["auto", "on", "off"] = Field(default="auto", description="fused batch norm")
    steps_per_execution: int = Field(default=1, ge=1, le=10**4)
    devices: int = Field(default=1, ge=1, le=1024)


class ObjectiveSection(Section):
    """What is minimised."""

    kind: Literal["auto", "softmax", "sigmoid", "ordinal", "regression"] = Field(
        default="auto", description="auto: softmax of exclusive classes, sigmoid of several labels"
    )
    focal: float = Field(default=0.0, ge=0, description="γ of the focal loss; 0 is plain cross-entropy")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class OptimizerSection(Section):
    """Which weights are updated, and how."""

    name: Literal["adamw", "adam", "sgd", "lamb"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of all gradients together")
    average: float = Field(default=0.0, ge=0, lt=1, description="what an average of weights keeps a step")
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="rate of a stage ÷ that of the one above")
    rates: dict[str, float] = Field(default={}, description="stage → factor of the learning rate")
    freeze: str | None = Field(default=None, description="the last stage that stays as it is")
    unfreeze_every: int | None = Field(default=None, ge=1, description="epochs until one more stage learns")
    update_frozen_norms: bool = Field(
        default=False, description="frozen batch norms go on measuring, as in the authors' LWFT"
    )


class ScheduleSection(Section):
    """How the learning rate runs."""

    kind: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_steps: int | None = Field(default=None, ge=0, description="in place of training.warmup")
    boundaries: tuple[PositiveInt, ...] = Field(default=(), description="steps after which the rate falls")
    factor: float = Field(
        default=0.1, gt=0, lt=1, description="what it is multiplied by there, or at a plateau"
    )
    patience: int = Field(default=5, ge=1, description="validations without gain that make a plateau")
    metric: MetricName | None = Field(default=None, description="of a plateau; None is validation.metric")
    least_rate: float = Field(default=0.0, ge=0, description="a plateau below this rate ends the run")


class ValidationSection(Section):
    """How progress is judged."""

    metric: MetricName = "auroc"
    every: float = Field(default=1.0, gt=0, description="epochs between validations; .5 is twice an epoch")
    early_stopping: int | None = Field(
        default=None, ge=1, description="validations without gain that end a run"
    )
    least_gain: float = Field(default=0.0, ge=0, description="what counts as gain")
    until: str | None = Field(default=None, description="auroc=.90: ends the run where it is reached")


class RunSection(Section):
    """Where the results go; without `out` a new folder under `runs` is made."""

    out: str | None = Field(default=None, min_length=1)
    overwrite: bool = False
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    tensorboard: bool = False
    mlflow: str | None = Field(default=None, min_length=1, description="a tracking address or folder")


class TrainConfig(Section):
    """Everything that a training run is decided by."""

    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    weights: WeightsSection = WeightsSection()
    training: TrainingSection = TrainingSection()
    objective: ObjectiveSection = ObjectiveSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    validation: ValidationSection = ValidationSection()
    run: RunSection = RunSection()
