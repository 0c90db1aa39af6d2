# What the optimized sequences are worth on other phantoms than their own.


rule robustness:
    input:
        code=code("robustness"),
        sequence=user_code("sequence", "loss"),
        optimization="<results>/{experiment}/optimization/parameters.safetensors",
        phantoms=evaluated_on,
    output:
        robustness="<results>/{experiment}/robustness.csv",
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
        experiment=setting("sequence", "parameters", "image", "loss"),
        phantoms=["its own", *OTHER_PHANTOMS],
        accuracy=ACCURACY["tight"],
        simulation=SIMULATION,
    script:
        "../scripts/robustness.py"


rule robustness_table:
    input:
        code=code("robustness_table"),
        tables=expand(rules.robustness.output.robustness, experiment=EXPERIMENTS),
    output:
        table=report(
            "<results>/robustness.csv",
            caption="../report/robustness.rst",
            category="Robustness",
            labels={"shows": "gain on other phantoms"},
        ),
        json="<results>/robustness.json",
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
        "../scripts/robustness_table.py"
