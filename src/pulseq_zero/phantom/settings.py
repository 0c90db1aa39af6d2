"""The phantom's config and the definition of its tissues, checked against their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from pulseq_zero.errors import ConfigError, check_mapping
from pulseq_zero.files.paths import is_file
from pulseq_zero.files.yaml import explain, read_yaml


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check the config's phantom section and fill in the defaults that its schema names.

    Raises
    ------
    ConfigError
        If it does not fit the schema.
    """
    check_mapping("phantom", config, ConfigError)
    # Configs made in Python may hold tuples and paths where YAML has lists and text.
    try:
        settings = json.loads(json.dumps({"source": "icbm152", **config}, default=str))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"phantom: holds what YAML has no form for: {error}") from error
    schema = _schema("schema.yaml")
    _validate(settings, schema, "phantom")
    _fill_in(settings, schema["$defs"][settings["source"]], schema["$defs"])
    for key in ("matrix", "fov"):
        if key in settings and not isinstance(settings[key], list):
            settings[key] = [settings[key]] * 2
    smallest, largest = settings.get("lesions", {}).get("radius", (0, 0))
    if smallest > largest:
        raise ConfigError(
            f"phantom.lesions.radius: {smallest:g} is larger than {largest:g}; give the smallest "
            "radius first"
        )
    return settings


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change some settings of a phantom.

    Parameters
    ----------
    config
        The config's phantom section.
    changes
        Settings of it that are replaced, those inside of sections one by one. Changes that name
        another source are a phantom of their own, of which nothing else is taken over.
    """
    if "source" in changes and changes["source"] != config.get("source", "icbm152"):
        return dict(changes)
    return _merged(config, changes)


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, change in changes.items():
        nested = isinstance(change, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], change) if nested else change
    return merged


def read_definition(path: str) -> dict[str, Any]:
    """Read the definition of a modelled head.

    Parameters
    ----------
    path
        A YAML file. A relative path is looked for in the current folder and where the package
        keeps its own definitions.

    Raises
    ------
    ConfigError
        If the file is missing or does not fit its schema, or a value's source is not listed.
    """
    package = Path(__file__).parents[1]
    places = [Path(path), package.parents[1] / path, package / path]
    found = next((place for place in places if is_file(place)), None)
    if found is None:
        raise ConfigError(f"phantom.definition: {path} does not exist; check the path")
    definition = read_yaml(found)
    _validate(definition, _schema("definition.yaml"), str(path))
    for tissue, values in definition["tissues"].items():
        for name, entry in values.items():
            if entry["source"] not in definition["sources"]:
                raise ConfigError(
                    f"{path}: {tissue}.{name} names the source {entry['source']!r}; "
                    "list it under sources"
                )
    return definition


@cache
def _schema(name: str) -> dict[str, Any]:
    return yaml.safe_load(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _fill_in(
    settings: dict[str, Any], schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> None:
    """Fill in the defaults of a section, and of those sections inside of it that are given."""
    for key, entry in schema.get("properties", {}).items():
        if "default" in entry:
            settings.setdefault(key, entry["default"])
        if isinstance(settings.get(key), dict) and "$ref" in entry:
            _fill_in(settings[key], definitions[entry["$ref"].rpartition("/")[2]], definitions)


def _validate(content: Any, schema: dict[str, Any], name: str) -> None:
    """Raise an error that says in one sentence what does not fit the schema."""
    found = explain(content, schema)
    if found is not None:
        key, mend = found
        raise ConfigError(f"{name}{'.' if key else ''}{key}: {mend}")
