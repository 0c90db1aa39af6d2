# The report of a run: of its results, however they were made, and whether or not they stand.


rule report:
    input:
        final_results(),
        captions=[str(file) for file in sorted(Path("workflow/report").glob("*.rst"))],
    output:
        FILES.report,
    log:
        "<logs>/report.log",
    # Of what Snakemake has recorded here
    localrule: True
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
    script:
        "../scripts/report.py"
