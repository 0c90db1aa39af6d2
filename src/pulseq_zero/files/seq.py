"""Read ``.seq`` files of any origin, and say which of them are cut, damaged or beyond PyPulseq."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, SimpleNamespace

import numpy as np
import pypulseq
from numpy.typing import NDArray
from pypulseq.decompress_shape import decompress_shape
from pypulseq.Sequence import read_seq as reading

from pulseq_zero.errors import SequenceError, UnsupportedFileError, is_number, shown

_RASTERS = (
    "AdcRasterTime", "BlockDurationRaster", "GradientRasterTime", "RadiofrequencyRasterTime"
)  # fmt: skip
# Of a shape or a readout: ten seconds of a pulse, and a hundred of a gradient
_MOST_SAMPLES = 10**7
_VERSION = re.compile(r"^\[VERSION\]\s+major\s+(\d+)\s+minor\s+(\d+)\s+revision\s+(\S+)", re.M)
# What PyPulseq reads, and what changes pulses or gradients, so that it cannot be passed over
_READ = {"DELAYS", "LABELINC", "LABELSET", "TRIGGERS"}
_PHYSICAL = {"RF_SHIMS", "ROTATIONS"}
# What pulses are for: excitation, refocusing, inversion, saturation, preparation, other, undefined
_USES = {*"erispou"}
# No field of view is as long [m]; some programs write it in mm
_TOO_LONG = 10.0
# The newline before its section belongs to the signature
_SIGNATURE = re.compile(r"\n\[SIGNATURE\]\n")
_HASH = re.compile(r"^Type md5\s+Hash ([0-9a-fA-F]{32})\s*$", re.M)


def read_seq(
    path: Path | str, *, system: pypulseq.Opts | None = None, check_signature: bool = False
) -> pypulseq.Sequence:
    """Read a ``.seq`` file.

    A file without its last lines, or with other numbers, may well be readable: as another
    sequence. The signature at its end, the MD5 sum of all before, tells. Files of the versions 1.2
    and 1.3 have none.

    Parameters
    ----------
    path
        The file.
    system
        What it was made for: its field strength, nucleus and raster times, where the file does not
        state them.
    check_signature
        Whether to refuse a file that no signature shows to be whole. Otherwise, that is warned of.

    Raises
    ------
    SequenceError
        If the file is missing or no ``.seq`` file, or if it is cut or altered, and that is refused.
    UnsupportedFileError
        If this version of PyPulseq does not understand it.
    """
    path = Path(path)
    text = _text(path)
    version = _VERSION.search(text)
    doubt = None if version is None else _doubt(text)
    if version is None or "\n[BLOCKS]" not in text:
        missing = "[VERSION]" if version is None else "[BLOCKS]"
        old = ", or older than Pulseq 1.2" if version is None and "\n[BLOCKS]" in text else ""
        raise SequenceError(
            f"{path} is no .seq file, or is cut{old}: it has no section {missing}; check which "
            "file it is, or get it again"
        )
    if doubt is not None and check_signature:
        raise SequenceError(f"{path} {doubt}; write it again")
    number = ".".join(version.groups())
    if not isinstance(system, pypulseq.Opts | None):
        raise SequenceError(f"system is {shown(system)}, but must be a pypulseq.Opts")
    sequence = pypulseq.Sequence(system=system)
    lines, passed_over = _without_unknown_extensions(_tidy(text, path))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tidy = Path(folder) / "tidy.seq"
        tidy.write_text("\n".join(lines), encoding="utf-8")
        try:
            _read(sequence, str(tidy), detect_rf_use=False)
            packed = sequence.shape_library.data
            sequence.shape_library.data = _Unpacked(packed)
            for block in sequence.block_events:
                sequence.get_block(block)
            sequence.shape_library.data = packed
        except KeyError as error:
            traceback.clear_frames(error.__traceback__)
            raise SequenceError(
                f"{path} refers to an event or a shape {error.args[0]} that it lacks, so that it "
                "is cut or damaged; get it again"
            ) from error
        except Exception as error:
            # PyPulseq leaves the file open, which would be told when its frames are let go
            traceback.clear_frames(error.__traceback__)
            raise UnsupportedFileError(
                f"PyPulseq {pypulseq.__version__} cannot read {path}, which is of Pulseq {number} "
                f"({type(error).__name__}: {' '.join(str(error).split())}); write it again with "
                "this version, or for version 1.4, if it is yours; pulseq_zero.simulate takes "
                "MRzeroCore's importer where that reads it"
            ) from error
    if not sequence.block_events:
        raise SequenceError(f"{path} holds no blocks, so that it is cut or empty; get it again")
    _check_rasters(sequence, path)
    _check_readouts(sequence, path)
    doubts = [] if doubt is None else [doubt]
    if any("RasterTime found" in str(warning.message) for warning in caught):
        doubts.append(
            f"is of Pulseq {number}, which does not state raster times: those of its system count, "
            f"{1e6 * sequence.grad_raster_time:g} us for gradients and "
            f"{1e6 * sequence.rf_raster_time:g} us for pulses"
        )
    if passed_over:
        doubts.append(
            f"has extensions that are not known and passed over: {', '.join(passed_over)}"
        )
    if unknown := set(sequence.rf_library.type.values()) - _USES:
        doubts.append(
            f"has pulses whose use is not known and taken for none: {', '.join(sorted(unknown))}"
        )
    if _mend_fov(sequence):
        doubts.append("states a field of view that is taken for mm, as none has as many m")
    if doubts:
        warnings.warn(f"{path} {', and '.join(doubts)}", stacklevel=2)
    return sequence


def _read(sequence: pypulseq.Sequence, path: str, **how: bool) -> None:
    """Read as PyPulseq does, also shapes of before 1.4 with as many numbers as samples.

    These it hands to a function for arrays as a list.
    """

    def decompressed(shape: SimpleNamespace, **how: bool) -> NDArray[np.float64]:
        data = np.asarray(shape.data)
        return decompress_shape(SimpleNamespace(num_samples=shape.num_samples, data=data), **how)

    names = vars(reading) | {"decompress_shape": decompressed}
    for name in ("__read_shapes", "read"):
        function = names[name]
        names[name] = FunctionType(function.__code__, names, name, function.__defaults__)
    names["read"](sequence, path, **how)


def _mend_fov(sequence: pypulseq.Sequence) -> bool:
    """Take a field of view in mm, which is no unit of Pulseq, for what it is; say whether it is."""
    fov = np.ravel(sequence.definitions.get("FOV", []))
    if not all(map(is_number, fov)) or not any(length > _TOO_LONG for length in fov):
        return False
    sequence.set_definition("FOV", [length / 1000 for length in fov])
    return True


def _check_rasters(sequence: pypulseq.Sequence, path: Path) -> None:
    """Refuse raster times that are none, of which PyPulseq makes times as well."""
    for name in _RASTERS:
        time = sequence.definitions.get(name, 1.0)
        if not is_number(time) or time <= 0:
            raise SequenceError(
                f"{path} states {time} as its {name}, which is no time; get it again"
            )


def _check_readouts(sequence: pypulseq.Sequence, path: Path) -> None:
    """Refuse numbers of samples that no readout has: they would take all memory."""
    for event in sequence.adc_library.data.values():
        if not abs(event[0]) <= _MOST_SAMPLES:
            raise SequenceError(
                f"{path} has a readout of {event[0]:g} samples, which is no number of samples; "
                "get it again"
            )


def read_lines(path: Path | str) -> list[str]:
    """Read the lines of a ``.seq`` file, without comments, a blank one before each section.

    Raises
    ------
    SequenceError
        If the file is missing or damaged.
    """
    return _tidy(_text(Path(path)), Path(path))


def read_definitions(path: Path | str) -> dict[str, list[str]]:
    """Read the words of each definition of a ``.seq`` file, also of one beyond PyPulseq.

    Raises
    ------
    SequenceError
        If the file is missing or damaged.
    """
    lines = iter(read_lines(path))
    stated = itertools.takewhile(bool, itertools.dropwhile("[DEFINITIONS]".__ne__, lines))
    return {name: words for name, *words in map(str.split, stated)}


class _Unpacked(dict[int, NDArray[np.float64]]):
    """The shapes of a library without compression, each unpacked when it is first asked for.

    PyPulseq unpacks a shape for each event that has it, which is most of what long pulses take; one
    that has as many numbers as samples it takes as it is.
    """

    def __init__(self, packed: Mapping[int, NDArray[np.float64]]) -> None:
        super().__init__()
        self._packed = packed

    def __missing__(self, number: int) -> NDArray[np.float64]:
        count, data = self._packed[number][0], self._packed[number][1:]
        samples = decompress_shape(SimpleNamespace(num_samples=count, data=data))
        self[number] = np.concatenate([[count], samples])
        return self[number]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise SequenceError(
            f"{path} cannot be read ({error.strerror}); check the path or export the sequence first"
        ) from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"{path} is no .seq file: it holds no text; export it again") from error
    except ValueError as error:
        raise SequenceError(f"{shown(str(path))} is no name of a file ({error})") from error


def _doubt(text: str) -> str | None:
    """Say why a file may not be what was written, None if its signature shows that it is."""
    signature = _SIGNATURE.search(text)
    if signature is None:
        return "has no signature, so that it may be cut or altered"
    stated = _HASH.search(text, signature.start())
    if stated is None:
        return "has a signature that is not of MD5, so that it may be cut or altered"
    content = text[: signature.start()]
    # JEMRIS counts the newline before the section, and Windows has another one
    known = (content, f"{content}\n")
    for written in (*known, *(each.replace("\n", "\r\n") for each in known)):
        if hashlib.md5(written.encode(), usedforsecurity=False).hexdigest() == stated[1].lower():
            return None
    return "was altered after it was written: its signature does not fit"


def _tidy(text: str, path: Path) -> list[str]:
    """Leave out what PyPulseq stumbles over: comments within sections, and ends without a line.

    It takes a blank line for the end of a section, and waits for it forever.
    """
    lines: list[str] = []
    is_free_text = False
    for line in text.split("\n"):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("[") or words[0] in ("extension", "shape_id"):
            lines.append("")
            is_free_text = words[0] == "[DEFINITIONS]"
        if not is_free_text:
            words = list(itertools.takewhile(lambda word: not word.startswith("#"), words))
        lines.append(" ".join(words))
    _refuse_shapes(lines, path)
    _refuse_circles(lines, path)
    return [*lines, "", ""]


def _without_unknown_extensions(lines: list[str]) -> tuple[list[str], list[str]]:
    """Leave out extensions that are not known and not required; name them."""
    sections = [(section[0].split(), section[1:]) for section in _sections(lines)]
    required = {
        name
        for line in lines
        if line.startswith("RequiredExtensions ")
        for name in line.replace(",", " ").split()[1:]
    }
    unknown = {
        words[2]: words[1]
        for words, _ in sections
        if words[0] == "extension" and len(words) == 3
        if words[1] not in _READ | _PHYSICAL | required
    }
    if not unknown:
        return lines, []
    rows = {words[0]: rows for words, rows in sections}.get("[EXTENSIONS]", [])
    lists = {words[0]: words for words in map(str.split, rows) if len(words) == 4}

    def known(number: str) -> str:
        """Go on in a list to what is known."""
        while number in lists and lists[number][1] in unknown:
            number = lists[number][3]
        return number

    kept: list[str] = []
    for words, rows in sections:
        if words[0] == "extension" and words[1] in unknown.values():
            continue
        if words[0] == "[EXTENSIONS]":
            left = (each for each in lists.values() if each[1] not in unknown)
            rows = [" ".join([*each[:3], known(each[3])]) for each in left]
        elif words[0] == "[BLOCKS]":
            rows = [" ".join([*each[:7], *map(known, each[7:])]) for each in map(str.split, rows)]
        kept += ["", " ".join(words), *rows]
    return [*kept, "", ""], sorted(unknown.values())


def _sections(lines: list[str]) -> Iterator[list[str]]:
    """Go through the sections of a tidy file, each with its head."""
    for is_text, section in itertools.groupby(lines, bool):
        if is_text:
            yield list(section)


def _refuse_shapes(lines: list[str], path: Path) -> None:
    """Refuse numbers of shapes that nothing has: as counts they would take all memory."""
    if "[SHAPES]" not in lines:
        return
    for line in lines[lines.index("[SHAPES]") + 1 :]:
        if line.startswith("["):
            break
        word = line.rpartition(" ")[2]
        try:
            number = float(word or 0)
        except ValueError:
            number = math.nan
        if not abs(number) <= _MOST_SAMPLES:
            raise SequenceError(
                f"{path} has {shown(word)} in its shapes, which is no amplitude, time or number of "
                "samples; get it again"
            )


def _refuse_circles(lines: list[str], path: Path) -> None:
    """Refuse lists of extensions that lead back to themselves, which PyPulseq follows forever."""
    if "[EXTENSIONS]" not in lines:
        return
    following = {}
    for line in lines[lines.index("[EXTENSIONS]") + 1 :]:
        words = line.split()
        if len(words) != 4:
            break
        following[words[0]] = words[3]
    for number in following:
        seen = set()
        while number in following:
            if number in seen:
                raise SequenceError(
                    f"{path} is damaged: its list of extensions {number} never ends; get it again"
                )
            seen.add(number)
            number = following[number]
