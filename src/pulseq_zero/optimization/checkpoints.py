"""The state of an optimization on disk: written whole, read without pickle, refused if foreign."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.errors import OptimizationError, PulseqZeroError
from pulseq_zero.files.sources import is_own, own_files
from pulseq_zero.files.store import load_tensors, save_tensors

if TYPE_CHECKING:
    import MRzeroCore as mr0


# Of what `optimization.run.Run` keeps; a checkpoint of another one is refused.
FORMAT = 3


def fingerprint(settings: Any) -> str:
    """Hash of JSON-like settings: what a checkpoint must share with the run that reads it."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity(function: Callable[..., Any] | None) -> Any:
    """Describe a function, JSON-like: its name, its code, and the values that it holds.

    Its code is that of its file, and of the user's own files that this imports. What a loss maker
    puts into its loss function (weights, a target image) counts as much, as do the globals that a
    function uses and what is in an object that is called; other objects do not count.
    """
    return _content(function, seen=[])


def checksum(data: mr0.SimData) -> str:
    """Hash of a phantom's maps."""
    names = ("PD", "T1", "T2", "T2dash", "D", "B0", "B1", "coil_sens", "voxel_pos")
    return _hash(b"".join(_bytes(getattr(data, name)) for name in names))


def save_checkpoint(path: Path, state: Mapping[str, Any], settings: str) -> None:
    """Write a state made of nested mappings, lists, tensors and plain values.

    Parameters
    ----------
    path
        The file; replaced atomically.
    state
        The state.
    settings
        Fingerprint of the run's settings.
    """
    tensors: dict[str, Tensor] = {}
    structure = _take_apart(state, tensors, "")
    metadata = {"settings": settings, "structure": structure}
    save_tensors(path, tensors, {**metadata, "content": _seal(structure, tensors)})


def load_checkpoint(path: Path, settings: str) -> dict[str, Any]:
    """Read a state that was written under the same settings.

    Raises
    ------
    OptimizationError
        If the file is damaged, or belongs to a run with other settings.
    """
    mend = f"delete {path} to start afresh"
    try:
        tensors, metadata = load_tensors(path)
        structure, written_under = metadata["structure"], metadata["settings"]
        is_whole = metadata["content"] == _seal(structure, tensors)
    except (PulseqZeroError, LookupError, TypeError) as error:
        raise OptimizationError(f"{path} is no checkpoint, or a damaged one; {mend}") from error
    if not is_whole:
        raise OptimizationError(f"{path} is no checkpoint, or a damaged one; {mend}")
    if written_under != settings:
        raise OptimizationError(f"{path} belongs to a run with other settings; {mend}")
    return dict(_put_together(structure, tensors))


def _seal(structure: Any, tensors: Mapping[str, Tensor]) -> str:
    """Tell whether a state is what was written: safetensors has no checksum."""
    content = {name: [str(t.dtype), t.shape, _hash(_bytes(t))] for name, t in tensors.items()}
    return fingerprint([structure, content])


def _bytes(tensor: Tensor) -> bytes:
    content: bytes = tensor.detach().cpu().contiguous().numpy().tobytes()
    return content


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _code(value: Any) -> str:
    """Hash of the file of a function, class or module, and of the user's own that it imports."""
    try:
        file = Path(inspect.getsourcefile(value) or "")
        # A cell of a notebook has no file
        if not file.is_file():
            return _hash(inspect.getsource(value).encode())
        return _hash(b"".join(each.read_bytes() for each in own_files(file)))
    except (OSError, TypeError):
        return ""


def _globals_of(function: Any) -> dict[str, Any]:
    """Globals that a function uses, also in functions inside of it."""
    names: set[str] = set()
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        names.update(code.co_names)
        pending += [each for each in code.co_consts if inspect.iscode(each)]
    return {name: function.__globals__[name] for name in sorted(names & set(function.__globals__))}


def _held_by(value: Any) -> list[Any]:
    """List what counts of a function, a class or an object beside its code."""
    if inspect.isfunction(value):
        # The globals of an installed function come with its package
        is_users = is_own(Path(value.__code__.co_filename))
        held = [_globals_of(value) if is_users else {}, inspect.getclosurevars(value).nonlocals]
        return [*held, value.__defaults__, value.__kwdefaults__]
    if inspect.ismethod(value):
        return [value.__func__, getattr(value.__self__, "__dict__", {})]
    if isinstance(value, torch.nn.Module):
        return [value.state_dict()]
    # What a decorator has made of a function
    for name in ("__wrapped__", "py_func"):
        if hasattr(value, name):
            return [getattr(value, name)]
    return [] if inspect.isclass(value) else [getattr(value, "__dict__", {})]


def _content(value: Any, seen: list[Any]) -> Any:
    """Describe what a function is and holds; ``seen`` ends the chase of functions in a circle."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return _hash(value.tobytes())
    if isinstance(value, Mapping):
        return [[str(key), _content(item, seen)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_content(item, seen) for item in value]
    if value is None or isinstance(value, str | int | float | complex):
        return repr(value)
    if isinstance(value, partial):
        return _content([value.func, value.args, value.keywords], seen)
    if inspect.ismodule(value):
        file = getattr(value, "__file__", None)
        return _code(value) if file is not None and is_own(Path(file)) else ""
    if not callable(value) or any(value is one for one in seen):
        return ""
    seen.append(value)
    named = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
    name = f"{named.__module__}.{named.__qualname__}"
    return [name, _code(named), _content(_held_by(value), seen)]


def _take_apart(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """Move tensors into a flat table and return the JSON-like rest with references to them."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        items = [[key, _take_apart(v, tensors, f"{name}/{key}")] for key, v in value.items()]
        return {"items": items}
    if isinstance(value, list | tuple):
        return {"list": [_take_apart(v, tensors, f"{name}/{i}") for i, v in enumerate(value)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"not_finite": repr(value)}
    return {"value": value}


def _put_together(structure: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    kind, content = next(iter(structure.items()))
    if kind == "tensor":
        # A copy of its own: several tensors of a file may share one buffer
        return torch.clone(tensors[content])
    if kind == "items":
        return {key: _put_together(value, tensors) for key, value in content}
    if kind == "list":
        return [_put_together(value, tensors) for value in content]
    if kind == "not_finite":
        return float(content)
    return content
