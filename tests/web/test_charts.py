"""The past of the charts outlives the coordinator, and nothing about it is worth a job."""

import copy

from bucketpull.web.history import History
from bucketpull.wiring import charts


def test_a_history_goes_on_where_it_was(serve, tmp_path):
    snapshot = copy.deepcopy(serve().panel.snapshot())
    history = History()
    for _ in range(700):
        snapshot.at += 2
        history.add(snapshot)
    charts.save(tmp_path, history.keep())

    again = charts.load(tmp_path)

    assert list(again.fine) == list(history.fine)
    assert again.coarse == history.coarse
    snapshot.at += 2
    again.add(snapshot)
    assert again.fine[-1].at == snapshot.at


def test_a_file_that_cannot_be_read_is_a_new_beginning(tmp_path):
    (tmp_path / charts.NAME).write_bytes(b'{"fine": 3')

    assert not charts.load(tmp_path).fine
    assert not charts.load(tmp_path / "none").fine


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path):
    charts.save(tmp_path / "none", History().keep())

    assert list(tmp_path.iterdir()) == []
