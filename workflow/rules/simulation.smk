# Signal and image of the sequences at each stage, and of the files that were exported.


rule simulate:
    input:
        code=code("simulate"),
        phantom=phantom_of,
        sequence=rules.trace.output.sequence,
    output:
        image=RUN.image("{stage}", "{accuracy}"),
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
        experiment=setting("simulate"),
        accuracy=lambda wildcards: ACCURACY[wildcards.accuracy],
        change=lambda wildcards: (SIMULATION.tight_change if wildcards.accuracy == TIGHT else None),
        simulator=SIMULATOR,
    script:
        SCRIPT


rule import_seq:
    input:
        code=code("import_seq"),
        phantom=phantom_of,
        seq=rules.export.output.seq,
    output:
        image=RUN.imported("{stage}"),
    log:
        "<logs>/{experiment}/import_seq_{stage}.log",
    benchmark:
        "<benchmarks>/{experiment}/import_seq_{stage}.tsv"
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
        experiment=setting("import_seq"),
        accuracy=ACCURACY[OPTIMIZATION],
        simulator=SIMULATOR,
    script:
        SCRIPT


rule quality:
    input:
        code=code("quality"),
        functions=user_code("sequence"),
        phantom=phantom_of,
        start=RUN.image(START),
        optimization=RUN.parameters,
    output:
        quality=RUN.quality,
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
        experiment=setting("quality"),
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
    script:
        SCRIPT
