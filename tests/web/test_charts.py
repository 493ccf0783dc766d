"""The past of the charts outlives the coordinator, and nothing about it is worth a job."""

import copy

from bucketpull.web.history import FILE, History, load_history, save_history


def test_a_history_goes_on_where_it_was(serve, tmp_path):
    snapshot = copy.deepcopy(serve().panel.snapshot())
    history = History()
    for _ in range(700):
        snapshot.at += 2
        history.add(snapshot)
    save_history(tmp_path, history.keep())

    again = load_history(tmp_path)

    assert list(again.fine) == list(history.fine)
    assert again.coarse == history.coarse
    snapshot.at += 2
    again.add(snapshot)
    assert again.fine[-1].at == snapshot.at


def test_a_file_that_cannot_be_read_is_a_new_beginning(tmp_path):
    (tmp_path / FILE).write_bytes(b'{"fine": 3')

    assert not load_history(tmp_path).fine
    assert not load_history(tmp_path / "none").fine


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path):
    save_history(tmp_path / "none", History().keep())

    assert list(tmp_path.iterdir()) == []
