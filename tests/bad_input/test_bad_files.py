"""Files of the pipeline, damaged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import UnsupportedFileError
from pulseq_zero.experiments.experiment import sequence_setup, stage_values
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import load_json, load_table, load_tensors, save_tensors
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.imaging.simulating import simulate
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.phantom import Phantom
from support.refusal import check
from support.seq_text import text_of
from support.toy import inversion_recovery, one_voxel, signal_loss


@pytest.fixture
def written():
    """Write one good file of each kind, and damage copies of them."""
    inversion_recovery().write("good.seq")
    text = Path("good.seq").read_text()
    Path("cut.seq").write_text(text[: len(text) // 2])
    Path("altered.seq").write_text(text.replace("major 1", "major  1", 1))
    Path("unsigned.seq").write_text(text[: text.index("[SIGNATURE]")])
    Path("odd.seq").write_text(text.replace("[RF]", "[RFX]"))
    Path("circle.seq").write_text(f"{text}\n[EXTENSIONS]\n1 1 1 2\n2 1 1 1\n")
    for name, time in {"no": "0", "negative": "-1e-05", "endless": "1e400", "hex": "0x10"}.items():
        changed = re.sub(r"(?<=BlockDurationRaster )\S+", time, text[: text.index("[SIGNATURE]")])
        Path(f"{name}_raster.seq").write_text(changed)
    Path("binary.seq").write_bytes(b"\xff\xfe" * 100)
    Path("empty.seq").write_text("")
    save_tensors("good.safetensors", {"a": torch.ones(3)}, {"best_iteration": 0})
    Path("cut.safetensors").write_bytes(Path("good.safetensors").read_bytes()[:-4])
    Path("text.safetensors").write_text("no tensors")
    Path("cut.json").write_text('{"a": ')
    Path("deep.json").write_text(100_000 * "[")
    Path("empty.csv").write_text("")
    optimize(
        inversion_recovery,
        signal_loss,
        {"TI": 1.0},
        one_voxel(),
        iterations=2,
        progress=False,
        checkpoint="checkpoint.safetensors",
    )
    whole = Path("checkpoint.safetensors").read_bytes()
    Path("cut_checkpoint.safetensors").write_bytes(whole[:-8])


def resume(path, **settings):
    given = {"iterations": 4, "progress": False, "checkpoint": path, **settings}
    return optimize(inversion_recovery, signal_loss, {"TI": 1.0}, one_voxel(), **given)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: read_seq("none.seq"),
            "none.seq cannot be read (No such file or directory); check the path or export "
            "the sequence first",
        ),
        (
            lambda: read_seq("cut.seq", check_signature=True),
            "cut.seq has no signature, so that it may be cut or altered; write it again",
        ),
        (
            lambda: read_seq("unsigned.seq", check_signature=True),
            "unsigned.seq has no signature, so that it may be cut or altered; write it again",
        ),
        (
            lambda: read_seq("altered.seq", check_signature=True),
            "altered.seq was altered after it was written: its signature does not fit; "
            "write it again",
        ),
        (
            lambda: read_seq("odd.seq"),
            "PyPulseq 1.5.0.post1 cannot read odd.seq, which is of Pulseq 1.5.0 (ValueError: "
            "Unknown section code: [RFX]); write it again with this version, or for version 1.4, "
            "if it is yours; pulseq_zero.simulate takes MRzeroCore's importer where that reads it",
        ),
        (
            lambda: read_seq("circle.seq"),
            "circle.seq is damaged: its list of extensions 1 never ends; get it again",
        ),
        *(
            (
                lambda name=name: read_seq(f"{name}_raster.seq"),
                f"{name}_raster.seq states {time} as its BlockDurationRaster, which is no time; "
                "get it again",
            )
            for name, time in {
                "no": "0.0",
                "negative": "-1e-05",
                "endless": "inf",
                "hex": "0x10",
            }.items()
        ),
        (
            lambda: read_seq("binary.seq"),
            "binary.seq is no .seq file: it holds no text; export it again",
        ),
        (
            lambda: read_seq("empty.seq"),
            "empty.seq is no .seq file, or is cut: it has no section [VERSION]; check which file "
            "it is, or get it again",
        ),
        (
            lambda: resume("cut_checkpoint.safetensors"),
            "cut_checkpoint.safetensors is no checkpoint, or a damaged one; delete "
            "cut_checkpoint.safetensors to start afresh",
        ),
        (
            lambda: resume("good.safetensors"),
            "good.safetensors is no checkpoint, or a damaged one; delete good.safetensors "
            "to start afresh",
        ),
        (
            lambda: resume("text.safetensors"),
            "text.safetensors is no checkpoint, or a damaged one; delete text.safetensors "
            "to start afresh",
        ),
        (
            lambda: resume("checkpoint.safetensors", seed=5),
            "checkpoint.safetensors belongs to a run with other settings; delete "
            "checkpoint.safetensors to start afresh",
        ),
        (
            lambda: load_tensors("none.safetensors"),
            "none.safetensors does not exist; check the path or make the file first",
        ),
        (
            lambda: load_tensors("cut.safetensors"),
            "cut.safetensors is not a safetensors file written by this package or is "
            "damaged (Error while deserializing header: incomplete metadata, file not "
            "fully covered); make it again",
        ),
        (
            lambda: load_tensors("text.safetensors"),
            "text.safetensors is not a safetensors file written by this package or is "
            "damaged (Error while deserializing header: header too large); make it again",
        ),
        (
            lambda: load_json("cut.json"),
            "cut.json is not a JSON file or is damaged (Expecting value: line 1 column 7 "
            "(char 6)); make it again",
        ),
        (
            lambda: load_json("deep.json"),
            "deep.json is not a JSON file or is damaged (maximum recursion depth exceeded while "
            "decoding a JSON array from a unicode string); make it again",
        ),
        (
            lambda: load_table("empty.csv"),
            "empty.csv is not a table or is damaged (No columns to parse from file); make it again",
        ),
        (
            lambda: load_table("a.xlsx"),
            "a.xlsx has no known table format; name it .csv or .parquet",
        ),
        (
            lambda: Phantom.load("good.safetensors"),
            "good.safetensors holds no phantom of this version; build the phantom again",
        ),
        (
            lambda: Repetitions.from_tensors(*load_tensors("good.safetensors")),
            "good.safetensors holds no 'pulse_angle': it is of something else; make it again",
        ),
    ],
)
def test_files(written, act, message):
    check(act, message)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        (
            "1 8 200000 100 0 0",
            "1 8 -200000 100 0 0",
            "a block has an event of the kind 'adc' whose dwell is -0.0002 s; no time is negative: "
            "mend the sequence, or get the file again",
        ),
        *(
            (
                "1 8 200000 100 0 0",
                f"1 {count} {dwell} 100 0 0",
                f"a block of 0.0018 s has an ADC event that takes {shown} samples, one in "
                f"{dwell / 1e9:g} s; mend the sequence, or get the file again",
            )
            for count, dwell, shown in (
                (10**7, 200000, "1e+07"),
                (8, 0, "8"),
                (10, 200000, "10"),
            )
        ),
        *(
            (
                "1 8 200000 100 0 0",
                f"1 {count} 200000 100 0 0",
                f"a.seq has a readout of {count:g} samples, which is no number of samples; get it "
                "again",
            )
            for count in (10**9, 10**30)
        ),
        *(
            (
                "1 8 200000 100 0 0",
                f"1 {count} 200000 100 0 0",
                f"a block of 0.0018 s has an ADC event that takes {count} samples, one in 0.0002 "
                "s; mend the sequence, or get the file again",
            )
            for count in (0, -8)
        ),
        (
            "1 1250 1 2 0 100 0.0 0",
            "1 1250 1 2 0 100 1e12 0",
            "a pulse of 0.2 ms takes 2.51e+10 samples to follow; lower its frequency offset, or "
            "the number of its sub-pulses",
        ),
        *(
            (
                "1 1250 1 2 0 100 0.0 0",
                f"1 1250 1 2 {shape} 100 0.0 0",
                "a pulse has samples that do not follow each other in time; mend the sequence, or "
                "get the file again",
            )
            for shape in (1, 2)
        ),
        *(
            (
                line,
                line.replace(number, word),
                f"a.seq has {word!r} in its shapes, which is no amplitude, time or number of "
                "samples; get it again",
            )
            for line, number in (("num_samples 200", "200"), ("197", "197"))
            for word in ("1000000000", "-inf", "many")
        ),
        (
            "2 100000 100 1600 100 0",
            "2 100000 -100 1600 100 0",
            "a block has an event of the kind 'trap' whose rise_time is -0.0001 s; no time is "
            "negative: mend the sequence, or get the file again",
        ),
        (
            "2 100000 100 1600 100 0",
            "2 100000 1e-300 1600 100 0",
            "the sequence holds angles, times or moments that are not finite; mend it, or get its "
            "file again",
        ),
        (
            "2 100 0 1 0 0 0 0",
            "2 50 0 1 0 0 0 0",
            "a block of 0.0005 s has an event that begins before it or ends after it; mend the "
            "sequence, or get the file again",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_times_that_cannot_be(line, changed, message):
    text = text_of("1.4.1")
    assert f"\n{line}\n" in text
    Path("a.seq").write_text(text.replace(f"\n{line}\n", f"\n{changed}\n"))
    check(lambda: convert(read_seq("a.seq")), message)


@pytest.mark.parametrize(("centre", "shown"), [("1e6", "1000"), ("-50", "-0.05")])
@pytest.mark.filterwarnings("ignore")
def test_a_pulse_that_acts_before_or_after_it(centre, shown):
    line = "1 1250 1 2 0 100 100 0 0 0.0 0 e"
    changed = line.replace("100 100", f"{centre} 100")
    Path("a.seq").write_text(text_of("1.5.0").replace(line, changed))
    check(
        lambda: convert(read_seq("a.seq")),
        f"a pulse of 0.2 ms has its centre at {shown} ms; mend the sequence, or get the file again",
    )


LABELLED = "\n[EXTENSIONS]\n1 1 1 0\n\nextension LABELSET 1\n1 99999999999999999999 LIN\n"


@pytest.mark.filterwarnings("ignore")
def test_a_label_that_no_counter_holds():
    Path("a.seq").write_text(text_of("1.5.0", extensions=LABELLED, block=1))
    check(
        lambda: convert(read_seq("a.seq")),
        "a label of the sequence has a value that no counter holds; mend it, or get the file again",
    )


@pytest.mark.parametrize("weights", ["1 0 1", "1 0 a b"])
@pytest.mark.filterwarnings("ignore")
def test_weights_of_channels_that_are_none(weights):
    """Neither PyPulseq nor MRzeroCore's importer reads them."""
    shims = f"\n[EXTENSIONS]\n1 1 1 0\n\nextension RF_SHIMS 1\n1 2 {weights}\n"
    Path("a.seq").write_text(text_of("1.5.0", extensions=shims, block=1))
    with pytest.raises(
        UnsupportedFileError, match=r"cannot read a\.seq, which is of Pulseq 1\.5\.0"
    ):
        simulate("a.seq", one_voxel())


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            "0.1",
            "the sequence has no definition FOV; add seq.set_definition('FOV', [x, y, z]) in m or "
            "give the field of view as fov= (in an experiment file as image.fov)",
        ),
        ("a b", "the sequence's definition FOV is 'a b', but must be its lengths [x, y, z] in m"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_field_of_view_that_is_none(stated, message):
    Path("a.seq").write_text(text_of("1.4.1").replace("FOV 0.1 0.1 0.005", f"FOV {stated}"))
    check(lambda: simulate("a.seq", one_voxel()), message)


def test_a_name_that_is_none_of_a_file():
    check(
        lambda: read_seq("a\0.seq"),
        r"'a\x00.seq' is no name of a file (embedded null byte)",
    )


def test_a_stage_beyond_the_last_iteration(written, root):
    experiment = Experiment(**read_yaml(root / "config/experiments/flair_ti.yaml"))
    setup = sequence_setup(experiment.sequence, experiment.parameters, root)
    check(
        lambda: stage_values(setup, "iteration_7", Path("good.safetensors")),
        "report_iterations asks for iteration 7, but the last one is 2",
    )
    check(
        lambda: stage_values(setup, "optimized", None),
        "stage 'optimized' needs the parameters that an optimization found",
    )
