# Figures, drawn from what is stored.


def experiment_figure_inputs(wildcards):
    """What the figure of an experiment needs beside images and history, for its kind."""
    run, needs = RESULTS.run(wildcards.experiment), kind_of(wildcards).needs
    files = {"scan": run.scan, "quality": run.quality, "phantom": phantom_of(wildcards)}
    judged = {f"{stage}_judge": run.judge(stage, FULL) for stage in ENDS} if "judge" in needs else {}
    return {name: file for name, file in files.items() if name in needs} | judged


def figure_group_of(wildcards):
    """Group of an experiment's figure: its stage's, unless it waits for the judge of that stage."""
    return (sweep_of if "judge" in kind_of(wildcards).needs else stage_of)(wildcards)


rule phantom_figure:
    input:
        code=code("phantom_figure"),
        phantom=RESULTS.phantom(PHANTOM),
    output:
        png=report(
            FILES.figure("phantom", "png"),
            caption="../report/phantom.rst",
            category="Input",
            labels={"figure": "Phantom", "shows": "maps and regions"},
        ),
        pdf=FILES.figure("phantom", "pdf"),
    log:
        "<logs>/figure_phantom.log",
    benchmark:
        "<benchmarks>/figure_phantom.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    script:
        SCRIPT


rule sequence_figures:
    input:
        code=code("sequence_figures"),
        seq=RUN.seq(OPTIMIZED),
        sequence=RUN.sequence(OPTIMIZED),
    output:
        pulses_png=report(
            FILES.figure("{experiment}_pulses", "png"),
            caption="../report/pulses.rst",
            category="Sequences",
            labels={"figure": "{experiment}", "shows": "pulse diagram"},
        ),
        pulses_pdf=FILES.figure("{experiment}_pulses", "pdf"),
        kspace_png=report(
            FILES.figure("{experiment}_kspace", "png"),
            caption="../report/kspace.rst",
            category="Sequences",
            labels={"figure": "{experiment}", "shows": "k-space order"},
        ),
        kspace_pdf=FILES.figure("{experiment}_kspace", "pdf"),
    log:
        "<logs>/{experiment}/figure_sequence.log",
    benchmark:
        "<benchmarks>/{experiment}/figure_sequence.tsv"
    group:
        stage_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiment=setting("sequence_figures"),
    script:
        SCRIPT


rule experiment_figure:
    input:
        unpack(experiment_figure_inputs),
        code=code("experiment_figure"),
        kind=kind_code,
        start=RUN.image(START),
        optimized=RUN.image(OPTIMIZED),
        parameters=rules.optimize.output.parameters,
        history=rules.optimize.output.history,
    output:
        png=report(
            FILES.figure("{experiment}", "png"),
            caption="../report/experiment.rst",
            category="Experiments",
            labels={"figure": "{experiment}", "shows": "images, parameters, losses"},
        ),
        pdf=FILES.figure("{experiment}", "pdf"),
    log:
        "<logs>/{experiment}/figure.log",
    benchmark:
        "<benchmarks>/{experiment}/figure.tsv"
    group:
        figure_group_of
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiment=setting("experiment_figure"),
    script:
        SCRIPT


rule schematic_figure:
    input:
        code=code("schematic_figure"),
        phantom=RESULTS.phantom(PHANTOM),
        image=RESULTS.run(PICTURED).image(START),
    output:
        png=report(
            FILES.figure("schematic", "png"),
            caption="../report/schematic.rst",
            category="Overview",
            labels={"figure": "Schematic", "shows": "the loop"},
        ),
        pdf=FILES.figure("schematic", "pdf"),
    log:
        "<logs>/figure_schematic.log",
    benchmark:
        "<benchmarks>/figure_schematic.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        experiment=with_sections(RUNS[PICTURED], sections_of("schematic_figure")),
    script:
        SCRIPT
