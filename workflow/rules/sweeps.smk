# Sweeps: the runs of an experiment over lists of values, in one table and one figure.


def evaluations_of(wildcards):
    """Numbers of a sweep's runs and of the experiments that stand beside it."""
    runs = [*PLAN.runs_of(wildcards.sweep), *SWEEPS[wildcards.sweep].compare]
    return [RESULTS.run(run).evaluation for run in runs]


def images_of(wildcards):
    """Images of a sweep's runs and of the experiments that stand beside it."""
    at = [(run, OPTIMIZED) for run in PLAN.runs_of(wildcards.sweep)]
    return [RESULTS.run(run).image(stage) for run, stage in at + PLAN.compared(wildcards.sweep)]


rule sweep:
    input:
        code=code("sweep"),
        evaluations=evaluations_of,
    output:
        table=report(
            FILES.sweep("{sweep}"),
            caption="../report/sweep_table.rst",
            category="Sweeps",
            labels={"sweep": "{sweep}", "shows": "table"},
        ),
    log:
        "<logs>/{sweep}/sweep.log",
    benchmark:
        "<benchmarks>/{sweep}/sweep.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        name=lambda wildcards: wildcards.sweep,
        sweep=lambda wildcards: SWEEPS[wildcards.sweep].sweep,
        compare=lambda wildcards: {
            name: EXPERIMENTS[name].model_dump(mode="json")
            for name in SWEEPS[wildcards.sweep].compare
        },
    script:
        SCRIPT


rule sweep_figure:
    input:
        code=code("sweep_figure"),
        kind=lambda wildcards: kind_files(SWEEPS[wildcards.sweep].figure),
        table=rules.sweep.output.table,
        images=images_of,
        start=lambda wildcards: (RESULTS.run(PLAN.runs_of(wildcards.sweep)[0]).image(START)),
    output:
        png=report(
            FILES.figure("{sweep}", "png"),
            caption="../report/sweep.rst",
            category="Sweeps",
            labels={"sweep": "{sweep}", "shows": "figure"},
        ),
        pdf=FILES.figure("{sweep}", "pdf"),
    log:
        "<logs>/{sweep}/figure.log",
    benchmark:
        "<benchmarks>/{sweep}/figure.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiment=lambda wildcards: with_sections(
            SWEEPS[wildcards.sweep], sections_of("sweep_figure")
        ),
        caption=lambda wildcards: kinds.of(SWEEPS[wildcards.sweep].figure).sweep_caption,
        compared=lambda wildcards: PLAN.compared(wildcards.sweep),
    script:
        SCRIPT


rule sweeps:
    input:
        code=code("sweeps"),
        tables=expand(rules.sweep.output.table, sweep=SWEEPS),
    output:
        sweeps=FILES.numbers("sweep"),
    log:
        "<logs>/sweeps.log",
    benchmark:
        "<benchmarks>/sweeps.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        names=list(SWEEPS),
    script:
        SCRIPT
