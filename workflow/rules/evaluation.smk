# What the report shows: of each experiment, of each sweep, and of all together.


EVALUATED = dict(
    evaluation=RUN.evaluation,
    limits=report(
        RUN.limits,
        caption="../report/limits.rst",
        category="Limits",
        labels={"experiment": "{experiment}"},
    ),
    png=report(
        FILES.figure("{experiment}", "png"),
        caption="../report/experiment.rst",
        category="Experiments",
        labels={"figure": "{experiment}", "shows": "images, parameters, losses"},
    ),
    pulses=report(
        FILES.figure("{experiment}_pulses", "png"),
        caption="../report/pulses.rst",
        category="Sequences",
        labels={"figure": "{experiment}", "shows": "pulse diagram"},
    ),
    kspace=report(
        FILES.figure("{experiment}_kspace", "png"),
        caption="../report/kspace.rst",
        category="Sequences",
        labels={"figure": "{experiment}", "shows": "k-space order"},
    ),
    pdf=[
        FILES.figure(f"{{experiment}}{shows}", suffix)
        for shows in ("", "_pulses", "_kspace")
        for suffix in ("pdf", "column.pdf")
    ],
)


rule evaluate:
    input:
        evaluation_inputs,
        phantom=phantom_of,
    output:
        **EVALUATED,
    log:
        "<logs>/{experiment}/evaluate.log",
    benchmark:
        "<benchmarks>/{experiment}/evaluate.tsv"
    wildcard_constraints:
        experiment=WITHOUT_QUALITY,
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
        code=code("evaluate"),
        kind=kind_code,
        functions=user_code("sequences_by_name", "reconstruction", "modules", "loss"),
        experiment=setting("evaluate"),
        loss_settings=lambda wildcards: listed(RUNS[wildcards.experiment].loss.settings),
        variants=listed_variants,
        stages=lambda wildcards: PLAN.stages(wildcards.experiment),
        accuracy=ACCURACY[TIGHT],
        simulator=SIMULATOR,
        limit_settings=PLAN.config.limits.model_dump(exclude_none=True),
        files=files_of,
        start=start_of,
        results=RESULTS,
    script:
        SCRIPT


# The images of every few iterations, too, which figures of this kind have
use rule evaluate as evaluate_with_quality with:
    output:
        **EVALUATED,
        quality=RUN.quality,
    wildcard_constraints:
        experiment=WITH_QUALITY,


# The runs of an experiment over lists of values, in one table and one figure
rule sweep:
    input:
        sweep_inputs,
        phantoms=lambda wildcards: [
            RESULTS.phantom(PLAN.phantom_of(run)) for run in PLAN.runs_of(wildcards.sweep)
        ],
    output:
        evaluations=FILES.evaluations("{sweep}"),
        baselines=FILES.baselines("{sweep}"),
        table=report(
            FILES.sweep("{sweep}"),
            caption="../report/sweep_table.rst",
            category="Sweeps",
            labels={"sweep": "{sweep}", "shows": "table"},
        ),
        png=report(
            FILES.figure("{sweep}", "png"),
            caption="../report/sweep.rst",
            category="Sweeps",
            labels={"sweep": "{sweep}", "shows": "figure"},
        ),
        pdf=[FILES.figure("{sweep}", suffix) for suffix in ("pdf", "column.pdf")],
    log:
        "<logs>/{sweep}/sweep.log",
    benchmark:
        "<benchmarks>/{sweep}/sweep.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
        gpu=gpus,
    params:
        code=code("sweep"),
        kind=lambda wildcards: kind_version(SWEEPS[wildcards.sweep].figure),
        functions=sweep_code,
        name=lambda wildcards: wildcards.sweep,
        experiment=lambda wildcards: with_sections(SWEEPS[wildcards.sweep], sections_of("sweep")),
        swept=listed_sweep,
        caption=lambda wildcards: kinds.of(SWEEPS[wildcards.sweep].figure).sweep_caption,
        runs=lambda wildcards: {
            run: with_sections(RUNS[run], sections_of("evaluate"))
            for run in PLAN.runs_of(wildcards.sweep)
        },
        starts=lambda wildcards: {run: PLAN.start_of(run) for run in PLAN.runs_of(wildcards.sweep)},
        stages=lambda wildcards: PLAN.stages(PLAN.runs_of(wildcards.sweep)[0]),
        compare=lambda wildcards: {
            name: EXPERIMENTS[name].model_dump(mode="json")
            for name in SWEEPS[wildcards.sweep].compare
        },
        compared=lambda wildcards: PLAN.compared(wildcards.sweep),
        accuracy=SIMULATION.tight_accuracy,
        simulator=SIMULATOR,
        results=RESULTS,
    script:
        SCRIPT


rule summary:
    input:
        [[run.evaluation, run.validation] for run in map(RESULTS.run, EXPERIMENTS)],
        [run.robustness for run in map(RESULTS.run, EXPERIMENTS) if OTHER_PHANTOMS],
        [RESULTS.sweep(name) for name in SWEEPS],
        kinds=[kinds.module_of(run.figure) for run in EXPERIMENTS.values()],
        abstract="workflow/report/abstract.yaml",
        template="workflow/report/front_page.rst",
        out_of_sample="workflow/report/out_of_sample.rst",
    output:
        [FILES.numbers(name) for name in NUMBERS],
        report(
            FILES.table("validation"),
            caption="../report/validation_table.rst",
            category="Validation",
            labels={"figure": "all experiments", "shows": "table"},
        ),
        [
            report(
                FILES.table("robustness"),
                caption="../report/robustness.rst",
                category="Robustness",
                labels={"shows": "gain on other phantoms"},
            )
        ]
        * ("robustness" in NUMBERS),
        front_page=FILES.front_page,
    log:
        "<logs>/summary.log",
    benchmark:
        "<benchmarks>/summary.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("summary"),
        figures={name: run.figure for name, run in EXPERIMENTS.items()},
        sweeps=list(SWEEPS),
        is_robust="robustness" in NUMBERS,
        noise=PLAN.config.noise.model_dump(),
        region=as_text(PLAN.config.noise.region),
        accuracy=ACCURACY,
        results=RESULTS,
    script:
        SCRIPT


rule overview_figures:
    input:
        phantom=RESULTS.phantom(PHANTOM),
        image=RESULTS.run(PLAN.start_of(LAST)).image(of_sequence(START, names_of(LAST)[0])),
    output:
        phantom_png=report(
            FILES.figure("phantom", "png"),
            caption="../report/phantom.rst",
            category="Input",
            labels={"figure": "Phantom", "shows": "maps and regions"},
        ),
        schematic_png=report(
            FILES.figure("schematic", "png"),
            caption="../report/schematic.rst",
            category="Overview",
            labels={"figure": "Schematic", "shows": "the loop"},
        ),
        pdf=[FILES.figure(name, "pdf") for name in ("phantom", "schematic")],
        column=FILES.figure("phantom", "column.pdf"),
    log:
        "<logs>/overview_figures.log",
    benchmark:
        "<benchmarks>/overview_figures.tsv"
    conda:
        "../envs/pulseq_zero.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("overview_figures"),
        functions=version_of(PICTURED.sequences_by_name, PICTURED.loss),
        experiment=with_sections(PICTURED, sections_of("overview_figures")),
        results=RESULTS,
    script:
        SCRIPT
