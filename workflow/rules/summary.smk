# The numbers of the report: of each experiment, and of the run beside the abstract's.


rule evaluate:
    input:
        unpack(evaluation_inputs),
        code=code("evaluate"),
        sequence=user_code("sequence", "loss"),
        phantom=phantom_of,
        start="<results>/{experiment}/start/image_optimization.safetensors",
        parameters=rules.optimize.output.parameters,
        history=rules.optimize.output.history,
    output:
        evaluation="<results>/{experiment}/evaluation.json",
    log:
        "<logs>/{experiment}/evaluate.log",
    benchmark:
        "<benchmarks>/{experiment}/evaluate.tsv"
    group:
        stage_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
        gpu=gpus,
    params:
        experiment=lambda wildcards: RUNS[wildcards.experiment],
        stages=lambda wildcards: stages(wildcards.experiment),
        simulation=SIMULATION,
    script:
        "../scripts/evaluate.py"


rule summary:
    input:
        code=code("summary"),
        abstract="workflow/report/abstract.yaml",
        template="workflow/report/front_page.rst",
        evaluations=expand(rules.evaluate.output.evaluation, experiment=EXPERIMENTS),
        validation=rules.validation.output.validation,
    output:
        summary="<results>/summary.json",
        front_page="<results>/front_page.rst",
    log:
        "<logs>/summary.log",
    benchmark:
        "<benchmarks>/summary.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiments=list(EXPERIMENTS),
        figures={name: figure_kind(name) for name in EXPERIMENTS},
        accuracy=ACCURACY,
    script:
        "../scripts/summary.py"
