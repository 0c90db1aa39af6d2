# The phantoms: what is imaged.


rule phantom:
    input:
        code=code("phantom"),
        definition=lambda wildcards: phantom_files(phantom_settings(wildcards)),
    output:
        phantom="<results>/{phantom}/phantom.safetensors",
        nifti=directory("<results>/{phantom}/nifti"),
    log:
        "<logs>/{phantom}.log",
    benchmark:
        "<benchmarks>/{phantom}.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        phantom=phantom_settings,
    script:
        "../scripts/phantom.py"
