"""A copy of the project with a config of its own, for tests that run the pipeline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


class Pipeline:
    """A copy of the project with a small config."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        for name in ("workflow", "sequences", "losses", "phantoms", "src", "config"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / name, folder / name, ignore=ignored)
        shutil.copy(root / "Snakefile", folder)
        (folder / "profiles").symlink_to("workflow/profiles")

    def read(self, file: str) -> dict:
        return yaml.safe_load((self.folder / file).read_text())

    def write(self, file: str, content: dict) -> None:
        (self.folder / file).write_text(yaml.safe_dump(content))

    def edit(self, file: str, **changes: dict) -> None:
        content = self.read(file)
        for section, change in changes.items():
            content[section] = {**content[section], **change}
        self.write(file, content)

    def start(
        self, *arguments: str, environment: Mapping[str, str] = os.environ, **options: Any
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            # The copy's own library, which a test may edit
            env={**environment, "PYTHONPATH": str(self.folder / "src")},
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        process = self.start("--cores", "2", *arguments)
        try:
            output, errors = process.communicate(timeout=900)
        finally:
            process.kill()
        if check:
            assert process.returncode == 0, output[-3000:] + errors[-3000:]
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def planned(self) -> dict[str, set[str]]:
        """Rules that would run, each with the experiments that it would run for."""
        output = self.run("--dry-run").stdout
        rules: dict[str, set[str]] = {}
        for job in re.split(r"\n(?=\s*(?:local)?rule )", output):
            name = re.match(r"\s*(?:local)?rule (\w+):", job)
            if name:
                experiment = re.search(r"wildcards:.*experiment=(\S+?),?\s", job)
                rules.setdefault(name[1], set()).add(experiment[1] if experiment else "")
        return rules

    def left_behind(self) -> list[Path]:
        """Files that nobody needs once all results are made."""
        snakemake, results = self.folder / ".snakemake", self.folder / "results"
        found = [*results.rglob(".*"), *results.glob("checkpoints/*")]
        for name in ("locks", "scripts", "incomplete", "runs"):
            found += (snakemake / name).glob("*")
        # Snakemake's own, of a folder that is a result, and what guards the start of runs
        return [
            file
            for file in found
            if file.name != ".snakemake_timestamp" and file != snakemake / "runs/lock"
        ]
