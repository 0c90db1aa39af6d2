# The stages of an optimization, and the brute-force scan that judges it.
#
# A stage is traced, simulated, exported, and simulated as it was exported. These steps always go
# together and are short: they are one job, and those of the best iteration belong to its
# optimization.


rule stage:
    input:
        unpack(optimization_of),
        plain_script="workflow/scripts/plain_pypulseq.py",
        phantom=phantom_of,
    output:
        **RUN.stage("{stage}"),
    log:
        "<logs>/{experiment}/{stage}.log",
    benchmark:
        "<benchmarks>/{experiment}/{stage}.tsv"
    wildcard_constraints:
        experiment=STARTING,
        stage=OTHER_STAGES,
    # Optimizations wait for it
    priority: 3
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
        code=code("stage"),
        functions=user_code("sequences_by_name", "reconstruction", "modules"),
        experiment=setting("stage"),
        simulation=SIMULATION.model_dump(),
        files=files_of,
    script:
        SCRIPT


rule optimize:
    input:
        plain_script="workflow/scripts/plain_pypulseq.py",
        phantom=phantom_of,
        ensemble=ensemble_of,
        images=start_images(OPTIMIZATION),
    output:
        **RUN.stage(OPTIMIZED),
        parameters=RUN.parameters,
        history=RUN.history,
    log:
        "<logs>/{experiment}/optimize.log",
    benchmark:
        "<benchmarks>/{experiment}/optimize.tsv"
    wildcard_constraints:
        experiment=ALONE,
    # Long jobs first, lest the last of them runs alone
    priority: 2
    group:
        sweep_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(3500),
        runtime=growing(60),
        gpu=gpus,
    params:
        code=code("optimize"),
        functions=user_code("sequences_by_name", "reconstruction", "modules", "loss", "phantoms"),
        experiment=setting("optimize"),
        simulation=SIMULATION.model_dump(),
        files=files_of,
        start=start_of,
        # Not an output: it must outlive an interrupted job, and Snakemake removes outputs
        checkpoints=RESULTS.checkpoints,
    script:
        SCRIPT


# The stages of several sequences are jobs of their own
use rule optimize as optimize_together with:
    output:
        parameters=RUN.parameters,
        history=RUN.history,
    wildcard_constraints:
        experiment=TOGETHER,


rule scan:
    input:
        phantom=phantom_of,
        definitions=lambda wildcards: phantom_files(
            [each["phantom"] for each in variants_of(wildcards).values()]
        ),
        images=start_images(TIGHT),
    output:
        scan=RUN.scan,
        minima=RUN.minima,
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
        code=code("scan"),
        functions=user_code("sequences_by_name", "reconstruction", "modules", "loss"),
        experiment=setting("scan"),
        variants=variants_of,
        start=start_of,
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
    script:
        SCRIPT
