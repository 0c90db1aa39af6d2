"""Write a lock file: pins, each with the hashes of the files that it may be installed from.

These are all that the package index has of that version, for any machine, and what pip takes
on this one, which may have a build of its own: torch without CUDA.

Usage: python workflow/lock.py PINS LOCK COMMENT, as `make lock` does, with uv beside that Python.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

UV = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--no-deps"]
UV += ["--no-header", "--no-annotate", "--generate-hashes"]
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
PIP += ["--no-deps", "--report", "-"]
# Builds of it lie elsewhere than in the package index, too
BUILT_ELSEWHERE = "torch"


def locked(pins: Path) -> str:
    """Add hashes to pins."""
    text = _said([*UV, str(pins)])
    own = re.search(rf"^{BUILT_ELSEWHERE}==\S+", text, re.M)
    if own is None:
        return text
    found = json.loads(_said([*PIP, own[0]]))["install"][0]["download_info"]["archive_info"]
    return with_hash(text, own[0], found["hashes"]["sha256"])


def with_hash(text: str, pin: str, sha256: str) -> str:
    """Let a pin be installed from one more file."""
    line = f"--hash=sha256:{sha256}"
    return text if line in text else text.replace(f"{pin} \\\n", f"{pin} \\\n    {line} \\\n")


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    source, target, comment = sys.argv[1:]
    Path(target).write_text(f"# {comment}\n{locked(Path(source))}")
