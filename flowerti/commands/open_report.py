"""`flowerti open`: the report of a finished run in the browser.

This module does not know what a report shows.
"""

import webbrowser
from pathlib import Path

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory


def open_report(run_dir: str) -> int:
    """Print where the report of a finished run is, and show it in the browser where there is one.

    Raises:
        ValueError: there is no report, or it is in an object store; says what to do.
    """
    run = RunDirectory(run_dir)
    if not run.exists(layout.PAGE):
        advice = f"flowerti status {run_dir} says how far the run is" if run.exists(layout.CONFIG) else "no run is here"
        raise ValueError(f"{run.uri}/{layout.PAGE} is missing: {advice}")
    if not run.is_local:
        raise ValueError(f"{run.uri}/{layout.PAGE} is in an object store: copy it to this machine to look at it")
    page = Path(run.path(layout.PAGE)).resolve()
    print(page)
    if not webbrowser.open(page.as_uri()):
        print("no browser was found: open the file in one")
    return 0
