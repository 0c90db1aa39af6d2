# What rules are made from, by their wildcards.


def kind_version(kind):
    """Digest of a kind of experiment: it matters to the experiments of that kind."""
    return digest(library_files(kinds.module_of(kind)))


def kind_code(wildcards):
    """Digest of the kind of an experiment."""
    return kind_version(RUNS[wildcards.experiment].figure)


def kind_of(wildcards):
    """The kind of an experiment."""
    return kinds.of(RUNS[wildcards.experiment].figure)


def user_code(*sections):
    """Digest of the user's own functions that sections of an experiment name."""

    def version(wildcards):
        run = PLAN.settings(wildcards.experiment)
        return version_of(*(getattr(run, section) for section in sections))

    return version


def named_in(section):
    """What names a function in a section of an experiment: nothing, itself, or all by its names."""
    return list(section.values()) if isinstance(section, dict) else [section] * bool(section)


def version_of(*named):
    """Digest of the user's own files that functions of sections come from, and of their imports."""
    each = [one for section in named for one in named_in(section)]
    own = [file for one in each for file in sources_of(one.function)]
    return digest(library_files(*own))


def sweep_code(wildcards):
    """Digest of the user's own functions that a sweep and its baselines name."""
    sweep = SWEEPS[wildcards.sweep]
    named = sweep.sequences_by_name, sweep.reconstruction, sweep.modules, sweep.loss
    return version_of(*named, *sweep.baselines.values())


def setting(step):
    """Sections of an experiment that a step uses: only a change of these reruns the rule."""
    return lambda wildcards: with_sections(PLAN.settings(wildcards.experiment), sections_of(step))


def listed(settings):
    """Settings as the text of a caption has them."""
    return ", ".join(f"{as_text(key)} = {as_text(value)}" for key, value in settings.items())


def listed_variants(wildcards):
    """The variants of an experiment's scan as the text of a caption has them."""
    scan = RUNS[wildcards.experiment].scan
    changes = scan.variants.changes if scan is not None and scan.variants is not None else {}
    return "; ".join(f"{as_text(name)} ({listed(change)})" for name, change in changes.items())


def listed_sweep(wildcards):
    """What a sweep is over as the text of a caption has it."""
    values = {
        name: ", ".join(map(str, each)) for name, each in SWEEPS[wildcards.sweep].sweep.items()
    }
    return "; ".join(listed({name: each}) for name, each in values.items())


def variants_of(wildcards):
    """What the scan of an experiment is made again of: sections, and settings of other phantoms."""
    own, sections = RUNS[wildcards.experiment].phantom, sections_of("scan")
    return {
        name: {
            "experiment": with_sections(variant, sections),
            "phantom": None if variant.phantom == own else PLAN.changed_phantom(variant.phantom),
        }
        for name, variant in PLAN.variants_of(wildcards.experiment).items()
    }


def judge_settings(wildcards):
    """Settings of an experiment's judge."""
    return PLAN.judge_of(wildcards.experiment).model_dump()


def phantom_of(wildcards):
    """The phantom of a run."""
    return RESULTS.phantom(PLAN.phantom_of(wildcards.experiment))


def ensemble_of(wildcards):
    """The phantoms that a run is optimized on beside its own."""
    return [RESULTS.phantom(folder) for folder in PLAN.ensemble_of(wildcards.experiment)]


def files_of(wildcards):
    """The files of a run."""
    return RESULTS.run(wildcards.experiment)


def start_of(wildcards):
    """The files of the run that has the start of a run."""
    return RESULTS.run(PLAN.start_of(wildcards.experiment))


def optimization_of(wildcards):
    """The optimization that a stage's parameters come from; the start needs none."""
    if point_of(wildcards.stage) == START:
        return {}
    return {"optimization": files_of(wildcards).parameters}


def modules_of(wildcards):
    """The optimization that modules of a judged stage come from, if there are any."""
    return optimization_of(wildcards) if PLAN.settings(wildcards.experiment).modules else {}


def names_of(run):
    """Names of the sequences of a run, or of runs that start alike."""
    return list(PLAN.settings(run).sequences_by_name)


def start_images(accuracy):
    """The images at the start values of a run, of each of its sequences."""

    def images(wildcards):
        stages = [of_sequence(START, name) for name in names_of(wildcards.experiment)]
        return [start_of(wildcards).image(stage, accuracy) for stage in stages]

    return images


def judged(wildcards, physics):
    """Images of start and optimized sequence by the judge; runs that start alike share that."""
    ends = {START: start_of(wildcards), OPTIMIZED: files_of(wildcards)}
    return [
        of.judge(of_sequence(end, name), by)
        for name in names_of(wildcards.experiment)
        for end, of in ends.items()
        for by in physics
    ]


def validation_inputs(wildcards):
    """Images of start and optimized sequence, by optimizer and judge, and what these are of."""
    start, own = start_of(wildcards), files_of(wildcards)
    stages = [of_sequence(end, name) for name in names_of(wildcards.experiment) for end in ENDS]
    simulated = [file for stage in stages for file in of_stage(start, own, stage)]
    return [*simulated, *judged(wildcards, judged_by(RUNS[wildcards.experiment].pulses))]


def evaluated(start, run, wildcards):
    """Files of a run that its numbers come from, and of the run that has its start."""
    stages = [file for stage in PLAN.stages(wildcards) for file in of_stage(start, run, stage)]
    minima = [run.minima] if RUNS[wildcards].scan is not None else []
    return [run.parameters, run.history, *stages, *minima]


def of_stage(start, run, stage):
    """Files of one stage."""
    return (start if point_of(stage) == START else run).stage(stage).values()


def evaluation_inputs(wildcards):
    """What an experiment is reported from; its kind may need more than its numbers do."""
    run, start, needs = files_of(wildcards), start_of(wildcards), kind_of(wildcards).needs
    more = {"scan": [run.scan, run.minima], "quality": [], "phantom": []}
    more["judge"] = judged(wildcards, [FULL])
    of_kind = [file for name in needs for file in more[name]]
    return [*evaluated(start, run, wildcards.experiment), *of_kind]


def sweep_inputs(wildcards):
    """What the runs of a sweep are reported from, and what stands beside them."""
    own = [
        file
        for run in PLAN.runs_of(wildcards.sweep)
        for file in evaluated(RESULTS.run(PLAN.start_of(run)), RESULTS.run(run), run)
    ]
    others = [RESULTS.run(name).evaluation for name in SWEEPS[wildcards.sweep].compare]
    beside = [
        RESULTS.run(name).image(of_sequence(at, sequence))
        for name, at in PLAN.compared(wildcards.sweep)
        for sequence in names_of(name)
    ]
    return [*own, *others, *beside]
