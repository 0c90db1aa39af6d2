# Sweeps: the runs of an experiment over lists of values, in one table and one figure.


rule sweep:
    input:
        code=code("sweep"),
        evaluations=evaluations_of,
    output:
        table=report(
            "<results>/{sweep}/sweep.csv",
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
        sweep=lambda wildcards: SWEEPS[wildcards.sweep]["sweep"],
        compare=lambda wildcards: {
            name: EXPERIMENTS[name] for name in SWEEPS[wildcards.sweep].get("compare", [])
        },
    script:
        "../scripts/sweep.py"


rule sweep_figure:
    input:
        code=code("figure_sweep"),
        table=rules.sweep.output.table,
        images=images_of,
        start=lambda wildcards: (
            f"{RESULTS}/{runs_of(wildcards.sweep)[0]}/start/image_tight.safetensors"
        ),
    output:
        png=report(
            "<results>/figures/{sweep}.png",
            caption="../report/sweep.rst",
            category="Sweeps",
            labels={"sweep": "{sweep}", "shows": "figure"},
        ),
        pdf="<results>/figures/{sweep}.pdf",
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
        kind=lambda wildcards: SWEEPS[wildcards.sweep].get("figure", "history"),
        sweep=lambda wildcards: SWEEPS[wildcards.sweep]["sweep"],
        parameters=lambda wildcards: list(SWEEPS[wildcards.sweep]["parameters"]),
        compared=compared,
    script:
        "../scripts/figure_sweep.py"


rule sweeps:
    input:
        code=code("sweeps"),
        tables=expand(rules.sweep.output.table, sweep=SWEEPS),
    output:
        sweeps="<results>/sweep.json",
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
        "../scripts/sweeps.py"
