# The limits that a scanner has: RF power, gradients, timing, nerve stimulation.


rule limits:
    input:
        code=code("limits"),
        functions=user_code("sequence"),
        optimization=rules.optimize.output.parameters,
        start=RUN.seq(START),
        optimized=RUN.seq(OPTIMIZED),
    output:
        limits=report(
            RUN.limits,
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
        experiment=setting("limits"),
        rf_limits=PLAN.config.limits.model_dump(exclude_none=True),
    script:
        SCRIPT
