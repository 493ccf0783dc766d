"""A job to which nothing comes says so, why, and not too often."""

from bucketpull.domain.stall_notice import Listener, Silence


def test_a_job_that_only_asks_again_speaks_after_ten_seconds_and_whenever_its_silence_has_doubled():
    listener = Listener()
    spoken = {}

    for second in range(100):
        silence = listener.look(1000.0 + second, 0, {"connect": second, "reset": 1})
        if silence is not None:
            spoken[second] = silence

    assert spoken == {
        10: Silence(10.0, "connect", 10),
        20: Silence(20.0, "connect", 20),
        40: Silence(40.0, "connect", 40),
        80: Silence(80.0, "connect", 80),
    }


def test_a_job_to_which_something_comes_is_silent_about_its_retries():
    listener = Listener()

    assert not any(listener.look(second, second // 9, {"reset": second}) for second in range(200))


def test_a_job_that_waits_without_asking_again_has_no_reason_to_tell():
    listener = Listener()

    assert not any(listener.look(second, 7, {"reset": 3}) for second in range(200))
