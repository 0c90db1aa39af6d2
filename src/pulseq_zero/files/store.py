"""Results on disk: tensors, JSON and tables, each written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from pulseq_zero.errors import StoreError, shown

if TYPE_CHECKING:
    import pandas as pd

# safetensors writes the entries of its header in no fixed order; one entry keeps files of
# equal content equal byte by byte.
_HEADER = "pulseq_zero"

# What a process was writing: its number comes first
_TEMPORARY = re.compile(r"\.(\d{1,9})-[0-9a-f]{8}-.+")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Write a file so that it is there either complete or not at all.

    Parameters
    ----------
    path
        The file to write. Its folder is made if it is missing.

    Yields
    ------
    Path
        A temporary name in the same folder, with the same suffixes. What is written there
        replaces ``path`` when the block ends without an error, and is removed otherwise.

    Raises
    ------
    StoreError
        If the file cannot be written, or the block wrote nothing.
    """
    path = Path(path)
    if "\0" in str(path):
        raise StoreError(f"{shown(str(path))} is no name of a file; choose another one")
    temporary = path.with_name(f".{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({_reason(error)}); check the folder, its permissions and "
            "the space left"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path | str) -> None:
    """Remove what killed processes were writing by `atomic_path`, in a folder and below it."""
    for file in Path(folder).rglob(".*"):
        name = _TEMPORARY.fullmatch(file.name)
        if name and not _lives(int(name[1])):
            with suppress(OSError):
                file.unlink()


def _lives(process: int) -> bool:
    if os.name == "nt":
        # There, asking is a signal that ends
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def save_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Save named tensors with metadata as safetensors.

    Parameters
    ----------
    path
        The file to write.
    tensors
        Tensors of any shape and any real or complex type. The format has no complex128, so
        complex tensors are stored with a last axis (real, imaginary) and come back complex.
    metadata
        Anything that JSON can hold.
    """
    stored = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    complex_names = sorted(name for name, tensor in stored.items() if tensor.is_complex())
    for name in complex_names:
        stored[name] = torch.view_as_real(stored[name].resolve_conj())
    header = _to_json(path, {"metadata": metadata or {}, "complex": complex_names})
    content = safetensors.torch.save(
        {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in stored.items()
        },
        {_HEADER: header},
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load what `save_tensors` saved.

    Returns
    -------
    tensors, metadata
        The tensors by name, bit by bit as they were, and the metadata.
    """
    with _reading(path, "a safetensors file written by this package"):
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        for name in header["complex"]:
            tensors[name] = torch.view_as_complex(tensors[name])
        return _OfFile(path, tensors), _OfFile(path, header["metadata"])


class _OfFile(dict[str, Any]):
    """What a file holds: what it does not hold is asked for in vain."""

    def __init__(self, path: Path | str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise StoreError(f"{self._path} holds no {name!r}: it is of something else; make it again")


def save_json(path: Path | str, content: Any) -> None:
    """Save nested mappings, sequences, numbers, arrays and tensors as JSON."""
    text = _to_json(path, content, indent=2)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load_json(path: Path | str) -> Any:
    """Load a JSON file."""
    with _reading(path, "a JSON file"):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def save_table(path: Path | str, table: pd.DataFrame) -> None:
    """Save a table without its index, as CSV or as Parquet by the suffix of the path."""
    parquet = _is_parquet(path)
    with atomic_path(path) as temporary:
        if parquet:
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False)


def load_table(path: Path | str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Load a table that `save_table` saved; its floats come back bit by bit.

    Parameters
    ----------
    path
        The file.
    columns
        What it must have among others, of numbers.

    Raises
    ------
    StoreError
        If the file is missing, no table, or one of something else.
    """
    # Few of those that store something load tables, and pandas is slow to import
    import pandas as pd

    parquet = _is_parquet(path)
    with _reading(path, "a table"):
        table = pd.read_parquet(path) if parquet else pd.read_csv(path)
    for column in columns:
        if column not in table:
            raise StoreError(f"{path} has no column {column!r}: it is of something else")
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise StoreError(f"{path} has no numbers in the column {column!r}; make it again")
    return table


@contextmanager
def _reading(path: Path | str, expected: str) -> Iterator[None]:
    """Turn whatever goes wrong while reading into a sentence that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; check the path or make the file first") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({_reason(error)})") from error
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise StoreError(
            f"{path} is not {expected} or is damaged ({_reason(error)}); make it again"
        ) from error


def _is_parquet(path: Path | str) -> bool:
    suffix = Path(path).suffix
    if suffix == ".csv":
        return False
    if suffix != ".parquet":
        raise StoreError(f"{path} has no known table format; name it .csv or .parquet")
    if find_spec("pyarrow") is None:
        raise StoreError(f"{path} needs pyarrow; install it or name the table .csv")
    return True


def _to_json(path: Path | str, content: Any, indent: int | None = None) -> str:
    try:
        return json.dumps(
            content, indent=indent, default=_plain, allow_nan=False, ensure_ascii=False
        )
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be written ({error}); JSON holds text and finite numbers only"
        ) from error


def _plain(value: Any) -> Any:
    """Return the plain Python counterpart of a value that the json module does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _reason(error: Exception) -> str:
    """Return what an error says, on one line and without the path that is named anyway."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
