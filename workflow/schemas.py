"""Write the JSON schemas of the config and of experiments, for editors that complete and explain.

Usage: python workflow/schemas.py, after a change of pulseq_zero/experiments/settings.py.
"""

from pathlib import Path

import yaml

from pulseq_zero.experiments.section import Section, schema
from pulseq_zero.experiments.settings import Config, Experiment

FOLDER = Path(__file__).parent / "schemas"
HEADER = "# Written by workflow/schemas.py.\n"
SECTIONS: dict[str, type[Section]] = {"config": Config, "experiment": Experiment}


def schema_file(section: type[Section]) -> str:
    """Compose the file of a section's schema."""
    return HEADER + yaml.safe_dump(schema(section), sort_keys=False, width=100)


if __name__ == "__main__":
    for name, section in SECTIONS.items():
        (FOLDER / f"{name}.schema.yaml").write_text(schema_file(section), encoding="utf-8")
