"""Config and experiment files that cannot be meant."""

from __future__ import annotations

import pytest

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.layout import check_names
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Config, Experiment
from pulseq_zero.experiments.sweeps import sweep_table
from pulseq_zero.files.yaml import read_yaml
from support.refusal import check

EXPERIMENT = "config/experiments/flair_ti.yaml"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": []}, "experiments: [] should be non-empty"),
        ({"experiments": ["a", "a"]}, "experiments: ['a', 'a'] has non-unique elements"),
        (
            {"experiments": ["a b"]},
            "experiments.0: 'a b' must be letters, digits and underscores, a letter first",
        ),
        (
            {"experiments": ["../x"]},
            "experiments.0: '../x' must be letters, digits and underscores, a letter first",
        ),
        (
            {"experiments": ["a\n"]},
            "experiments.0: 'a\\n' must be letters, digits and underscores, a letter first",
        ),
        ({"experiments": "tse_sar"}, "experiments: 'tse_sar' is not of type 'array'"),
        (
            {"results": "../elsewhere"},
            "results: '../elsewhere' must be the path of a folder below the working "
            "directory, without spaces",
        ),
        (
            {"results": "a; rm -rf b"},
            "results: 'a; rm -rf b' must be the path of a folder below the working directory, "
            "without spaces",
        ),
        (
            {"results": "a\n"},
            "results: 'a\\n' must be the path of a folder below the working directory, "
            "without spaces",
        ),
        (
            {"results": "/tmp"},
            "results: '/tmp' must be the path of a folder below the working directory, "
            "without spaces",
        ),
        (
            {"simulation": {"accuracy": 0, "tight_accuracy": 1e-5}},
            "simulation.accuracy: 0 is less than or equal to the minimum of 0",
        ),
        (
            {"simulation": {"accuracy": "1e-3", "tight_accuracy": 1e-5}},
            "simulation.accuracy: '1e-3' is text to YAML; write 0.001 without quotes, as in 1.0e-3",
        ),
        (
            {"simulation": {"accuracy": float("nan"), "tight_accuracy": 1e-5}},
            "simulation.accuracy: nan is no finite number",
        ),
        (
            {"simulation": {"accuracy": 1e-3, "tight_accuracy": 1e-4, "device": "gpu"}},
            "simulation.device: 'gpu' must be cpu or cuda",
        ),
        (
            {"simulation": {"accuracy": 1e-3, "tight_accuracy": 1e-4, "engine": "bloch"}},
            "simulation.engine: 'bloch' is not one of ['pdg', 'mrzero']",
        ),
        (
            {"limits": {"b1_peak": -1}},
            "limits.b1_peak: -1 is less than or equal to the minimum of 0",
        ),
        (
            {"limits": {"sar": 1}},
            "limits: unknown key 'sar'; the keys are b1_peak, b1_rms, pns_hardware, rf_energy",
        ),
        (
            {"validation": {"largest": 100}},
            "validation.largest: 100 is not one of [64, 128, 256, 512, 1024, 2048, 4096, 8192, "
            "16384, 32768, 65536]",
        ),
        (
            {"fantom": {}},
            "the file: unknown key 'fantom'; the keys are experiments, limits, noise, "
            "other_phantoms, packages, phantom, results, simulation, validation",
        ),
        ({"noise": {"snr": 0}}, "noise.snr: 0 is less than or equal to the minimum of 0"),
        ({"noise": {"count": 1}}, "noise.count: 1 is less than the minimum of 2"),
        (
            {"noise": {"sigma": 1}},
            "noise: unknown key 'sigma'; the keys are count, region, seed, snr",
        ),
        ({"phantom": None}, "phantom: None is not of type 'object'"),
    ],
)
def test_config(root, change, message):
    content = {**read_yaml(root / "config/config.yaml"), **change}
    check(lambda: read(Config, content, "the config"), f"the config: {message}")


def put(section, **values):
    return lambda e: e[section].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda e: e.update(sequnce={}),
            "the file: unknown key 'sequnce'; the keys are baselines, compare, ensemble, figure, "
            "image, loss, modules, optimizer, parameters, phantom, phantoms, reconstruction, "
            "report_iterations, scan, sequence, sequences, sweep, title, validation",
        ),
        (lambda e: e.pop("loss"), "the file: 'loss' is a required property"),
        (lambda e: e.update(parameters={}), "parameters: {} should be non-empty"),
        (
            lambda e: e.update(parameters={"2TI": {}}),
            "parameters: '2TI' must be the name of an argument",
        ),
        (
            lambda e: e["parameters"].update(TI={"start": "one"}),
            "parameters.TI.start: 'one' must be a number or a list of numbers",
        ),
        (
            lambda e: e["parameters"].update(TI={"start": "1e0"}),
            "parameters.TI.start: '1e0' must be a number or a list of numbers",
        ),
        (
            lambda e: e["parameters"].update(TI={"lr": 1}),
            "parameters.TI: unknown key 'lr'; the keys are begin, in_sequence, "
            "learning_rate, lower, start, unit, upper",
        ),
        (
            lambda e: e["parameters"].update(TI={"learning_rate": 0}),
            "parameters.TI.learning_rate: 0 is less than or equal to the minimum of 0",
        ),
        (
            lambda e: e["parameters"].update(TI={"upper": float("inf")}),
            "parameters.TI.upper: inf is no finite number",
        ),
        (
            put("sequence", function="epi_ir"),
            "sequence.function: 'epi_ir' must be file.py:function or package.module:function",
        ),
        (
            put("sequence", function="a b;rm:f"),
            "sequence.function: 'a b;rm:f' must be file.py:function or package.module:function",
        ),
        (put("loss", settings=[]), "loss.settings: [] is not of type 'object'"),
        (put("optimizer", iterations=0), "optimizer.iterations: 0 is less than the minimum of 1"),
        (put("optimizer", iterations=10.0), "optimizer.iterations: 10.0 is not of type 'integer'"),
        (put("optimizer", iterations=True), "optimizer.iterations: True is not of type 'integer'"),
        (
            put("optimizer", method="sgd"),
            "optimizer.method: 'sgd' is not one of ['adam', 'rprop', 'lbfgs']",
        ),
        (
            put("optimizer", on_not_finite="ignore"),
            "optimizer.on_not_finite: 'ignore' is not one of ['stop', 'halve']",
        ),
        (put("optimizer", seed=-1), "optimizer.seed: -1 is less than the minimum of 0"),
        (
            lambda e: e.update(figure="pie"),
            "figure: 'pie' is not one of ['history', 'ernst_angle', 'flip_angle_train', "
            "'flip_angles', 'inversion_time', 'slice_profile']",
        ),
        (
            lambda e: e.update(report_iterations=[-1]),
            "report_iterations.0: -1 is less than the minimum of 0",
        ),
        (lambda e: e.update(image={"matrix": [64]}), "image.matrix: [64] is too short"),
        (
            lambda e: e.update(image={"fov": [0.2, 0]}),
            "image.fov.1: 0 is less than or equal to the minimum of 0",
        ),
        (lambda e: e.update(ensemble=[]), "ensemble: [] should be non-empty"),
        (lambda e: e.update(ensemble=[1]), "ensemble.0: 1 is not of type 'object'"),
        (lambda e: e.update(compare=["a"]), "the file: 'sweep' is a dependency of 'compare'"),
        (put("scan", count=1), "scan.count: 1 is less than the minimum of 2"),
        (put("scan", count=10**9), "scan.count: 1000000000 is greater than the maximum of 100000"),
        (put("scan", last=0.5), "scan: first and last are the same; give a range"),
        (
            lambda e: e.update(sequences=dict.fromkeys("aA", e.pop("sequence"))),
            "the file: sequences: two names differ in capitals alone; change one",
        ),
    ],
)
def test_experiment(root, change, message):
    content = read_yaml(root / EXPERIMENT)
    change(content)
    check(lambda: read(Experiment, content, "my.yaml"), f"my.yaml: {message}")


def test_runs_whose_names_no_file_has():
    with pytest.raises(
        ConfigError, match=r"a run would be called 'start=0\.1x.*, which is too long"
    ):
        sweep_table("own", {"parameters.flip.start": [[0.1] * 80]})
    check(
        lambda: check_names(["a" * 200]),
        f"'{'a' * 37}...{'a' * 38}' has 200 letters, but an experiment's name at most 180; call "
        "its file otherwise",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read my.yaml: [Errno 2] No such file or directory: 'my.yaml'"),
        (
            b"\xff\xfe\x00",
            "cannot read my.yaml: 'utf-8' codec can't decode byte 0xff in position 0: "
            "invalid start byte",
        ),
        (
            b"a: [1",
            'my.yaml is no valid YAML: while parsing a flow sequence in "<unicode '
            "string>\", line 1, column 4: a: [1 ^ expected ',' or ']', but got '<stream "
            'end>\' in "<unicode string>", line 1, column 6: a: [1 ^',
        ),
        (b"- 1", "my.yaml must hold keys and values, not list"),
        (b"", "my.yaml must hold keys and values, not NoneType"),
        (b"1: 2", "my.yaml: the key 1 must be text; put it in quotes"),
        (
            b"a: 1\na: 2",
            "my.yaml is no valid YAML: the key 'a' stands there twice in \"<unicode "
            'string>", line 2, column 1: a: 2 ^',
        ),
        (b"a: 2020-13-45", "my.yaml holds a value that is none: month must be in 1..12"),
        (b"a: &x [*x]", "my.yaml is nested too deeply, or within itself"),
        (
            b"a: !!python/object/apply:os.system ['true']",
            "my.yaml is no valid YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.system' in \"<unicode string>\", line "
            "1, column 4: a: !!python/object/apply:os.system ... ^",
        ),
    ],
)
def test_yaml_files(tmp_path, text, message):
    path = tmp_path / "my.yaml"
    if text is not None:
        path.write_bytes(text)
    check(lambda: read_yaml(path.relative_to(tmp_path)), message)
