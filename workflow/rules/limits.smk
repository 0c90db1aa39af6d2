# The limits that a scanner has: RF power, gradients, timing, nerve stimulation.


rule limits:
    input:
        code=code("limits"),
        sequence=user_code("sequence"),
        optimization=rules.optimize.output.parameters,
        start="<results>/{experiment}/start/{experiment}.seq",
        optimized="<results>/{experiment}/optimized/{experiment}.seq",
    output:
        limits=report(
            "<results>/{experiment}/limits.csv",
            caption="../report/limits.rst",
            category="Limits",
            labels={"experiment": "{experiment}"},
        ),
    log:
        "<logs>/{experiment}/limits.log",
    benchmark:
        "<benchmarks>/{experiment}/limits.tsv"
    group:
        stage_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiment=setting("sequence", "parameters", "loss"),
        rf_limits=config.get("limits", {}),
    script:
        "../scripts/limits.py"
