"""Errors and notes in another language: the catalogue has what the code says, and nothing else."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import errno
import os
import re
import string
from io import BytesIO

import pytest
from babel.messages.pofile import read_po
from scripts import translations

from bucketpull.domain.retry import BOUNDS
from bucketpull.report.reasons import explain, remedy_while_running
from bucketpull.report.words import Words, translated
from bucketpull.volumes.os_errors import volume_error

HAN = "[\u4e00-\u9fff]"


def chinese():
    path = translations.FOLDER / "zh/LC_MESSAGES/bucketpull.po"
    return read_po(BytesIO(path.read_bytes()))


def in_catalogue(*contexts):
    """Return the English texts of the Chinese catalogue."""
    return [str(entry.id) for entry in chinese() if entry.context in contexts]


def test_a_space_stands_between_chinese_and_latin():
    words = Words("zh")
    limits = [
        words("limited", words(f"limit.{name}")) for name in ("source", "cdn", "disk", "rate", "bandwidth")
    ]
    texts = [str(entry.string) for entry in chinese()]

    assert [
        text for text in [*limits, *texts] if re.search(f"{HAN}[-A-Za-z0-9]|[A-Za-z0-9]{HAN}", text)
    ] == []


def test_every_text_of_the_catalogue_is_said_somewhere():
    written = "".join(path.read_text() for path in translations.SOURCE.rglob("*.py"))
    code = re.sub(r"\{counted\([^{}]*, '([a-z ]+)'\)\}", r"{} \1", written)
    texts = in_catalogue("message", "check")
    pieces = {piece.strip() for text in texts for piece in text.split("{}") if len(piece.strip()) > 12}

    lost = {piece for piece in pieces if piece[:30] not in code and piece[-12:] not in code}

    assert not lost


def test_names_and_values_stay_as_they_are_in_both_languages():
    for text in in_catalogue("message"):
        values = [f"«{letter}»" for letter in string.ascii_letters[: text.count("{}")]]
        said = translated(text.format(*values), "zh")
        assert all(value in said for value in values), said


def test_what_is_said_inside_of_a_message_is_said_in_chinese_too():
    meaning, remedy = explain("connect")[0], remedy_while_running("connect")

    said = translated(
        f"nothing has come for 20 s: {meaning} (connect, 7 times; asked: http://h:1); {remedy}", "zh"
    )

    assert (
        said
        == "已有 20 秒没有任何进展：无法建立连接（connect，7 次；请求的是 http://h:1）；检查网络、防火墙和代理（如有）"
    )


def test_a_duration_in_a_message_is_said_in_chinese():
    said = translated("something comes from the source again, after 1 min 22 s", "zh")

    assert said == "源站恢复响应，此前中断 1 分 22 秒"
    assert translated("5 s of silence", "zh") == "5 s of silence"


@pytest.mark.parametrize(
    "text",
    [
        "has 3 bytes instead of 4",
        "its pack has SHA-256 12 instead of 34, and it has no MD5 that clears it",
        "the description beside it is damaged: it tells of another object",
        "ends at byte 512 instead of 1024",
        "the header at byte 512, of what was replaced or removed, is damaged: who reads the pack from its beginning stops there",
    ],
)
def test_what_verify_finds_is_said_in_chinese(text):
    said = translated(text, "zh")

    assert not re.search("[a-z]{3}", said), said


def test_what_unpack_says_is_said_in_chinese():
    damaged = "volume d: a.jpg in pack 012345-0-000000 is damaged; `bucketpull verify d --hash --repair` fetches it again"
    kept = "had 1 file of others where objects belong: kept as NAME.kept, see .bucketpull/kept.txt"
    theirs = ".bucketpull belongs to user 65534; run as that user, or look at what is in it and give it to this one with chown -R"

    assert translated(damaged, "zh").startswith("磁盘 d：包 012345-0-000000 中的 a.jpg 已损坏")
    assert translated(f"volume d: {kept}", "zh").startswith("磁盘 d：对象的位置上有 1 个他人的文件")
    assert translated(f"volume d: {theirs}", "zh").startswith("磁盘 d：.bucketpull 属于用户 65534")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "请查看 `dmesg`，检查文件系统，再以读写方式挂载"),
        (errno.EIO, "请查看 `dmesg` 和磁盘健康状况"),
        (errno.ENOSPC, "请腾出空间，或添加磁盘"),
        (errno.EACCES, "请给此用户写入权限（chown、chmod、chattr -i）"),
    ],
)
def test_what_ails_a_volume_is_said_in_chinese_whether_its_name_stands_before_it_or_not(number, advice):
    system = os.strerror(number)
    detail = volume_error("/mnt/d1", "file not written", OSError(number, system)).detail

    assert translated(detail, "zh") == f"文件未写入：{system}；{advice}"
    assert translated(f"volume /mnt/d1 is sick: {detail}", "zh") == (
        f"磁盘 /mnt/d1 出现故障：文件未写入：{system}；{advice}"
    )
    assert translated(f"volume /mnt/d1: {detail}", "zh") == f"磁盘 /mnt/d1：文件未写入：{system}；{advice}"


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("is no longer the disk of volume b0d2; mount it again", "不再是磁盘 b0d2；请重新挂载"),
        (
            "is mounted read-only; see `dmesg`, check the file system, mount it read-write",
            "以只读方式挂载；请查看 `dmesg`，检查文件系统，再以读写方式挂载",
        ),
    ],
)
def test_what_a_measurement_finds_is_said_in_chinese_whether_the_volume_is_named_before_it_or_not(
    detail, said
):
    assert translated(detail, "zh") == said
    assert translated(f"volume /mnt/d1 is sick: {detail}", "zh") == f"磁盘 /mnt/d1 出现故障：{said}"
    assert translated(f"volume /mnt/d1: {detail}", "zh") == f"磁盘 /mnt/d1：{said}"


def test_what_a_server_answers_stays_as_it_is():
    said = translated("HTTP 401 40100006: user not exists", "zh", "check")

    assert said == "HTTP 401 40100006：user not exists"


def test_the_variables_of_the_credentials_are_joined_in_chinese():
    names = ["UPYUN_OPERATOR", "UPYUN_PASSWORD"]

    assert explain("credentials", "zh", names)[1] == "请检查 UPYUN_OPERATOR 和 UPYUN_PASSWORD"
    assert explain("credentials", "en", names)[1] == "check UPYUN_OPERATOR and UPYUN_PASSWORD"


def test_a_text_without_a_translation_stays_as_it_is():
    assert translated("Errno 5: input/output error", "zh") == "Errno 5: input/output error"
    assert translated("journal /j/journal.db: disk I/O error", "zh") == "日志 /j/journal.db：disk I/O error"


def test_what_only_doctor_says_is_no_translation_of_others_words():
    assert translated("a picture is on tmpfs", "zh") == "a picture is on tmpfs"
    assert translated("disk1 is on tmpfs", "zh", "check") == "disk1 在 tmpfs 上"


def test_every_reason_is_explained_in_chinese():
    for reason in BOUNDS:
        assert explain(reason, "zh") != explain(reason)


def test_a_place_in_a_configuration_is_said_in_chinese():
    text = "--config photos.toml, line 3: unknown name 'rat'; did you mean 'rate'?"
    assert translated(text, "zh") == "--config photos.toml，第 3 行：未知名称 'rat'；您是指 'rate' 吗？"
