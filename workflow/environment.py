"""Write the conda environments with the pins of the lock file.

Usage: python workflow/environment.py, from the project's root, after `make lock`.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = (
    "# Written by `make lock`: the project's direct dependencies, pinned as in the lock files.\n"
)


def environment(root: Path = ROOT) -> str:
    """Compose a conda environment from pyproject.toml and the lock files."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pins = pinned(root / "requirements.lock") | pinned(root / "requirements-torch.lock")
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["brain"], *extras["pipeline"], *extras["cluster"]]
    lines = ["name: pulseq-zero", "channels:", "  - conda-forge", "dependencies:"]
    lines += ["  - python=3.11", "  - pip", "  - pip:"]
    parts = {re.match(r"([^\[<>=]+)(\[.*\])?", requirement).groups("") for requirement in asked}
    for name, extra in sorted((normalized(name), extra) for name, extra in parts):
        if name != project["name"]:
            lines.append(f"      - {name}{extra}=={pins[name]}")
    return HEADER + "\n".join(lines) + "\n"


def pinned(lock: Path) -> dict[str, str]:
    """Read the versions of a lock file, by the packages' names."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE)
    return {normalized(name): version for name, version in pins}


def with_project(environment: str) -> str:
    """Add the project itself, as it lies there; in the pipeline's, Snakemake does that."""
    return environment + "      - --editable .\n"


def normalized(name: str) -> str:
    """Spell a package's name as the package index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    pipeline = environment()
    (ROOT / "workflow/envs/pulseq_zero.yaml").write_text(pipeline)
    (ROOT / "environment.yml").write_text(with_project(pipeline))
