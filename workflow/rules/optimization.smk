# The optimization, and the brute-force scan that judges it.


rule optimize:
    input:
        code=code("optimize"),
        sequence=user_code("sequence", "loss"),
        phantom=phantom_of,
        ensemble=ensemble_of,
        start="<results>/{experiment}/start/image_optimization.safetensors",
    output:
        parameters="<results>/{experiment}/optimization/parameters.safetensors",
        history="<results>/{experiment}/optimization/history.csv",
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
        experiment=setting("sequence", "parameters", "image", "loss", "optimizer"),
        accuracy=ACCURACY["optimization"],
        tight_accuracy=ACCURACY["tight"],
        simulation=SIMULATION,
        # Not an output: it must outlive an interrupted job, and Snakemake removes outputs
        checkpoints=f"{RESULTS}/checkpoints",
    script:
        "../scripts/optimize.py"


rule scan:
    input:
        code=code("scan"),
        sequence=user_code("sequence", "loss"),
        phantom=phantom_of,
        start="<results>/{experiment}/start/image_tight.safetensors",
    output:
        scan="<results>/{experiment}/scan.csv",
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
        experiment=setting("sequence", "parameters", "image", "loss", "scan"),
        accuracy=ACCURACY["tight"],
        simulation=SIMULATION,
    script:
        "../scripts/scan.py"
