# pulseq-zero: from phantom and sequence scripts to optimized sequences, figures and report.
#
# phantom + sequence -> trace -> simulate -> optimize -> export -> simulate again -> figures

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


# What the Dockerfile says how to make; used with --sdm apptainer alone
containerized: "pulseq-zero.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/phantom.smk"
include: "workflow/rules/optimization.smk"
include: "workflow/rules/validation.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"


# Made by the run, for the table of its numbers
report: Path.cwd() / RESULTS.front_page


rule all:
    default_target: True
    input:
        final_results(),
        rules.validated.output,
        rules.report.output,


# What the report shows
rule results:
    input:
        final_results(),
