# The numbers of the report: of each experiment, and of the run beside the abstract's.


def evaluation_inputs(wildcards):
    """Images of every reported stage, and what else the experiment's numbers come from."""
    run, stages = RESULTS.run(wildcards.experiment), PLAN.stages(wildcards.experiment)
    inputs = {
        "images": [run.image(stage) for stage in stages],
        "sequences": [run.sequence(stage) for stage in stages],
    }
    if RUNS[wildcards.experiment].scan is not None:
        inputs["scan"] = run.scan
    # Runs of a sweep are exported only when asked for
    if wildcards.experiment in EXPERIMENTS:
        inputs |= {
            "optimized": run.image(OPTIMIZED, OPTIMIZATION),
            "imported": run.imported(OPTIMIZED),
            **{f"{stage}_export": run.export(stage) for stage in ENDS},
        }
    return inputs


rule evaluate:
    input:
        unpack(evaluation_inputs),
        code=code("evaluate"),
        kind=kind_code,
        functions=user_code("sequence", "loss"),
        phantom=phantom_of,
        start=RUN.image(START, OPTIMIZATION),
        parameters=rules.optimize.output.parameters,
        history=rules.optimize.output.history,
    output:
        evaluation=RUN.evaluation,
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
        experiment=setting("evaluate"),
        stages=lambda wildcards: PLAN.stages(wildcards.experiment),
        simulator=SIMULATOR,
    script:
        SCRIPT


rule summary:
    input:
        code=code("summary"),
        kinds=[kinds.module_of(run.figure) for run in EXPERIMENTS.values()],
        abstract="workflow/report/abstract.yaml",
        template="workflow/report/front_page.rst",
        evaluations=expand(rules.evaluate.output.evaluation, experiment=EXPERIMENTS),
        validation=rules.validation.output.validation,
    output:
        summary=FILES.numbers("summary"),
        front_page=FILES.front_page,
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
        figures={name: run.figure for name, run in EXPERIMENTS.items()},
        accuracy=ACCURACY,
    script:
        SCRIPT
