# Whether results stand: under a judge that shares no code with the optimizer, on other phantoms,
# and against their scans.


rule judge:
    input:
        unpack(modules_of),
        phantom=phantom_of,
        seq=RUN.seq("{stage}"),
        sequence=RUN.sequence("{stage}"),
    output:
        RUN.judge("{stage}", "{physics}"),
    log:
        "<logs>/{experiment}/judge_{stage}_{physics}.log",
    benchmark:
        "<benchmarks>/{experiment}/judge_{stage}_{physics}.tsv"
    wildcard_constraints:
        experiment=STARTING,
        physics=f"{INSTANTANEOUS}|{FULL}",
    priority: 1
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2500),
        runtime=growing(60),
    params:
        code=code("judge"),
        functions=user_code("reconstruction", "modules"),
        experiment=setting("judge"),
        settings=judge_settings,
        files=files_of,
    script:
        SCRIPT


rule validate:
    input:
        validation_inputs,
        phantom=phantom_of,
        optimization=RUN.parameters,
    output:
        validation=RUN.validation,
        png=report(
            FILES.figure("{experiment}_validation", "png"),
            caption="../report/validation.rst",
            category="Validation",
            labels={"figure": "{experiment}", "shows": "images of simulation and judge"},
        ),
        pdf=[FILES.figure("{experiment}_validation", suffix) for suffix in ("pdf", "column.pdf")],
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
        code=code("validate"),
        functions=user_code("sequences_by_name", "reconstruction", "modules", "loss"),
        name=lambda wildcards: wildcards.experiment,
        experiment=setting("validate"),
        settings=judge_settings,
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
        files=files_of,
        start=start_of,
    script:
        SCRIPT


rule robustness:
    input:
        optimization=RUN.parameters,
        phantom=phantom_of,
        definitions=lambda wildcards: phantom_files(
            list(PLAN.other_phantoms(wildcards.experiment).values())
        ),
    output:
        [RUN.phantom(number) for number in range(len(OTHER_PHANTOMS))],
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
        code=code("robustness"),
        functions=user_code("sequences_by_name", "reconstruction", "modules", "loss"),
        name=lambda wildcards: wildcards.experiment,
        experiment=setting("robustness"),
        others=lambda wildcards: PLAN.other_phantoms(wildcards.experiment),
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
        noise=PLAN.config.noise.model_dump(),
        files=files_of,
    script:
        SCRIPT


# Fails, after the report's numbers are written, where a result does not stand
rule validated:
    input:
        [RESULTS.run(name).evaluation for name in EXPERIMENTS],
        [RESULTS.evaluations(name) for name in SWEEPS],
        validation=RESULTS.numbers("validation"),
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
        code=code("validated"),
        experiments=list(EXPERIMENTS),
        sweeps=list(SWEEPS),
        results=RESULTS,
    script:
        SCRIPT
