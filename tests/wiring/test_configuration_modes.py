"""Who may read a configuration with a password in it."""

import pytest

from bucketpull.wiring.configuration import _from_file


@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o640, True), (0o600, False)])
@pytest.mark.parametrize(
    "line", ['password = "secret"', 'broker = "amqp://u:secret@h/"', 'job-key = "secret"']
)
def test_a_password_that_others_can_read_is_told_and_not_shown(tmp_path, capsys, mode, told, line):
    file = tmp_path / "job.toml"
    file.write_text(line + "\n")
    file.chmod(mode)
    _from_file(str(file))
    said = capsys.readouterr().err
    assert (
        f"others can read the {line.partition(' ')[0].replace('-', '_')} in it; chmod 600 {file}" in said
    ) is told
    assert "secret" not in said


def test_a_configuration_without_secrets_may_be_read(tmp_path, capsys):
    file = tmp_path / "job.toml"
    file.write_text('reserve = "5%"\n')
    file.chmod(0o644)
    _from_file(str(file))
    assert capsys.readouterr().err == ""
