"""Write the conda environments with the pins of the lock file.

Usage: python workflow/environment.py, from the project's root, after `make lock`.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = (
    "# Written by `make lock`: the project's direct dependencies, pinned as in requirements.lock.\n"
)


def environment(root: Path = ROOT) -> str:
    """Compose environment.yml from pyproject.toml and requirements.lock."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (root / "requirements.lock").read_text().splitlines():
        if "==" in line:
            pins[normalized(line.partition("==")[0])] = line
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["pipeline"], *extras["cluster"]]
    names = sorted({normalized(re.split(r"[\[<>=]", requirement)[0]) for requirement in asked})
    lines = ["name: pulseq-zero", "channels:", "  - conda-forge", "dependencies:"]
    lines += ["  - python=3.11", "  - pip", "  - pip:"]
    lines += [f"      - {pins[name]}" for name in names]
    return HEADER + "\n".join(lines) + "\n"


def normalized(name: str) -> str:
    """Spell a package's name as the package index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    for target in ("environment.yml", "workflow/envs/pulseq_zero.yaml"):
        (ROOT / target).write_text(environment())
