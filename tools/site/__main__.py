"""Build the site: `python -m tools.site [--out site]`. Every warning is an error. No network is needed."""

from __future__ import annotations

import argparse
import pathlib
import shutil
import sys

from sphinx.cmd.build import build_main

from tools.repository import ROOT
from tools.site import api, companion, shapes, verify
from tools.site.stage import DeadLinkError, Stage


def main(arguments: list[str] | None = None) -> int:
    """Prepare the pages and let Sphinx build them."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__)
    parser.add_argument("--out", default="site", help="folder of the site, replaced if it exists (default: site)")
    parser.add_argument("--work", default="build/site", help="folder for intermediate files (default: build/site)")
    options = parser.parse_args(arguments)
    out, work = pathlib.Path(options.out), pathlib.Path(options.work)
    stage = Stage(work / "pages", api.pages() | companion.pages(shapes.watch()), companion.companions())
    try:
        stage.write()
    except DeadLinkError as error:
        print(error, file=sys.stderr)
        return 1
    shutil.rmtree(out, ignore_errors=True)
    settings = str(ROOT / "tools" / "site")
    extra = f"html_extra_path={(work / 'pages' / 'as_is').resolve()}"
    sphinx = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-a", "-D", extra, "-c", settings]
    status = build_main([*sphinx, "-d", str(work / "doctrees"), str(work / "pages"), str(out)])
    found = verify.faults(out.resolve()) if not status else []
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return status or bool(found)


if __name__ == "__main__":
    sys.exit(main())
