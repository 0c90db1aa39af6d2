# The optimization, and the brute-force scan that judges it.


rule optimize:
    input:
        code=code("optimize"),
        functions=user_code("sequence", "loss"),
        phantom=phantom_of,
        ensemble=ensemble_of,
        start=RUN.image(START, OPTIMIZATION),
    output:
        parameters=RUN.parameters,
        history=RUN.history,
    log:
        "<logs>/{experiment}/optimize.log",
    benchmark:
        "<benchmarks>/{experiment}/optimize.tsv"
    group:
        sweep_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
        gpu=gpus,
    params:
        name=lambda wildcards: wildcards.experiment,
        experiment=setting("optimize"),
        accuracy=ACCURACY[OPTIMIZATION],
        tight_accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
        # Not an output: it must outlive an interrupted job, and Snakemake removes outputs
        checkpoints=RESULTS.checkpoints,
    script:
        SCRIPT


rule scan:
    input:
        code=code("scan"),
        functions=user_code("sequence", "loss"),
        phantom=phantom_of,
        start=RUN.image(START),
    output:
        scan=RUN.scan,
    log:
        "<logs>/{experiment}/scan.log",
    benchmark:
        "<benchmarks>/{experiment}/scan.tsv"
    group:
        sweep_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2500),
        runtime=growing(30),
        gpu=gpus,
    params:
        experiment=setting("scan"),
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
    script:
        SCRIPT
