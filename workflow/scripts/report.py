"""Make the report, by Snakemake's command line, so that no text in its page can end a script.

The page holds JSON inside of scripts, and the JSON holds settings of experiments. Where it has
the code of `<`, which means the same, `</script>` in a setting is text.
"""

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import yaml
from pipeline_run import end_with_run
from snakemake.cli import main

from pulseq_zero.files.store import atomic_path

plain = json.dumps


def dumps(*args, **options):
    return plain(*args, **options).replace("<", "\\u003c")


def make(snakefile, config, page, log):
    """Make the page of the rule `results` with the config of a run, all its files and options."""
    json.dumps = dumps
    whole = log.with_suffix(".config.yaml")
    with atomic_path(whole) as path:
        path.write_text(yaml.safe_dump(json.loads(plain(config))), encoding="utf-8")
    with atomic_path(page) as path, log.open("w", encoding="utf-8") as said:
        command = ["--snakefile", snakefile, "--configfile", str(whole), "--report", str(path)]
        try:
            with redirect_stdout(said), redirect_stderr(said):
                main([*command, "--", "results"])
        except SystemExit as end:
            if end.code:
                sys.exit(f"There is no report; {log} says why")


if "snakemake" in globals():
    end_with_run()
    make(
        snakemake.params.snakefile,
        snakemake.config,
        Path(snakemake.output[0]),
        Path(snakemake.log[0]),
    )
