# The report of a run.


def make_report():
    """Make the report with this run's config, by Snakemake in a process of its own.

    A run of some targets only cannot have one. No shell reads the names of the config files.
    """
    log = RESULTS.folder / "logs/report.log"
    # The Snakefile reads its own again, which would come after those of the command line
    configs = list(map(str, workflow.config_settings.configfiles or []))
    changes = list(workflow.config_settings.config_args or [])
    command = [sys.executable, str(Path(workflow.basedir, "workflow/scripts/report.py"))]
    command += ["--snakefile", workflow.main_snakefile]
    command += ["--nolock"]
    command += ["--configfile", *configs] if configs else []
    command += ["--config", *changes] if changes else []
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(RESULTS.folder / "report.html") as report, log.open("wb") as said:
            command += ["--report", str(report), "--", "results"]
            subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, check=True)
    except subprocess.CalledProcessError:
        print(
            f"There is no report of a part of the results; {log} says what is missing",
            file=sys.stderr,
        )
    except OSError as error:
        print(f"There is no report: {error}", file=sys.stderr)
