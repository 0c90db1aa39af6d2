# The phantoms: what is imaged.


rule phantom:
    input:
        definition=lambda wildcards: phantom_files(PLAN.phantom_settings(wildcards.phantom)),
    output:
        phantom=FILES.phantom("{phantom}"),
        nifti=directory(FILES.nifti("{phantom}")),
    log:
        "<logs>/{phantom}.log",
    benchmark:
        "<benchmarks>/{phantom}.tsv"
    # Optimizations wait for it
    priority: 3
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("phantom"),
        settings=lambda wildcards: PLAN.phantom_settings(wildcards.phantom),
    script:
        SCRIPT
