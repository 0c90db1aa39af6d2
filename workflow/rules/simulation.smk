# Signal and image of the sequences at each stage, and of the files that were exported.


rule simulate:
    input:
        code=code("simulate"),
        phantom=phantom_of,
        sequence=rules.trace.output.sequence,
    output:
        image="<results>/{experiment}/{stage}/image_{accuracy}.safetensors",
    log:
        "<logs>/{experiment}/simulate_{stage}_{accuracy}.log",
    benchmark:
        "<benchmarks>/{experiment}/simulate_{stage}_{accuracy}.tsv"
    group:
        stage_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2500),
        runtime=growing(10),
        gpu=gpus,
    params:
        experiment=setting("image"),
        accuracy=lambda wildcards: ACCURACY[wildcards.accuracy],
        change=lambda wildcards: TIGHT_CHANGE if wildcards.accuracy == "tight" else None,
        simulation=SIMULATION,
    script:
        "../scripts/simulate.py"


rule simulate_seq:
    input:
        code=code("simulate_seq"),
        phantom=phantom_of,
        seq=rules.export.output.seq,
    output:
        image="<results>/{experiment}/{stage}/image_seq.safetensors",
    log:
        "<logs>/{experiment}/simulate_seq_{stage}.log",
    benchmark:
        "<benchmarks>/{experiment}/simulate_seq_{stage}.tsv"
    group:
        stage_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2500),
        runtime=growing(10),
        gpu=gpus,
    params:
        experiment=setting("sequence", "image"),
        accuracy=ACCURACY["optimization"],
        simulation=SIMULATION,
    script:
        "../scripts/simulate_seq.py"


rule quality:
    input:
        code=code("quality"),
        sequence=user_code("sequence"),
        phantom=phantom_of,
        start="<results>/{experiment}/start/image_tight.safetensors",
        optimization="<results>/{experiment}/optimization/parameters.safetensors",
    output:
        quality="<results>/{experiment}/quality.csv",
    log:
        "<logs>/{experiment}/quality.log",
    benchmark:
        "<benchmarks>/{experiment}/quality.tsv"
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
        experiment=setting(
            "sequence", "parameters", "image", "loss", "optimizer", "report_iterations"
        ),
        accuracy=ACCURACY["tight"],
        simulation=SIMULATION,
    script:
        "../scripts/quality.py"
