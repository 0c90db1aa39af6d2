# The exported sequences again, simulated by a judge that shares no code with the optimizer's.


rule judge:
    input:
        code=code("judge"),
        phantom=phantom_of,
        seq=rules.export.output.seq,
        sequence=rules.trace.output.sequence,
    output:
        image="<results>/{experiment}/{stage}/judge_{physics}.safetensors",
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
        experiment=setting("image"),
        validation=judge_settings,
    script:
        "../scripts/judge.py"


rule validate:
    input:
        code=code("validate"),
        sequence=user_code("sequence", "loss"),
        phantom=phantom_of,
        optimization=rules.optimize.output.parameters,
        seq=expand("<results>/{{experiment}}/{stage}/{{experiment}}.seq", stage=VALIDATED),
        optimizer=expand(
            "<results>/{{experiment}}/{stage}/image_optimization.safetensors", stage=VALIDATED
        ),
        tight=expand("<results>/{{experiment}}/{stage}/image_tight.safetensors", stage=VALIDATED),
        imported=expand("<results>/{{experiment}}/{stage}/image_seq.safetensors", stage=VALIDATED),
        bloch=judged_as_optimized,
        bloch_full=judged_in_full,
    output:
        validation="<results>/{experiment}/validation.json",
        png=report(
            "<results>/figures/{experiment}_validation.png",
            caption="../report/validation.rst",
            category="Validation",
            labels={"figure": "{experiment}", "shows": "images of simulation and judge"},
        ),
        pdf="<results>/figures/{experiment}_validation.pdf",
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
        experiment=setting("sequence", "parameters", "image", "loss"),
        validation=judge_settings,
        accuracy=ACCURACY["tight"],
        simulation=SIMULATION,
    script:
        "../scripts/validate.py"


rule validation:
    input:
        code=code("validation"),
        experiments=expand(rules.validate.output.validation, experiment=EXPERIMENTS),
    output:
        validation="<results>/validation.json",
        table=report(
            "<results>/validation.csv",
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
        "../scripts/validation.py"


# Fails, after the report's numbers are written, where a result does not stand
rule validated:
    input:
        code=code("validated"),
        validation=rules.validation.output.validation,
        evaluations=expand("<results>/{experiment}/evaluation.json", experiment=RUNS),
    output:
        touch("<results>/validated"),
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
        "../scripts/validated.py"
