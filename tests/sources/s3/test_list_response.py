"""Listing pages: the usual shape and any other are read alike; what is no listing is refused; nothing grows without bound."""

from contextlib import suppress
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import AnswerError
from bucketpull.domain.keys import quoted
from bucketpull.sources.s3.list_response import read_listing

_START = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


def _entry(
    key: str, size: object = 5, date: str = "2009-10-12T17:50:30.000Z", etag: str = "&quot;ab&quot;"
) -> str:
    head = f"<Contents><Key>{key}</Key><LastModified>{date}</LastModified><ETag>{etag}</ETag>"
    return f"{head}<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"


def _other_shape(
    key: str, size: object = 5, date: str = "2009-10-12T17:50:30.000Z", etag: str = '"ab"'
) -> str:
    return (
        f"<Contents><Size>{size}</Size><ETag>{etag}</ETag><Owner><ID>7</ID></Owner>"
        f"<Key>{key}</Key><LastModified>{date}</LastModified></Contents>"
    )


def _page(*entries: str, fields: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    return f"{_START}<Name>b</Name>{fields}{''.join(entries)}</ListBucketResult>".encode()


@pytest.mark.parametrize("entry", [_entry, _other_shape])
def test_a_byte_order_mark_is_no_part_of_a_page(entry):
    page = _page(entry("a.jpg"))
    assert read_listing(b"\xef\xbb\xbf" + page) == read_listing(page)


@pytest.mark.parametrize("entry", [_entry, _other_shape])
def test_a_page_is_read_by_column(entry):
    page = read_listing(_page(entry("a/1.jpg", 7), entry("a/&lt;2&gt;.jpg", 0, "2024-02-29T00:00:00Z")))
    assert page.keys == [b"a/1.jpg", b"a/<2>.jpg"]
    assert page.sizes == [7, 0]
    assert page.mtimes == [1255369830, 1709164800]
    assert page.etags == ["ab", "ab"]
    assert not page.is_truncated


def test_names_with_a_prefix_comments_and_style_sheets_are_no_other_page():
    plain = _page(_entry("a.jpg"))
    declaration, _, root = plain.partition(b"\n")
    prefixed = root.replace(b"<", b"<s3:").replace(b"<s3:/", b"</s3:").replace(b"xmlns=", b"xmlns:s3=")
    for body in (
        declaration + prefixed,
        declaration + b"<!-- one -->" + root + b"\n<!-- two -->\n",
        declaration + b'<?xml-stylesheet href="x"?>' + root,
    ):
        assert read_listing(body) == read_listing(plain)
    entry = _entry("a.jpg")
    other = _page(entry.replace("<", "<o:").replace("<o:/", "</o:")).replace(b"xmlns=", b"xmlns:o='x' xmlns=")
    assert read_listing(other) == read_listing(plain)


@pytest.mark.parametrize("etag", ["&quot;ab&quot;", "&#34;ab&#34;", '"ab"', "ab"])
def test_an_etag_is_quoted_in_any_way(etag):
    assert read_listing(_page(_entry("k", etag=etag))).etags == ["ab"]


@pytest.mark.parametrize(
    ("written", "key"), [("a+b%20c%2Bd", b"a b c+d"), ("%01%0A", b"\x01\n"), ("a%2Fb", b"a/b")]
)
@pytest.mark.parametrize("entry", [_entry, _other_shape])
def test_url_encoded_keys_are_decoded_plus_and_percent_alike(entry, written, key):
    fields = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
    assert read_listing(_page(entry(written), fields=fields)).keys == [key]


def test_a_service_that_does_not_url_encode_means_what_it_writes():
    assert read_listing(_page(_entry("a+b%20"))).keys == [b"a+b%20"]


def test_a_control_character_that_xml_forbids_is_read():
    """Ceph writes it in its token, and some services in their keys."""
    fields = "<IsTruncated>true</IsTruncated><NextContinuationToken>x&#x01;y</NextContinuationToken>"
    page = read_listing(_page(_entry("a&#x1;b"), fields=fields))
    assert page.keys == [b"a\x01b"]
    assert page.token == "x\x01y"


def test_an_empty_page_may_be_truncated():
    page = read_listing(
        _page(fields="<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>")
    )
    assert (page.keys, page.is_truncated, page.token) == ([], True, "t")


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=30),
            st.integers(0, 2**62),
        ),
        max_size=20,
    ),
    st.booleans(),
    st.booleans(),
)
def test_any_keys_come_back_as_they_were_in_either_shape(objects, is_other, is_encoded):
    entry = _other_shape if is_other else _entry
    write = (lambda key: quoted(key.encode()).replace("%20", "+")) if is_encoded else escape
    encoding = "<EncodingType>url</EncodingType>" if is_encoded else ""
    body = _page(
        *(entry(write(key), size) for key, size in objects),
        fields=f"{encoding}<IsTruncated>false</IsTruncated>",
    )
    page = read_listing(body)
    assert page.keys == [key.encode() for key, _ in objects]
    assert page.sizes == [size for _, size in objects]


@pytest.mark.parametrize("size", ["-1", "", "9" * 25, 2**63, "5.5", "many", " 5 "])
@pytest.mark.parametrize("entry", [_entry, _other_shape])
def test_a_size_that_is_none_costs_the_size_alone(entry, size):
    page = read_listing(_page(entry("a", size), entry("b", 7)))
    assert (page.keys, page.sizes, page.odd) == ([b"a", b"b"], [5 if size == " 5 " else -1, 7], ())


@pytest.mark.parametrize("odd", ["<Contents/>", "<Contents><Key></Key><Size>1</Size></Contents>", _entry("")])
def test_an_entry_without_a_key_costs_itself(odd):
    page = read_listing(_page(_entry("a"), odd, _entry("b"), "<Contents><Key>c</Key></Contents>"))
    assert (page.keys, page.sizes) == ([b"a", b"b", b"c"], [5, 5, -1])
    assert [told[:22] for told in page.odd] == ["an entry without a key"]


def test_keys_that_a_service_keeps_back_behind_a_delimiter_of_its_own_are_told():
    """Nobody asked for a delimiter: a listing without them would look complete."""
    groups = "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes><CommonPrefixes>\n<Prefix>b/</Prefix></CommonPrefixes>"
    assert len(read_listing(_page(_entry("c"), groups)).odd) == 2
    assert read_listing(_page(_entry("c"), "<CommonPrefixes></CommonPrefixes>")).odd == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"<Error><Code>InternalError</Code></Error>",
        _page(_entry("a"))[:-5],
        _page(_entry("a"), fields=""),
        _page(_entry("a"), fields="<IsTruncated>perhaps</IsTruncated>"),
        _page(_entry("a&#x110000;b")),
        _page(fields="<KeyCount>3</KeyCount><IsTruncated>false</IsTruncated>"),
        b"<Result>" + _page(_entry("a")).partition(b"?>")[2] + b"</Result>",
        b"<!-- ListBucketResult -->" + _page(_entry("a"))[:-5] + b"<!-- ListBucketResult -->",
        _page("<Contents>" * 50 + "</Contents>" * 50),
        b"<!DOCTYPE x [<!ENTITY e 'a'>]>" + _page(_entry("&e;")),
        _page().replace(b"<Name>", b"<!DOCTYPE x><Name>"),
        _page(_entry("k" * 16_385)),
        _page(_entry("a")).replace(
            b"<Name>", b"<NextContinuationToken>%s</NextContinuationToken><Name>" % (b"t" * 16_385)
        ),
    ],
    ids=lambda body: repr(body[-60:]),
)
def test_what_is_no_listing_is_refused_and_never_empty(body):
    with pytest.raises(AnswerError):
        read_listing(body)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_a_damaged_page_is_read_or_refused(noise, place):
    whole = _page(_entry("a"), _other_shape("b"))
    body = whole[:place] + noise + whole[place:]
    with suppress(AnswerError):
        read_listing(body)


def test_a_date_that_cannot_be_read_costs_the_date_alone():
    assert read_listing(_page(_entry("a", date="yesterday"), _entry("b"))).mtimes == [-1, 1255369830]


@given(
    st.lists(
        st.one_of(
            st.integers(0, 4_000_000_000_000_000).map(
                lambda at: f"{datetime.fromtimestamp(at / 1e6, tz=UTC).replace(tzinfo=None).isoformat()}Z"
            ),
            st.sampled_from(
                ["2016-11-09T14:26:58+08:00", "2016-11-09T14:26:60Z", "2016-11-09T24:00:00Z", "Z", ""]
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_date_is_what_the_calendar_says(dates):
    def seconds(date: str) -> int:
        try:
            return int(datetime.fromisoformat(date).timestamp())
        except ValueError:
            return -1

    page = _page(*(_entry(f"k{index}", date=date) for index, date in enumerate(dates)))
    assert read_listing(page).mtimes == [seconds(date) for date in dates]
