# What the rule of the report asks of a profile.


def files_there(name):
    """Return a hash of the tables and figures that lie there: new ones make a new page.

    Those of the profiles that stand in for this one in some table are shown too.

    As inputs they would be made again where they are outdated, which a page must not ask for.
    """
    profiles = {
        name,
        *(declaration(table).profiles.get(name, name) for table in TABLES),
    }
    files = [
        file
        for shown in sorted(profiles)
        for file in found_files(Path(f"paper_tables/generated/{shown}"))
    ]
    return settings_hash([(str(file), file.stat().st_mtime_ns) for file in files])


def page_made_from(wildcards):
    name = wildcards.profile
    return settings_hash((profile(name), files_there(name)))


def page_sources(wildcards):
    """Return what a page cannot be without."""
    name = wildcards.profile
    files = [
        f"results/runs/{name}/results.csv",
        f"paper_tables/generated/{name}/table1.md",
    ]
    remake_if_stale(
        f"results/runs/{name}/made/report.json", page_made_from(wildcards), files
    )
    return files
