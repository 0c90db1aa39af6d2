"""Config and experiment files: read, validated as a whole, explained in one sentence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pulseq_zero.errors import ConfigError

Config = dict[str, Any]

# What neither integers of 64 bits nor floats with all digits hold is a slip of the pen
_LARGEST = 2**63

# A config has fewer values, and is less deep
_MOST, _DEEPEST = 10**6, 100

# Of longer lists, a schema sees so many values
_LONG = 1000

# Of longer values, a message shows so many letters
_SHOWN = 200


class _Loader(yaml.SafeLoader):
    """YAML without what is never meant: a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if isinstance(key, str) and key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} stands there twice", problem_mark=key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else None)
        return super().construct_mapping(node, deep)


def _is_integer(checker: jsonschema.TypeChecker | None, value: Any) -> bool:
    # JSON has 4.0 for an integer, Python's range has not
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_number(checker: jsonschema.TypeChecker | None, value: Any) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


def read_yaml(path: Path) -> Config:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    ConfigError
        If it is missing, no YAML, no mapping, or has a key twice or one that is no text.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        _check_values(content, path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    except ConfigError:
        raise
    # Dates that do not exist, numbers of thousands of digits
    except ValueError as error:
        raise ConfigError(f"{path} holds a value that is none: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply, or within itself") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, not {type(content).__name__}")
    return content


def validate(content: Any, schema: Mapping[str, Any], name: str) -> None:
    """Check a config against a JSON schema.

    Parameters
    ----------
    content
        The config.
    schema
        The schema.
    name
        What to call the config in the message.

    Raises
    ------
    ConfigError
        Names the first key that is wrong and says what it must be.
    """
    found = explain(content, schema)
    if found is not None:
        key, mend = found
        raise ConfigError(f"{name}: {key or 'the file'}: {mend}")


def explain(content: Any, schema: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the key of a config that fits a schema least, and what it must be."""
    error = jsonschema.exceptions.best_match(Validator(schema).iter_errors(_shortened(content)))
    return None if error is None else (".".join(map(str, error.absolute_path)), _mend(error))


def _check_values(content: Any, path: Path) -> None:
    """Refuse keys and values that no config has; those that aliases repeat count each time."""
    count = 0
    pending = [(content, 0)]
    while pending:
        here, depth = pending.pop()
        count += 1
        if count > _MOST or depth > _DEEPEST:
            raise ConfigError(
                f"{path} is nested too deeply, or within itself"
                if depth > _DEEPEST
                else f"{path} holds more than {_MOST} values, which no experiment needs"
            )
        if isinstance(here, Mapping):
            for key in here:
                if not isinstance(key, str):
                    raise ConfigError(f"{path}: the key {key} must be text; put it in quotes")
        elif here is not None and not isinstance(here, str | int | float | list):
            raise ConfigError(
                f"{path}: {here} is a {type(here).__name__} to YAML; put it in quotes"
            )
        if isinstance(here, Mapping | list):
            inner = here.values() if isinstance(here, Mapping) else here
            pending += [(value, depth + 1) for value in inner]


def _shortened(content: Any) -> Any:
    """Leave out most of long lists, at each of whose values a schema would look for a ms.

    Long are lists of numbers, so that the first value that is none stays.
    """
    if isinstance(content, Mapping):
        return {key: _shortened(value) for key, value in content.items()}
    if isinstance(content, list):
        if len(content) > _LONG:
            wrong = (value for value in content[_LONG:] if not _is_number(None, value))
            content = [*content[:_LONG], *itertools.islice(wrong, 1)]
        return [_shortened(value) for value in content]
    return content


def _mend(error: jsonschema.ValidationError) -> str:
    value = error.instance
    if error.validator == "additionalProperties" and isinstance(value, Mapping):
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(map(str, value)) - set(known))
        return f"unknown key {unknown[0]!r}; the keys are {', '.join(known)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no finite number"
    if error.validator == "type" and isinstance(value, str) and _looks_like_a_number(value):
        return f"{value!r} is text to YAML; write {float(value)!r} without quotes, as in 1.0e-3"
    if error.validator in ("pattern", "anyOf", "oneOf") and "description" in error.schema:
        return f"{_short(repr(value))} must be {error.schema['description']}"
    return str(error.message).replace(repr(value), _short(repr(value)))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _looks_like_a_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
