"""`flowerti export`: what a run made, in the forms of other programs.

This module does not know the forms.
"""

import argparse

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.export.kinds import KINDS


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    kinds = ", ".join(f"{kind.name}: {kind.label}" for kind in KINDS.so_far)
    parser.add_argument("run_dir", help="run directory: a path, s3://... or gs://...")
    parser.add_argument("out_dir", help="local folder, missing or empty; each kind gets a folder in it")
    parser.add_argument("--what", nargs="+", required=True, help=kinds)
    help_sources = "whose images; by default those that the run's recommendation is about"
    parser.add_argument("--sources", nargs="+", default=[], help=help_sources)
    help_ratio = "drawn images for each real one of their class; by default all that were drawn and kept"
    parser.add_argument("--ratio", type=float, default=None, help=help_ratio)
    parser.add_argument("--learning", type=int, default=0, help="which of a class's learnings, from 0")
    help_real = "let real images leave although data.show_images is off"
    parser.add_argument("--with-real-images", action="store_true", help=help_real)
    help_base = "the base's name on the Hugging Face Hub, for cards"
    parser.add_argument("--base-model", default="", help=help_base)


def export(values: argparse.Namespace) -> int:
    """Write what a run made for other programs, and print the folders."""
    from flowerti.export.exporter import export_run
    from flowerti.export.request import ExportRequest

    request = ExportRequest(
        what=tuple(values.what),
        sources=tuple(values.sources),
        ratio=values.ratio,
        learning=values.learning,
        with_real_images=values.with_real_images,
        base_model=values.base_model,
    )
    for folder in export_run(RunDirectory(values.run_dir), values.out_dir, request):
        print(folder)
    return 0
