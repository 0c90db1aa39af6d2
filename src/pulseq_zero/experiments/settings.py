"""What the config and the experiment files hold: every section, its defaults, what it must be.

Typed sections, their JSON schemas and all defaults are made from these classes and stand nowhere
else; those of an optimization are the library's own. Lengths in m, times in s, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Self, cast

from pydantic import ConfigDict, Field, create_model, model_validator

from pulseq_zero.conversion.options import Pulses
from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.layout import EXPERIMENT_NAME
from pulseq_zero.experiments.section import (
    END,
    NAME,
    Count,
    Function,
    Numbers,
    Positive,
    Section,
    Seed,
    Share,
    Unique,
)
from pulseq_zero.experiments.stages import OPTIMIZATION, TIGHT
from pulseq_zero.optimization.settings import Method, OnNotFinite, OptimizationSettings

_SWEPT = (
    "sequence", "sequences", "parameters", "image", "reconstruction", "modules", "loss",
    "optimizer", "scan", "phantom", "phantoms",
)  # fmt: skip
_VARIED = ("sequence", "sequences", "image", "reconstruction", "loss", "phantom")


def _dotted(sections: tuple[str, ...]) -> dict[str, Any]:
    """Describe values by the dotted names of settings, at least one."""
    return {
        "minProperties": 1,
        "propertyNames": {
            "pattern": rf"^({'|'.join(sections)})(\.[A-Za-z_][A-Za-z0-9_]*)+{END}",
            "description": "the dotted name of a setting inside "
            f"{', '.join(sections[:-1])} or {sections[-1]}, such as loss.settings.share",
        },
    }


class SimulationSettings(Section):
    """Accuracy and engine of the simulation."""

    accuracy: Share = OptimizationSettings.accuracy
    """Of the optimization: relative error of the signal by the states that are left out"""
    tight_accuracy: Share = 1e-4
    """Of everything that is reported"""
    tight_change: Share = 2e-4
    """Relative change of an image by half the accuracy that counts as none"""
    engine: Literal["pdg", "mrzero"] = "pdg"
    """This project's engine, or MRzeroCore's own main pass"""
    device: Annotated[
        str, Field(pattern=rf"^(cpu|cuda(:[0-9]+)?){END}", description="cpu or cuda")
    ] = "cpu"

    @property
    def simulator(self) -> dict[str, Any]:
        """Settings of the `Simulator` beside its accuracy."""
        return {"engine": self.engine, "device": self.device}

    @property
    def accuracies(self) -> dict[str, float]:
        """The levels of accuracy by their names, see `pulseq_zero.experiments.stages`."""
        return {OPTIMIZATION: self.accuracy, TIGHT: self.tight_accuracy}


class JudgeSettings(Section):
    """The judge of exported sequences, a simulation by Bloch isochromats."""

    tolerance: Positive = 5e-3
    """How far two runs with different spins may differ, with instantaneous pulses"""
    full_tolerance: Positive = 5e-3
    """The same with pulses that take their time"""
    largest: Annotated[
        int,
        Field(json_schema_extra={"enum": [2**power for power in range(6, 17)]}),
    ] = 32768
    """Spins in a voxel at most, a power of 2"""
    thickness: Annotated[float, Field(ge=1)] = 2.0
    """Of the slice of spins, full physics, relative to the phantom's; more where more is excited"""
    full_accuracy: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of the simulation whose pulses are played, to be held against full physics"""


class LimitSettings(Section):
    """Limits of exported sequences; without one, a value is only stated."""

    rf_energy: Positive | None = None
    """T² s"""
    b1_rms: Positive | None = None
    """T"""
    b1_peak: Positive | None = None
    """T"""
    pns_hardware: Annotated[str | None, Field(min_length=1)] = None
    """A Siemens scanner's .asc file, whose nerve stimulation limits are judged"""

    @property
    def rf(self) -> dict[str, float]:
        """Limits of the RF pulses."""
        return self.model_dump(exclude={"pns_hardware"}, exclude_none=True)


class NoiseSettings(Section):
    """Receiver noise that the gain on other phantoms is held against."""

    snr: Positive = 30.0
    """Mean magnitude of the start image over the standard deviation of a pixel's real part"""
    count: Annotated[int, Field(ge=2)] = 32
    """Number of realizations"""
    seed: Seed = 0
    region: Annotated[str, Field(min_length=1)] = "brain"
    """Region of the phantom where the mean is taken"""


class Config(Section):
    """What to run, on which phantom, how accurately."""

    experiments: Annotated[
        list[
            Annotated[
                str,
                Field(
                    pattern=rf"^{EXPERIMENT_NAME}{END}",
                    description="letters, digits and underscores, a letter first",
                ),
            ]
        ],
        Field(min_length=1, json_schema_extra=Unique),
    ]
    """Names of the files in config/experiments, without .yaml"""
    results: Annotated[
        str,
        Field(
            pattern=rf"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*{END}",
            description="the path of a folder below the working directory, without spaces",
        ),
    ] = "results"
    packages: Annotated[
        list[
            Annotated[
                str,
                Field(pattern=NAME, description="the name of a package"),
            ]
        ],
        Field(json_schema_extra=Unique),
    ] = []
    """Installed packages that experiments may name functions of, beside the project's own files"""
    phantom: dict[str, Any] = {}
    """The phantom; the library's phantom schema has the details"""
    other_phantoms: Annotated[
        dict[str, dict[str, Any]] | None,
        Field(json_schema_extra={"type": ["object", "null"], "minProperties": 1}),
    ] = None
    """Changes of the phantom, by name; the optimized sequences are evaluated on each"""
    noise: NoiseSettings = NoiseSettings()
    """Of the images on these phantoms"""
    simulation: SimulationSettings = SimulationSettings()
    validation: JudgeSettings = JudgeSettings()
    limits: LimitSettings = LimitSettings()


class SequenceSettings(Section):
    """The sequence function."""

    function: Function
    arguments: dict[str, Any] = {}
    """Constant arguments of the sequence function"""
    pulses: Pulses = OptimizationSettings.pulses
    """Whether pulses are played, so that slice profiles matter, or act at once"""


class ParameterSettings(Section):
    """What is optimized."""

    start: Numbers | None = None
    """Start value or values; by default those of the sequence function"""
    begin: Numbers | None = None
    """Where the optimization begins, if not at the start values"""
    lower: Numbers | None = None
    """Bound of all elements, or of each its own"""
    upper: Numbers | None = None
    learning_rate: Positive | None = None
    in_sequence: bool = True
    """Whether it is an argument of a sequence function; otherwise only the loss gets it"""
    unit: str = ""


class ImageSettings(Section):
    """Pixels and field of view (m), three numbers each of a volume; by default the sequence's."""

    matrix: Annotated[tuple[Count, ...], Field(min_length=2, max_length=3)] | None = None
    fov: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=3)] | None = None

    @property
    def axes(self) -> int:
        """Number of axes of an image: 3 of a volume."""
        return max(2, len(self.matrix or ()), len(self.fov or ()))


class PhantomsSettings(Section):
    """Phantoms to optimize on that are others in each iteration."""

    function: Function
    """Takes the iteration, and the experiment's own phantom if it names it; returns phantoms"""
    settings: dict[str, Any] = {}
    """Further keyword arguments of it"""


class ReconstructionSettings(Section):
    """What makes the image of the acquisition, if it is not the adjoint."""

    function: Function
    """A function of the acquisition and of modules by their names, or a torch.nn.Module"""
    settings: dict[str, Any] = {}
    """Further keyword arguments of it"""


class ModuleSettings(Section):
    """A network that is trained along."""

    function: Function
    """Returns a torch.nn.Module, or is its class"""
    settings: dict[str, Any] = {}
    """Keyword arguments of it"""
    seed: Seed = 0
    """Of the random numbers that it begins with"""


class LossSettings(Section):
    """The loss maker."""

    function: Function
    settings: dict[str, Any] = {}
    """Keyword arguments of the loss maker"""


class TorchSettings(Section):
    """A class of torch, and what it is made with."""

    name: Annotated[str, Field(pattern=NAME, description="the name of a class of torch")]
    settings: dict[str, Any] = {}
    """Keyword arguments of it"""


class OptimizerSettings(Section):
    """How the parameters are optimized."""

    iterations: Count
    method: Method = OptimizationSettings.method
    optimizer: TorchSettings | None = None
    """A class of torch.optim, instead of a method"""
    scheduler: TorchSettings | None = None
    """A class of torch.optim.lr_scheduler"""
    module_optimizer: TorchSettings | None = None
    """A class of torch.optim that trains the modules; by default Adam"""
    learning_rate: Positive = OptimizationSettings.learning_rate
    """Of the parameters without one"""
    verify_every: Count | None = None
    """Compute the loss again at the tight accuracy every so many iterations"""
    verify_share: Annotated[float, Field(ge=0, le=1)] = OptimizationSettings.verify_share
    """Least share of the improvement that the verification has to confirm"""
    seed: Seed = OptimizationSettings.seed
    noise: Annotated[float, Field(ge=0)] = OptimizationSettings.noise
    """Standard deviation of the signal's noise, another realization in each iteration"""
    on_not_finite: OnNotFinite = OptimizationSettings.on_not_finite

    @property
    def look_every(self) -> int:
        """Iterations between the images whose quality is looked at."""
        return self.verify_every or 10


class ScanVariants(Section):
    """The scan made again with something changed, to see what moves its minimum."""

    first: float
    last: float
    count: Annotated[int, Field(ge=3)]
    changes: Annotated[
        dict[str, Annotated[dict[str, Any], Field(json_schema_extra=_dotted(_VARIED))]],
        Field(min_length=1),
    ]
    """By a name for each variant, values of settings by their dotted names"""


class ScanSettings(Section):
    """Brute force over one scalar parameter."""

    parameter: str
    first: float
    last: float
    count: Annotated[int, Field(ge=2, le=100_000)]
    tolerance: Positive | None = None
    """How far the found value may be from the scan's minimum, relative to this"""
    variants: ScanVariants | None = None

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.first == self.last:
            raise ValueError("first and last are the same; give a range")
        return self


class BaselineSettings(Section):
    """Flip angles to compare with: a family over one number."""

    function: Function
    """Returns the experiment's flip angles (rad), of one of the values"""
    values: Annotated[list[float], Field(min_length=1, json_schema_extra=Unique)]


class Experiment(Section):
    """One experiment, or a sweep over many."""

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {"compare": ["sweep"], "baselines": ["sweep"]}}
    )

    title: str
    phantom: dict[str, Any] = {}
    """Settings of the phantom that differ from the config's"""
    ensemble: Annotated[
        list[dict[str, Any]], Field(json_schema_extra={**Unique, "minItems": 1})
    ] = []
    """Further phantoms; what is optimized is the mean of the losses on all"""
    phantoms: PhantomsSettings | None = None
    """Others in each iteration of the optimization; all else is done on the experiment's own"""
    sequence: SequenceSettings | None = None
    sequences: Annotated[
        dict[str, SequenceSettings],
        Field(
            json_schema_extra={
                "minProperties": 2,
                "propertyNames": {"pattern": NAME, "description": "the name of a sequence"},
            }
        ),
    ] = {}
    """Several instead of one, by their names; each takes those parameters that it has"""
    parameters: Annotated[
        dict[str, ParameterSettings],
        Field(
            min_length=1,
            json_schema_extra={
                "propertyNames": {"pattern": NAME, "description": "the name of an argument"}
            },
        ),
    ]
    """What is optimized, by the names of the sequence function's arguments"""
    image: ImageSettings = ImageSettings()
    reconstruction: ReconstructionSettings | None = None
    modules: Annotated[
        dict[str, ModuleSettings],
        Field(
            json_schema_extra={
                "propertyNames": {"pattern": NAME, "description": "the name of a module"}
            }
        ),
    ] = {}
    """Networks that are trained along, by their names"""
    loss: LossSettings
    optimizer: OptimizerSettings
    report_iterations: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(json_schema_extra=Unique)
    ] = []
    """Iterations that are simulated again at the tight accuracy and reported"""
    scan: ScanSettings | None = None
    validation: JudgeSettings = JudgeSettings()
    """Settings of the judge that differ from the config's"""
    figure: Annotated[str, Field(json_schema_extra={"enum": kinds.names()})] = kinds.ANY
    """Kind of the experiment: how its results are checked, drawn and reported"""
    sweep: Annotated[
        dict[str, list[Any]],
        Field(
            json_schema_extra={
                **_dotted(_SWEPT),
                "additionalProperties": {"type": "array", "minItems": 1, **Unique},
            }
        ),
    ] = {}
    """Lists of values; all combinations are run"""
    compare: Annotated[list[str], Field(json_schema_extra={**Unique, "minItems": 1})] = []
    """Experiments that stand beside the runs of the sweep in its table and figure"""
    baselines: dict[str, BaselineSettings] = {}
    """Flip angles that stand beside the runs of the sweep in its figure, by name"""

    @model_validator(mode="after")
    def _has_its_sequences(self) -> Self:
        if (self.sequence is None) == (not self.sequences):
            raise ValueError("give one sequence, or several by their names as sequences")
        if self.phantoms and self.ensemble:
            raise ValueError("phantoms: an ensemble comes from their function, too; leave one out")
        # Some file systems do not tell capitals from small letters
        if len({name.lower() for name in self.sequences}) < len(self.sequences):
            raise ValueError("sequences: two names differ in capitals alone; change one")
        if len({each.pulses for each in self.sequences.values()}) > 1:
            raise ValueError("sequences: pulses must be the same of all")
        return self

    @property
    def sequences_by_name(self) -> dict[str, SequenceSettings]:
        """Its sequences; the only one has the empty name."""
        return self.sequences or {"": cast("SequenceSettings", self.sequence)}

    @property
    def pulses(self) -> Pulses:
        """How the pulses of its sequences act."""
        return next(iter(self.sequences_by_name.values())).pulses

    @property
    def flip_angles(self) -> str | None:
        """Name of the parameter whose squares count as SAR, if the experiment has one."""
        name = self.loss.settings.get("flip_angles", "flip_angles")
        return name if name in self.parameters else None


@cache
def _class_of(sections: tuple[str, ...]) -> type[Section]:
    fields: dict[str, Any] = {
        name: (Experiment.model_fields[name].annotation, Experiment.model_fields[name])
        for name in sections
    }
    functions = {
        name: getattr(Experiment, name) for name in ("flip_angles", "pulses", "sequences_by_name")
    }
    return create_model("ExperimentSections", __base__=type("_", (Section,), functions), **fields)


def with_sections(experiment: Experiment, sections: Sequence[str]) -> dict[str, Any]:
    """Write out some sections of an experiment, defaults included, as YAML has them."""
    return experiment.model_dump(mode="json", include=set(sections))


def only_sections(content: Mapping[str, Any]) -> Experiment:
    """Read what `with_sections` wrote: an experiment of which nothing else can be read.

    Raises
    ------
    AttributeError
        Later, where a section is used that is not there, rather than its default.
    """
    # An experiment for whoever keeps to its sections
    return cast("Experiment", _class_of(tuple(content)).model_validate(content))
