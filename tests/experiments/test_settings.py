import importlib.util

import jsonschema
import pytest
import yaml

from pulseq_zero.errors import ConfigError, SequenceError
from pulseq_zero.experiments.experiment import make_loss, sequence_setup, stage_values
from pulseq_zero.experiments.section import read, schema
from pulseq_zero.experiments.settings import (
    Config,
    Experiment,
    LossSettings,
    only_sections,
    with_sections,
)
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.optimization.losses import LossContext


@pytest.fixture
def experiment(root):
    return read_yaml(root / "config/experiments/flair_ti.yaml")


def set_up(content, base):
    """Read an experiment and load its sequence function."""
    read_in = read(Experiment, content, "my.yaml")
    return sequence_setup(read_in.sequence, read_in.parameters, base)


def test_the_projects_own_files_are_valid(root):
    for name in ("config", "gallery"):
        read(Config, read_yaml(root / f"config/{name}.yaml"), name)
    for file in (root / "config/experiments").glob("*.yaml"):
        set_up(read_yaml(file), root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(sequnce={}), "unknown key 'sequnce'; the keys are"),
        (lambda e: e.pop("loss"), "'loss' is a required property"),
        (lambda e: e["optimizer"].update(iterations=0), "optimizer.iterations: 0 is less than"),
        (lambda e: e["optimizer"].update(method="sgd"), "optimizer.method: 'sgd' is not one of"),
        (lambda e: e["optimizer"].update(iterations=1.5), "optimizer.iterations: 1.5 is not of"),
        (lambda e: e["parameters"]["TI"].update(start="one"), "parameters.TI.start"),
        (lambda e: e["parameters"]["TI"].update(lr=1), "parameters.TI: unknown key 'lr'"),
        (lambda e: e.update(parameters={}), "parameters: "),
        (lambda e: e["sequence"].update(function="epi_ir"), "sequence.function: "),
        (lambda e: e["sequence"].update(function="a b;rm:f"), "sequence.function: "),
        (lambda e: e.update(figure="pie"), "figure: 'pie' is not one of"),
        (lambda e: e.update(report_iterations=[-1]), "report_iterations.0: -1 is less than"),
        (lambda e: e["scan"].update(count=1), "scan.count: 1 is less than"),
        (lambda e: e.update(image={"matrix": [64]}), "image.matrix: "),
    ],
)
def test_a_wrong_experiment_is_refused_by_name(experiment, change, message):
    change(experiment)
    with pytest.raises(ConfigError, match=r"^my\.yaml: ") as error:
        read(Experiment, experiment, "my.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"results": "../elsewhere"}, "results: "),
        ({"results": "/tmp/elsewhere"}, "results: "),
        ({"experiments": ["../../etc/passwd"]}, "experiments.0: "),
        ({"experiments": []}, "experiments: "),
        ({"simulation": {"accuracy": 0, "tight_accuracy": 1e-5}}, "simulation.accuracy: 0"),
        (
            {"simulation": {"accuracy": 1e-3, "tight_accuracy": 1e-5, "tight_change": 0}},
            "simulation.tight_change: 0",
        ),
        ({"simulations": {}}, "unknown key 'simulations'"),
    ],
)
def test_a_wrong_config_is_refused_by_name(root, change, message):
    with pytest.raises(ConfigError) as error:
        read(Config, {**read_yaml(root / "config/config.yaml"), **change}, "my.yaml")
    assert message in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*missing\.yaml"):
        read_yaml(tmp_path / "missing.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match=r"broken\.yaml is no valid YAML"):
        read_yaml(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match=r"list\.yaml must hold keys and values, not list"):
        read_yaml(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sequence": {"function": "sequences/none.py:f"}}, ConfigError, "no Python file"),
        ({"sequence": {"function": "sequences/tse.py:none"}}, ConfigError, "no function 'none'"),
        ({"sequence": {"function": "not_there:f"}}, ConfigError, "cannot import 'not_there'"),
        ({"parameters": {"TE": {"start": 1.0}}}, SequenceError, "no argument 'TE'; its arguments"),
        ({"parameters": {"TI": {"start": [[1], [1, 2]]}}}, ConfigError, "no numeric start"),
        ({"parameters": {"TI": {"start": 9.0, "upper": 6.0}}}, ConfigError, "outside the bounds"),
    ],
)
def test_an_experiment_that_cannot_be_set_up(root, experiment, change, error, message):
    with pytest.raises(error, match=message):
        set_up({**experiment, **change}, root)


def test_a_parameter_cannot_be_constant_too(root, experiment):
    experiment["sequence"]["arguments"] = {"TI": 2.0}
    with pytest.raises(ConfigError, match="both a parameter and a constant"):
        set_up(experiment, root)


def test_start_values_come_from_the_function_if_not_given(root, tse):
    experiment = read_yaml(root / "config/experiments/tse_sar.yaml")
    setup = set_up(experiment, root)
    assert setup.start["flip_angles"].shape == (5, 17)
    assert stage_values(setup, "start", None) is not None


def test_a_file_that_fails_on_import_is_named(root, tmp_path, experiment):
    (tmp_path / "bad.py").write_text("1 / 0")
    experiment["sequence"]["function"] = "bad.py:f"
    with pytest.raises(ConfigError, match=r"bad\.py fails on import: ZeroDivisionError"):
        set_up(experiment, tmp_path)


def test_an_unknown_loss_setting_is_named(small_brain, experiment):
    import torch

    context = LossContext(small_brain, torch.ones(64, 64, dtype=torch.complex64), {})
    with pytest.raises(ConfigError, match="unexpected keyword argument 'bight'"):
        make_loss(LossSettings(**{**experiment["loss"], "settings": {"bight": "gm"}}), context)


@pytest.mark.parametrize("section", [Config, Experiment])
def test_the_schemas_are_json_schema(section):
    assert schema(section)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema(section))


def test_what_is_not_said_has_the_default_of_its_section():
    config = read(Config, {"experiments": ["a"], "simulation": {"accuracy": 0.01}}, "my.yaml")
    assert config.simulation.accuracies == {"optimization": 0.01, "tight": 1e-4}
    assert config.validation.largest == 32768
    assert schema(Config)["$defs"]["JudgeSettings"]["properties"]["largest"]["default"] == 32768


def test_of_some_sections_no_others_can_be_read(experiment):
    whole = read(Experiment, experiment, "my.yaml")
    part = only_sections(with_sections(whole, ["loss", "parameters", "image"]))
    assert part.loss == whole.loss
    assert part.parameters == whole.parameters
    assert part.image.matrix is None
    with pytest.raises(AttributeError, match="scan"):
        _ = part.scan


def test_the_schemas_for_editors_are_those_of_the_sections(root):
    specification = importlib.util.spec_from_file_location("schemas", root / "workflow/schemas.py")
    schemas = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(schemas)
    for name, section in schemas.SECTIONS.items():
        # As content: versions of pydantic write 0 or 0.0
        written = yaml.safe_load((root / f"workflow/schemas/{name}.schema.yaml").read_text())
        made = yaml.safe_load(schemas.schema_file(section))
        assert written == made, "run workflow/schemas.py"
