"""`--help` and click's own words in the language of the locale; what is said and what is translated are held together."""

import re

import pytest
from rich.cells import cell_len
from scripts import translations

from bucketpull.cli.translation import wrapped

CATALOGUES = sorted(translations.FOLDER.glob("*/LC_MESSAGES/bucketpull.po"))


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_every_text_has_a_translation_and_the_compiled_file_is_of_this_one(path):
    catalog = translations.updated(path)

    assert [message.id for message in catalog if message.id and not message.string] == [], "make translations"
    assert path.with_suffix(".mo").read_bytes() == translations.compiled(catalog), "make translations"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_values_and_options_stay_as_they_are(path):
    for message in translations.updated(path):
        for option in re.findall(r"--[a-z][a-z-]*", str(message.id)):
            assert option in str(message.string), message.id


@pytest.fixture
def chinese(user):
    user.environment |= {"LC_ALL": "zh_CN.UTF-8", "COLUMNS": "80"}
    return user


@pytest.mark.parametrize(
    "command", [(), ("sync",), ("volumes",), ("volumes", "add"), ("simulate",)], ids=" ".join
)
def test_help_is_chinese_and_fits_the_terminal(chinese, command):
    said = chinese.run(*command, "--help").stdout

    assert "用法" in said
    too_wide = [
        line for line in said.splitlines() if cell_len(line) > 80 and not line.startswith("  bucketpull ")
    ]
    assert too_wide == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sync", "--nope"), "没有选项 '--nope'"),
        (("nope",), "没有命令 'nope'"),
        (("where",), "缺少参数"),
        (("completion",), "缺少参数 '{bash|zsh|fish}'。可选：bash, zsh, fish；参见 "),  # noqa: RUF001
        (("syncc",), "没有命令 'syncc'。（您是指：'sync'？）参见 "),  # noqa: RUF001
        (("export",), "请只给出一种格式"),
        (("limit", "--job", "x"), "请指明改哪个限制"),
        (("sync", "upyun://photos", "disk1", "--verify", "all"), "'all' 不在"),
    ],
)
def test_what_click_says_of_bad_usage_is_chinese(chinese, arguments, words):
    said = chinese.run(*arguments, expect=2).stderr

    assert words in said
    assert "--help`" in said


def test_lines_break_at_spaces_and_after_chinese_characters_and_marks_stay_with_their_word():
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("\u4e00\u4e8c\u4e09\uff0c\u56db", 6) == ["\u4e00\u4e8c", "\u4e09\uff0c\u56db"]
    assert wrapped("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]
    assert all(cell_len(line) <= 20 for line in wrapped("\u4e00\uff08" * 40, 20))


def test_what_each_fault_of_the_simulator_does_is_said_in_chinese(chinese):
    lines = chinese.run("simulate", "--list-faults").stdout.splitlines()

    assert len(lines) > 50
    assert all(re.search("[\u4e00-\u9fff]", line) for line in lines)


def test_what_stands_below_the_help_is_chinese(chinese):
    assert "按 Ctrl-C 停止" in chinese.run("simulate", "--help").stdout


def test_plan_doctor_and_topics_of_help_are_chinese(chinese, bucket):
    chinese.knows(bucket("flat:100,size=500"))

    said = chinese.run("doctor", "upyun://photos", "disk1").stdout
    said += chinese.run("plan", "upyun://photos", "disk1").stdout
    said += chinese.run("help", "exit-codes").stdout

    assert [word for word in ("通过", "凭证", "放得下", "保留空间之外", "已中断") if word not in said] == []
    assert [word for word in ("pass", "fits", "listed", "interrupted") if word in said] == []


def test_what_is_put_together_of_several_parts_is_chinese(chinese, bucket):
    chinese.knows(bucket("flat:3,size=300")).run("sync", "upyun://photos", "disk1", "--quiet")

    verified = chinese.run("verify", "disk1", "--hash").stderr
    served = chinese.run("serve", "nodisk", expect=2).stderr

    assert "3 个对象" in verified
    assert "其中 3 个比对了 MD5" in verified
    assert "磁盘 nodisk" in served
    assert "无法打开" in served
    assert "is away" not in served
