import pytest

from bucketpull.wiring.adapters import source_config
from bucketpull.wiring.configuration import resolve


def test_headers_in_the_environment_are_separated_by_line_breaks_and_volumes_by_blanks():
    settings = resolve(
        {"source": "upyun://b"},
        {"BUCKETPULL_HEADERS": "X-One: a b\nX-Two: c", "BUCKETPULL_VOLUMES": "/mnt/d1 /mnt/d2"},
    )

    assert settings.source_settings().headers == ("X-One: a b", "X-Two: c")
    assert settings.volumes == ["/mnt/d1", "/mnt/d2"]


@pytest.mark.parametrize(
    ("given", "listed"), [({"verify": "md5"}, True), ({"adopt": "md5"}, True), ({"verify": "size"}, False)]
)
def test_etags_are_listed_where_somebody_compares_them(given, listed):
    settings = resolve({"source": "s3://bucket", "anonymous": True, **given}, {})

    assert source_config(settings).lists_versions is listed
