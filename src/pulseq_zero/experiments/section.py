"""What sections of config and experiment files are made of: values, schemas, how they are read."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from typing_extensions import TypeAliasType

from pulseq_zero.errors import ConfigError

# A $ alone would let a line break pass
END = r"$(?!\n)"
NAME = rf"^[A-Za-z_][A-Za-z0-9_]*{END}"

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Function = Annotated[
    str,
    Field(
        pattern=rf"^[A-Za-z0-9_./-]+:[A-Za-z_][A-Za-z0-9_]*{END}",
        description="file.py:function or package.module:function",
    ),
]
Numbers = TypeAliasType(
    "Numbers",
    Annotated[
        "float | Annotated[list[Numbers], Field(min_length=1)]",
        Field(description="a number or a list of numbers"),
    ],
)
Unique = {"uniqueItems": True}


class Section(BaseModel):
    """Part of a config: no other keys than these, and never changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, regex_engine="python-re"
    )


class _Schema(GenerateJsonSchema):
    """A schema as a person writes it: what may be left out cannot be null, and has no title."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().default_schema(schema)
        return {key: value for key, value in made.items() if key != "default" or value is not None}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


S = TypeVar("S", bound=Section)


@cache
def schema(section: type[Section]) -> dict[str, Any]:
    """JSON schema of a section."""
    made = section.model_json_schema(schema_generator=_Schema)
    return {"$schema": GenerateJsonSchema.schema_dialect, **made}


def read(section: type[S], content: Any, name: str) -> S:
    """Read a section, such as a whole config.

    Parameters
    ----------
    section
        What it must be.
    content
        What was given, as YAML has it.
    name
        What to call it in the message.

    Raises
    ------
    ConfigError
        Names the first key that is wrong and says what it must be.
    """
    # Steps need the sections alone, and not what checks files
    from pulseq_zero.files.yaml import validate

    validate(content, schema(section), name)
    try:
        return section.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{name}: {where or 'the file'}: {said}") from error
