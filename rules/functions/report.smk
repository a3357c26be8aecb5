# What the rule of the report asks of a profile.


def files_there(name):
    """Return a hash of the tables and figures that lie there: new ones make a new page.

    As inputs they would be made again where they are outdated, which a page must not ask for.
    """
    folder = Path(f"paper_tables/generated/{name}")
    return settings_hash(
        [(str(file), file.stat().st_mtime_ns) for file in found_files(folder)]
    )
