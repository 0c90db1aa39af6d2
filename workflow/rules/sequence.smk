# The sequence: traced for the simulation, written for the scanner.


rule trace:
    input:
        unpack(optimization_of),
        code=code("trace"),
        functions=user_code("sequence"),
    output:
        sequence=RUN.sequence("{stage}"),
        traced=RUN.traced("{stage}"),
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
        experiment=setting("trace"),
    script:
        SCRIPT


rule export:
    input:
        unpack(optimization_of),
        code=code("export"),
        plain_script="workflow/scripts/plain_pypulseq.py",
        functions=user_code("sequence"),
        traced=rules.trace.output.traced,
    output:
        seq=RUN.seq("{stage}"),
        check=RUN.export("{stage}"),
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
        experiment=setting("export"),
    script:
        SCRIPT
