"""Steps use the sections of an experiment that they declare: no others, and all of these."""

from __future__ import annotations

from importlib import import_module

import pytest

from pulseq_zero.experiments.layout import ResultFiles
from pulseq_zero.experiments.settings import Experiment, JudgeSettings
from pulseq_zero.experiments.stages import ENDS, FULL, INSTANTANEOUS, OPTIMIZED, START
from pulseq_zero.phantom import build_phantom

STEPS = (
    "trace",
    "simulate",
    "optimize",
    "export",
    "import_seq",
    "scan",
    "quality",
    "judge",
    "validate",
    "limits",
    "robustness",
    "evaluate",
    "sequence_figures",
    "schematic_figure",
)


class Recorded:
    """An experiment that remembers which of its sections were read."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.read = experiment, set()

    def __getattr__(self, name):
        if name in Experiment.model_fields:
            self.read.add(name)
        found = getattr(Experiment, name, None)
        return found.fget(self) if isinstance(found, property) else getattr(self.experiment, name)


@pytest.fixture(scope="module")
def read(root, tmp_path_factory) -> dict[str, set[str]]:
    """Take all steps of a small experiment; returns what each has read of it."""
    files = ResultFiles(tmp_path_factory.mktemp("results")).run("small")
    phantom = files.phantom(0)
    build_phantom({"matrix": 16}).save(phantom)
    experiment = Experiment(
        title="Small",
        sequence={
            "function": f"{root}/sequences/epi_ir.py:epi_ir",
            "arguments": {"n_read": 16, "n_phase": 16},
        },
        parameters={"TI": {"start": 2.0, "learning_rate": 0.1}},
        loss={"function": "pulseq_zero.losses:contrast", "settings": {"share": 0.3}},
        optimizer={"iterations": 1},
        report_iterations=[1],
        scan={"parameter": "TI", "first": 1.0, "last": 2.0, "count": 2},
    )
    simulation = {"accuracy": 0.1, "simulator": {}}
    judge = JudgeSettings(
        tolerance=1, full_tolerance=1, largest=64, sub_pulses=1, full_accuracy=0.1
    )
    recorded: dict[str, set[str]] = {}

    def take(step, **arguments):
        seen = Recorded(experiment)
        import_module(f"pulseq_zero.experiments.steps.{step}").run(experiment=seen, **arguments)
        recorded.setdefault(step, set()).update(seen.read)

    def stage(name):
        later = {} if name == START else {"optimization": files.parameters}
        sequence, seq = files.sequence(name), files.seq(name)
        take("trace", stage=name, sequence=sequence, traced=files.traced(name), **later)
        at = {"phantom": phantom, "sequence": sequence, "image": files.image(name)}
        take("simulate", change=None, **simulation, **at)
        take(
            "export",
            stage=name,
            plain_script=root / "workflow/scripts/plain_pypulseq.py",
            traced=files.traced(name),
            seq=seq,
            check=files.export(name),
            **later,
        )
        of_file = {"phantom": phantom, "seq": seq}
        take("import_seq", **simulation, **of_file, image=files.imported(name))
        for physics in (INSTANTANEOUS, FULL):
            image = files.judge(name, physics)
            take(
                "judge", settings=judge, physics=physics, sequence=sequence, image=image, **of_file
            )

    stage(START)
    start = files.image(START)
    at = {"phantom": phantom, "start": start}
    take(
        "optimize",
        name="small",
        tight_accuracy=0.1,
        ensemble=[],
        checkpoints=files.folder,
        parameters=files.parameters,
        history=files.history,
        **simulation,
        **at,
    )
    stage(OPTIMIZED)
    found = {"optimization": files.parameters}
    take("scan", scan=files.scan, **simulation, **at)
    take("quality", quality=files.quality, **simulation, **at, **found)
    figure = {"png": files.folder / "a.png", "pdf": files.folder / "a.pdf"}
    images = [files.image(name) for name in ENDS]
    take(
        "validate",
        name="small",
        settings=judge,
        phantom=phantom,
        seq=[files.seq(name) for name in ENDS],
        optimizer=images,
        tight=images,
        imported=[files.imported(name) for name in ENDS],
        bloch=[files.judge(name, INSTANTANEOUS) for name in ENDS],
        bloch_full=[files.judge(name, FULL) for name in ENDS],
        validation=files.validation,
        **simulation,
        **found,
        **figure,
    )
    seqs = {name: files.seq(name) for name in ENDS}
    take("limits", rf_limits={}, limits=files.limits, **seqs, **found)
    take(
        "robustness",
        name="small",
        labels=["a"],
        phantoms=[phantom],
        robustness=files.robustness,
        **simulation,
        **found,
    )
    take(
        "evaluate",
        stages=ENDS,
        simulator={},
        images=images,
        sequences=[files.sequence(name) for name in ENDS],
        start=start,
        parameters=files.parameters,
        history=files.history,
        phantom=phantom,
        evaluation=files.evaluation,
        scan=files.scan,
    )
    drawn = {f"{kind}_{s}": path for kind in ("pulses", "kspace") for s, path in figure.items()}
    take("sequence_figures", seq=files.seq(START), sequence=files.sequence(START), **drawn)
    take("schematic_figure", phantom=phantom, image=start, **figure)
    return recorded


@pytest.mark.parametrize("step", STEPS)
def test_a_step_reads_the_sections_that_it_declares(read, step):
    declared = import_module(f"pulseq_zero.experiments.steps.{step}").SECTIONS
    assert read[step] == set(declared)
