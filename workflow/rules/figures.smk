# Figures, drawn from what is stored.


rule phantom_figure:
    input:
        code=code("figure_phantom"),
        phantom=f"{RESULTS}/phantom/phantom.safetensors",
    output:
        png=report(
            "<results>/figures/phantom.png",
            caption="../report/phantom.rst",
            category="Input",
            labels={"figure": "Phantom", "shows": "maps and regions"},
        ),
        pdf="<results>/figures/phantom.pdf",
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
        "../scripts/figure_phantom.py"


rule sequence_figures:
    input:
        code=code("figure_sequence"),
        seq="<results>/{experiment}/optimized/{experiment}.seq",
        sequence="<results>/{experiment}/optimized/sequence.safetensors",
    output:
        pulses_png=report(
            "<results>/figures/{experiment}_pulses.png",
            caption="../report/pulses.rst",
            category="Sequences",
            labels={"figure": "{experiment}", "shows": "pulse diagram"},
        ),
        pulses_pdf="<results>/figures/{experiment}_pulses.pdf",
        kspace_png=report(
            "<results>/figures/{experiment}_kspace.png",
            caption="../report/kspace.rst",
            category="Sequences",
            labels={"figure": "{experiment}", "shows": "k-space order"},
        ),
        kspace_pdf="<results>/figures/{experiment}_kspace.pdf",
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
        title=lambda wildcards: RUNS[wildcards.experiment]["title"],
    script:
        "../scripts/figure_sequence.py"


rule experiment_figure:
    input:
        unpack(experiment_figure_inputs),
        code=code("figure_experiment"),
        start="<results>/{experiment}/start/image_tight.safetensors",
        optimized="<results>/{experiment}/optimized/image_tight.safetensors",
        parameters=rules.optimize.output.parameters,
        history=rules.optimize.output.history,
    output:
        png=report(
            "<results>/figures/{experiment}.png",
            caption="../report/experiment.rst",
            category="Experiments",
            labels={"figure": "{experiment}", "shows": "images, parameters, losses"},
        ),
        pdf="<results>/figures/{experiment}.pdf",
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
        experiment=setting("sequence", "parameters", "loss", "figure"),
    script:
        "../scripts/figure_experiment.py"


rule schematic_figure:
    input:
        code=code("figure_schematic"),
        phantom=f"{RESULTS}/phantom/phantom.safetensors",
        image=f"{RESULTS}/{PICTURED}/start/image_tight.safetensors",
    output:
        png=report(
            "<results>/figures/schematic.png",
            caption="../report/schematic.rst",
            category="Overview",
            labels={"figure": "Schematic", "shows": "the loop"},
        ),
        pdf="<results>/figures/schematic.pdf",
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
        experiment=RUNS[PICTURED],
    script:
        "../scripts/figure_schematic.py"
