"""`bucketpull export`: the manifest of a job."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.option("--csv", "form", flag_value="csv", help="Write comma-separated values with a header.")
@click.option("--jsonl", "form", flag_value="jsonl", help="Write one JSON object a line.")
@click.option(
    "--parquet", "form", flag_value="parquet", help="Write Parquet; needs pip install 'bucketpull[parquet]'."
)
@click.argument("file", default="-")
@options.common
def export(form: str | None, file: str, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Write what the job's volumes hold: key, size, mtime, md5, volume, path; to FILE or standard output.

    The ledgers of the volumes are read, so the disks must be here; exit 3 if one is not. TMPDIR takes 20 bytes an object for
    the while.

    \b
    bucketpull export --csv manifest.csv --job photos
    bucketpull export --jsonl --job photos | jq .key
    bucketpull export --parquet manifest.parquet --job photos
    """  # noqa: D301
    from bucketpull.wiring.export import run_export

    if form is None:
        raise click.UsageError("say in which form: --csv, --jsonl or --parquet")
    return run_export(options.settings(flags), form, file)
