"""Where a bucket is, in which region and by whose keys: as each service wants it; and what cannot work is said."""

import msgspec
import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.registry import settings_of
from bucketpull.sources.s3.config import S3Config, address_of

KEYS = {"access_key": "A", "secret_key": "S"}


@pytest.fixture(autouse=True)
def nothing_of_aws(monkeypatch, tmp_path):
    monkeypatch.setattr("os.environ", {"HOME": str(tmp_path)})


def _checked(bucket: str = "photos", **options) -> S3Config:
    return S3Config.of(f"//{bucket}", KEYS | options).checked()


@pytest.mark.parametrize(
    ("bucket", "options", "site", "path", "region"),
    [
        ("photos", {}, "https://photos.s3.us-east-1.amazonaws.com", "", "us-east-1"),
        ("photos", {"region": "cn-north-1"}, "https://photos.s3.cn-north-1.amazonaws.com.cn", "", "cn-north-1"),
        ("photos", {"region": "eusc-de-east-1"}, "https://photos.s3.eusc-de-east-1.amazonaws.eu", "", "eusc-de-east-1"),
        ("my.photos", {"region": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com", "/my.photos", "eu-west-1"),
        ("photos", {"path_style": True}, "https://s3.us-east-1.amazonaws.com", "/photos", "us-east-1"),
        ("photos", {"api_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000", "/photos", "us-east-1"),
        ("photos", {"api_url": "http://[::1]:9000/s3/"}, "http://[::1]:9000", "/s3/photos", "us-east-1"),
        ("photos", {"api_url": "https://minio.example.com:443"}, "https://minio.example.com", "/photos", "us-east-1"),
        ("photos", {"api_url": "https://h", "path_style": False}, "https://photos.h", "", "us-east-1"),
        ("photos", {"api_url": "https://oss-cn-hangzhou.aliyuncs.com"}, "https://photos.oss-cn-hangzhou.aliyuncs.com", "", "oss-cn-hangzhou"),
        ("p-125", {"api_url": "https://cos.ap-guangzhou.myqcloud.com"}, "https://p-125.cos.ap-guangzhou.myqcloud.com", "", "ap-guangzhou"),
        ("p-125", {"api_url": "https://p-125.cos.ap-guangzhou.myqcloud.com"}, "https://p-125.cos.ap-guangzhou.myqcloud.com", "", "ap-guangzhou"),
        ("photos", {"api_url": "https://a1b2.r2.cloudflarestorage.com"}, "https://a1b2.r2.cloudflarestorage.com", "/photos", "auto"),
        ("photos", {"api_url": "https://a1b2.r2.cloudflarestorage.com/photos"}, "https://a1b2.r2.cloudflarestorage.com", "/photos", "auto"),
        ("photos", {"api_url": "https://s3.api.upyun.com"}, "https://s3.api.upyun.com", "/photos", "us-east-1"),
    ],
)  # fmt: skip
def test_a_bucket_is_where_its_service_has_it(bucket, options, site, path, region):
    config = _checked(bucket, **options)
    address = address_of(config)
    assert (address.site, address.path, config.region) == (site, path, region)
    assert address.site.endswith(address.host)


def test_a_source_is_a_bucket_and_a_folder():
    config = settings_of("s3://photos/2024//x/", KEYS)
    assert (config.place(), config.label()) == ("//photos/2024//x", "photos-2024-x")
    assert config.identity() == {"source": "s3://photos", "prefix": "2024//x"}


@pytest.mark.parametrize(
    ("place", "options", "words"),
    [
        ("//photos", {}, "no keys; set AWS_ACCESS_KEY_ID"),
        ("//photos", {"access_key": "A"}, "no keys"),
        ("photos", KEYS, "write s3://BUCKET"),
        ("//", KEYS, "write s3://BUCKET"),
        ("//a b", KEYS, "is not a bucket name"),
        ("//arn:aws:s3:us-west-2:1:accesspoint/my", KEYS, "is an ARN; write the bucket's name, or the alias"),
        ("//..", KEYS, "is not a bucket name"),
        ("//AK:secret@photos", KEYS, "^source: a bucket's name has no @; give keys by"),
        *(
            ("//photos", KEYS | {"region": region}, "is no name of a region; correct --region")
            for region in ("eu west 1", "a/b", "é", "x" * 65)
        ),
        ("//photos", KEYS | {"api_url": "ftp://h"}, "is not an http:// or https:// URL"),
        ("//photos", KEYS | {"api_url": "http://h:x"}, "is not an http:// or https:// URL"),
        ("//photos", KEYS | {"cdn_url": "https://u:p@h"}, "may have neither query"),
        ("//photos", KEYS | {"region": "auto"}, "AWS has no such region; name the bucket's"),
        (
            "//photos",
            KEYS | {"api_url": "http://127.0.0.1:9000", "path_style": False},
            r"cannot stand before 127\.0\.0\.1",
        ),
        ("//photos", KEYS | {"api_url": "http://[::1]:9000", "path_style": False}, "cannot stand before ::1"),
        ("//photos", KEYS | {"path_style": "perhaps"}, "--path-style .perhaps.: write true or false"),
    ],
)
def test_what_cannot_work_is_said(place, options, words):
    with pytest.raises(ConfigError, match=words):
        S3Config.of(place, options).checked()


def test_who_is_anonymous_needs_no_keys_and_has_none():
    assert S3Config.of("//photos", {"anonymous": True}).checked().credentials() is None


def test_what_leaves_the_machine_has_no_secrets():
    public = _checked(session_token="T").public()
    assert (public.access_key, public.secret_key, public.session_token) == ("", "", "")
    assert b"S" not in msgspec.json.encode(public.secret_key)
    assert "***" in repr(_checked())
