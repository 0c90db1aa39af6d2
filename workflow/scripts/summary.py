"""Put the numbers of all experiments together, beside those of the abstract."""

from pathlib import Path

from pulseq_zero.config import read_yaml
from pulseq_zero.logs import logged
from pulseq_zero.store import atomic_path, load_json, save_json
from pulseq_zero.summary import comparison, list_table, summarize
from pulseq_zero.validation import validation_table


def main(
    evaluations: dict[str, Path],
    figures: dict[str, str],
    accuracy: dict[str, float],
    validation: Path,
    abstract: Path,
    template: Path,
    summary: Path,
    front_page: Path,
) -> None:
    numbers = summarize({name: load_json(file) for name, file in evaluations.items()}, figures)
    numbers["accuracy"] = accuracy
    numbers["validation"] = load_json(validation)
    save_json(summary, numbers)
    table = list_table(comparison(numbers, read_yaml(abstract)))
    text = template.read_text(encoding="utf-8").format(
        table=table,
        validation=list_table(validation_table(numbers["validation"])),
        **accuracy,
    )
    with atomic_path(front_page) as path:
        path.write_text(text, encoding="utf-8")


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            dict(
                zip(
                    snakemake.params.experiments,
                    map(Path, snakemake.input.evaluations),
                    strict=True,
                )
            ),
            snakemake.params.figures,
            snakemake.params.accuracy,
            Path(snakemake.input.validation),
            Path(snakemake.input.abstract),
            Path(snakemake.input.template),
            Path(snakemake.output.summary),
            Path(snakemake.output.front_page),
        )
