import jsonschema
import pytest

from pulseq_zero.errors import ConfigError
from pulseq_zero.phantom import build_phantom
from pulseq_zero.phantom.settings import _schema, read_config


def test_defaults_are_filled_in():
    settings = read_config({})
    assert settings["source"] == "icbm152"
    assert settings["matrix"] == [96, 96]
    assert settings["fov"] == [0.224, 0.224]
    assert settings["scalp"] is True


def test_the_config_itself_is_left_alone():
    config = {"source": "icbm152", "matrix": 64}
    read_config(config)
    assert config == {"source": "icbm152", "matrix": 64}


@pytest.mark.parametrize("name", ["schema.yaml", "definition.yaml"])
def test_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(_schema(name))


def test_every_source_is_described():
    schema = _schema("schema.yaml")
    for source in schema["properties"]["source"]["enum"]:
        assert schema["$defs"][source]["additionalProperties"] is False
        assert "source" in schema["$defs"][source]["properties"]


def test_every_default_is_allowed():
    for source in _schema("schema.yaml")["properties"]["source"]["enum"]:
        needed = {"file": "f", "folder": "f", "fov": 0.2, "maps": {"PD": "f", "T1": 1, "T2": 1}}
        known = _schema("schema.yaml")["$defs"][source]["properties"]
        config = {key: value for key, value in needed.items() if key in known}
        once = read_config({"source": source, **config})
        assert read_config(once) == once


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"slicee": 3}, r"phantom: unknown key 'slicee'; the keys are B0_scale, B1_scale"),
        ({"source": "brain"}, r"phantom\.source: 'brain' is not one of \['icbm152'"),
        ({"source": "icbm152", "file": "a"}, "phantom: unknown key 'file'"),
        ({"matrix": 8}, r"phantom\.matrix"),
        ({"matrix": [96, 96, 96]}, r"phantom\.matrix"),
        ({"matrix": 96.5}, r"phantom\.matrix"),
        ({"fov": 0}, r"phantom\.fov"),
        ({"fov": "large"}, r"phantom\.fov"),
        ({"slice_thickness": -1}, r"phantom\.slice_thickness: -1 is less than or equal"),
        ({"source": "npz"}, "phantom: 'file' is a required property"),
        ({"source": "mat", "file": "a"}, "phantom: 'fov' is a required property"),
        ({"source": "npz", "file": "a", "slice": -1}, r"phantom\.slice: -1 is less than"),
        ({"source": "nifti", "maps": {"PD": "a", "T1": 1}}, r"phantom\.maps: 'T2' is a required"),
        (
            {"source": "nifti", "maps": {"PD": "a", "T1": 1, "T2": 1, "T3": 1}},
            r"phantom\.maps: unknown key 'T3'; the keys are B0, B1, D, PD, T1, T2, T2dash",
        ),
        ({"source": "brainweb", "folder": "a", "subject": 1}, r"phantom\.subject: 1 is not one of"),
    ],
)
def test_bad_config_is_named_in_one_sentence(config, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_phantom(config)
    assert "\n" not in str(error.value)
