# What the optimized sequences are worth on other phantoms than their own.


rule robustness:
    input:
        code=code("robustness"),
        functions=user_code("sequence", "loss"),
        optimization=RUN.parameters,
        phantoms=evaluated_on,
    output:
        robustness=RUN.robustness,
    log:
        "<logs>/{experiment}/robustness.log",
    benchmark:
        "<benchmarks>/{experiment}/robustness.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2500),
        runtime=growing(30),
        gpu=gpus,
    params:
        name=lambda wildcards: wildcards.experiment,
        experiment=setting("robustness"),
        labels=lambda wildcards: list(PLAN.evaluated_on(wildcards.experiment)),
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
    script:
        SCRIPT


rule robustness_table:
    input:
        code=code("robustness_table"),
        tables=expand(rules.robustness.output.robustness, experiment=EXPERIMENTS),
    output:
        table=report(
            FILES.table("robustness"),
            caption="../report/robustness.rst",
            category="Robustness",
            labels={"shows": "gain on other phantoms"},
        ),
        numbers=FILES.numbers("robustness"),
    log:
        "<logs>/robustness.log",
    benchmark:
        "<benchmarks>/robustness.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    script:
        SCRIPT
