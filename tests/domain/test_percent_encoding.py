"""Texts are encoded together as each would be by itself."""

from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.keys import percent_encoded

TEXTS = st.lists(
    st.binary(max_size=12) | st.sampled_from([b"a/b", b"%41", b"~-_.", b"", b"a\nb"]), max_size=6
)


@given(TEXTS, st.sampled_from([b"", b"/", b"/+"]))
def test_texts_together_are_encoded_as_each_alone(texts, safe):
    alone = [quote_from_bytes(text, safe=safe.decode()).encode() for text in texts]
    assert percent_encoded(texts, safe) == alone
