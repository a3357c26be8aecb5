# What the rules of comparisons ask of a profile and of the stored baselines.


def baseline_file():
    """Return the baselines: the file that was given, or the stored matrix of the profile."""
    here = Path(f"results/{PROFILE}.csv")
    return str(config.get("baseline", here if here.is_file() else ROOT / here))


def comparison_files():
    """Return what `compare` makes, once it is clear that the results can be compared."""
    if COMPARED is None:
        return []
    # Not above: they bring pandas, which the other targets can do without.
    from adaptprune.comparison.conditions import check_plan
    from adaptprune.results.rows import read_results

    try:
        stored = read_results(Path(baseline_file()))
        check_plan(profile(PROFILE), str(COMPARED), stored, baseline_file())
    except UserError as error:
        raise SystemExit(f"error: {error}")
    stem = f"results/runs/{PROFILE}/compare/{COMPARED}/comparison"
    return [f"{stem}{suffix}" for suffix in (".md", ".tex", ".html", ".csv")]


COMPARISON = comparison_files()


def wanted_comparison(wildcards):
    if COMPARED is None:
        raise SystemExit("error: compare which method? --config method=NAME")
    return COMPARISON


def stored_files(wildcards):
    """Return what is kept of every cell of the profile."""
    return [
        f"results/runs/{PROFILE}/cells/{cell.key}/{name}"
        for cell in profile(PROFILE).cells()
        for name in (
            record_name(cell.recovery),
            "evaluation.json",
            "documents.parquet",
        )
    ]


def new_sources(wildcards):
    """Return the same of a compared method; have its results gathered again for anything else."""
    files = stored_files(wildcards)
    record = f"results/runs/{wildcards.profile}/compare/{wildcards.method}/made.json"
    if remake_if_stale(record, profile_made_from(wildcards), files):
        remake_other_cells(wildcards.profile, profile(wildcards.profile).cells())
    return files
