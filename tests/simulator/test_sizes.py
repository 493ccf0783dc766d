import pytest

from upyun_simulator.sizes import parse_bytes, parse_sizes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("20KiB", 20480),
        ("1.5MiB", 1572864),
        ("1GB", 10**9),
        ("3k", 3000),
        ("0", 0),
        ("5GiB", 5 << 30),
    ],
)
def test_amounts_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "x", "-1", "1XiB", "nan", "inf", "1e40"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match="amount of bytes"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "mean", "low", "high"),
    [
        ("20KiB", 20480, 20480, 20480),
        ("uniform:1KiB:3KiB", 2048, 1024, 3072),
        ("lognormal:33KiB:0.8", 33792, 1, 10**7),
    ],
)
def test_a_distribution_has_the_mean_that_was_asked_for(text, mean, low, high):
    sizes = parse_sizes(text)
    picked = [sizes.pick(n * 2654435769 % 2**32) for n in range(20_000)]

    assert sizes.mean == pytest.approx(mean, rel=0.001)
    assert sum(picked) / len(picked) == pytest.approx(mean, rel=0.05)
    assert low <= min(picked) <= max(picked) <= high
