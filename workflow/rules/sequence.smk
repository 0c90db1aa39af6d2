# The sequence: traced for the simulation, written for the scanner.


rule trace:
    input:
        code=code("trace"),
        sequence=user_code("sequence"),
        optimization=optimization_of,
    output:
        sequence="<results>/{experiment}/{stage}/sequence.safetensors",
        traced="<results>/{experiment}/{stage}/traced.seq",
    log:
        "<logs>/{experiment}/trace_{stage}.log",
    benchmark:
        "<benchmarks>/{experiment}/trace_{stage}.tsv"
    group:
        stage_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiment=setting("sequence", "parameters", "image"),
    script:
        "../scripts/trace.py"


rule export:
    input:
        code=code("export"),
        plain="workflow/scripts/plain_pypulseq.py",
        sequence=user_code("sequence"),
        traced="<results>/{experiment}/{stage}/traced.seq",
        optimization=optimization_of,
    output:
        seq="<results>/{experiment}/{stage}/{experiment}.seq",
        check="<results>/{experiment}/{stage}/export.json",
    log:
        "<logs>/{experiment}/export_{stage}.log",
    benchmark:
        "<benchmarks>/{experiment}/export_{stage}.tsv"
    group:
        stage_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiment=setting("sequence", "parameters"),
    script:
        "../scripts/export.py"
