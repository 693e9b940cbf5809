"""What a plan is made of: rules, the steps that they decide on, the plan itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from medzoo.specs import HEAD, Scalar
from medzoo.tensors import Role, Target, TensorSpec
from medzoo.tensors import format_shape as format_shape
from medzoo.transplant.channels import reads_input
from medzoo.transplant.methods import METHODS
from medzoo.wiring import INPUT

#: The dense layers of a head; a distilled transformer has two.
HEADS = f"{HEAD}/*|{HEAD}_distillation/*"


@dataclass(frozen=True)
class Rule:
    """What to do with the target tensors whose name (and role, if any are given) match; the first match wins.

    `match` is one or more globs joined by `|`; `<input>` stands for the kernels that read the image. The option
    `otherwise` names the method for a tensor that the source lacks or holds for another number of classes, or that
    the method cannot treat; without it, these are errors. Further options are the method's own.
    """

    match: str
    method: str
    options: Mapping[str, Scalar] = field(default_factory=dict)
    roles: tuple[Role, ...] = ()

    def covers(self, tensor: TensorSpec) -> bool:
        """Tell whether the rule is for this tensor.

        >>> Rule("conv1/*|bn1/*", "copy").covers(TensorSpec("bn1/gamma", (4,), "float32", Role.NORM_SCALE))
        True
        """
        if self.roles and tensor.role not in self.roles:
            return False
        return any(fnmatchcase(tensor.name, pattern) for pattern in self.match.split("|"))

    def decides(self, tensor: TensorSpec, target: Target) -> bool:
        """Tell whether the rule is for this tensor of this target, `<input>` among its globs included."""
        if self.covers(tensor):
            return True
        allowed = not self.roles or tensor.role in self.roles
        return INPUT in self.match.split("|") and allowed and reads_input(tensor, target)


@dataclass(frozen=True)
class Step:
    """What is done to fill one target tensor.

    `ranges` says which of the source's indices are kept, an axis each, as text (`"0:8,16:20"`, empty for all of them);
    it is empty where the whole tensor is. `stage` is the target's stage that holds the tensor, where that is known.
    """

    target: TensorSpec
    source: TensorSpec | None
    method: str
    options: Mapping[str, Scalar] = field(default_factory=dict)
    ranges: tuple[str, ...] = ()
    stage: str = ""

    @property
    def uses_source(self) -> bool:
        """Whether values or moments of the source end up in the tensor."""
        return METHODS[self.method].needs != "nothing"

    @property
    def covered(self) -> int:
        """How many of the tensor's values come from the source: of a head whose classes are mapped, those classes'."""
        if not self.uses_source:
            return 0
        classes = str(self.options.get("classes", ""))
        share = len(classes.split(",")) / self.target.shape[-1] if classes else 1.0
        return round(self.target.size * share)


@dataclass(frozen=True)
class Plan:
    """Every step of a transplant, what of the source is left over, and what a replay needs to know.

    `dialect` is the one that was forced, or empty; `input_size` and `head` are 0 and empty where they are the
    network's own.
    """

    steps: tuple[Step, ...]
    unused: tuple[str, ...]
    seed: int
    source_digest: str
    origin: str = ""
    model: str = ""
    classes: int = 0
    channels: int = 0
    dialect: str = ""
    input_size: int = 0
    head: str = ""

    @property
    def coverage(self) -> float:
        """The share of the target's values that came from the source."""
        total = sum(step.target.size for step in self.steps)
        return sum(step.covered for step in self.steps) / total

    def __str__(self) -> str:
        """Print one row per tensor, then the coverage."""
        from medzoo.transplant.table import format_plan

        return format_plan(self)
