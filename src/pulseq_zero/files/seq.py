"""Read ``.seq`` files, and refuse those that are cut or damaged."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pypulseq

from pulseq_zero.errors import SequenceError

_SIGNATURE = re.compile(r"\n\[SIGNATURE\]\n(?:#.*\n)*Type md5\nHash ([0-9a-f]{32})\s*$")


def read_seq(path: Path | str, *, system: pypulseq.Opts | None = None) -> pypulseq.Sequence:
    """Read a ``.seq`` file whose signature shows that it is whole.

    A file without its last lines, or with other numbers, may well be readable: as another
    sequence. The signature at its end, the MD5 sum of all before, tells.

    Parameters
    ----------
    path
        The file.
    system
        What it was made for: its field strength and nucleus, where the file does not state them.

    Raises
    ------
    SequenceError
        If the file is missing, cut, altered, or not understood by this version of PyPulseq.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise SequenceError(
            f"{path} cannot be read ({error.strerror}); check the path or export the sequence first"
        ) from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"{path} is no .seq file: it holds no text; export it again") from error
    text = text.replace("\r\n", "\n")
    signature = _SIGNATURE.search(text)
    if signature is None:
        raise SequenceError(
            f"{path} is no .seq file, is cut, or was written without a signature; write it again"
        )
    content = text[: signature.start()]
    if hashlib.md5(content.encode(), usedforsecurity=False).hexdigest() != signature[1]:
        raise SequenceError(
            f"{path} was altered after it was written: its signature does not fit; write it again"
        )
    sequence = pypulseq.Sequence(system=system)
    try:
        sequence.read(str(path))
        for block in sequence.block_events:
            sequence.get_block(block)
    except Exception as error:
        raise SequenceError(
            f"PyPulseq {pypulseq.__version__} cannot read {path} "
            f"({type(error).__name__}: {' '.join(str(error).split())}); write it again with this "
            "version"
        ) from error
    return sequence
