# The exported sequences again, simulated by a judge that shares no code with the optimizer's.


def judged(wildcards, physics):
    """The judge's images of a run; those that start alike share that of the start."""
    first = RESULTS.run(PLAN.first_alike(wildcards.experiment))
    own = RESULTS.run(wildcards.experiment)
    return [(first if stage == START else own).judge(stage, physics) for stage in ENDS]


def judged_as_optimized(wildcards):
    """The judge's images with pulses as the optimization has them: sub-pulses take their time."""
    is_cut = RUNS[wildcards.experiment].sequence.sub_pulses > 1
    return judged(wildcards, FULL if is_cut else INSTANTANEOUS)


def judged_in_full(wildcards):
    """The judge's images with pulses that take their time."""
    return judged(wildcards, FULL)


rule judge:
    input:
        code=code("judge"),
        phantom=phantom_of,
        seq=rules.export.output.seq,
        sequence=rules.trace.output.sequence,
    output:
        image=RUN.judge("{stage}", "{physics}"),
    log:
        "<logs>/{experiment}/judge_{stage}_{physics}.log",
    benchmark:
        "<benchmarks>/{experiment}/judge_{stage}_{physics}.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2500),
        runtime=growing(60),
    params:
        experiment=setting("judge"),
        settings=judge_settings,
    script:
        SCRIPT


rule validate:
    input:
        code=code("validate"),
        functions=user_code("sequence", "loss"),
        phantom=phantom_of,
        optimization=rules.optimize.output.parameters,
        seq=[RUN.seq(stage) for stage in ENDS],
        optimizer=[RUN.image(stage, OPTIMIZATION) for stage in ENDS],
        tight=[RUN.image(stage) for stage in ENDS],
        imported=[RUN.imported(stage) for stage in ENDS],
        bloch=judged_as_optimized,
        bloch_full=judged_in_full,
    output:
        validation=RUN.validation,
        png=report(
            FILES.figure("{experiment}_validation", "png"),
            caption="../report/validation.rst",
            category="Validation",
            labels={"figure": "{experiment}", "shows": "images of simulation and judge"},
        ),
        pdf=FILES.figure("{experiment}_validation", "pdf"),
    log:
        "<logs>/{experiment}/validate.log",
    benchmark:
        "<benchmarks>/{experiment}/validate.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        gpu=gpus,
    params:
        name=lambda wildcards: wildcards.experiment,
        experiment=setting("validate"),
        settings=judge_settings,
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
    script:
        SCRIPT


rule validation:
    input:
        code=code("validation"),
        experiments=expand(rules.validate.output.validation, experiment=EXPERIMENTS),
    output:
        validation=FILES.numbers("validation"),
        table=report(
            FILES.table("validation"),
            caption="../report/validation_table.rst",
            category="Validation",
            labels={"figure": "all experiments", "shows": "table"},
        ),
    log:
        "<logs>/validation.log",
    benchmark:
        "<benchmarks>/validation.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    script:
        SCRIPT


# Fails, after the report's numbers are written, where a result does not stand
rule validated:
    input:
        code=code("validated"),
        validation=rules.validation.output.validation,
        evaluations=expand(RUN.evaluation, experiment=RUNS),
    output:
        touch(FILES.folder / "validated"),
    log:
        "<logs>/validated.log",
    benchmark:
        "<benchmarks>/validated.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        runs=list(RUNS),
    script:
        SCRIPT
