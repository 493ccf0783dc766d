"""What is said where the ledgers hold less than the books count: what helps, and only where it helps."""

from bucketpull.wiring.job import short_books


def test_what_was_only_counted_twice_is_not_to_be_repaired():
    told = short_books(10, 0)
    assert "10 objects less" in told
    assert "two pages" in told
    assert "--repair" not in told


def test_what_is_lost_is_fetched_by_the_next_run_or_else_repaired():
    assert "two pages" not in short_books(10, 1)
    assert "--repair" in short_books(10, 1)
