"""Every text of the reporters, in English and Chinese; the locale chooses.

Names that programs read (states, reasons, JSON) are never translated.
"""

# ruff: noqa: RUF001 - Chinese has its own punctuation

from collections.abc import Mapping

from bucketpull.report.messages import in_chinese

_TEXTS: dict[str, tuple[str, str]] = {
    "state.starting": ("starting", "启动中"),
    "state.listing": ("listing", "列举中"),
    "state.transferring": ("transferring", "传输中"),
    "state.finishing": ("finishing", "收尾中"),
    "state.paused": ("paused", "已暂停"),
    "state.no-room": ("no room", "磁盘已满"),
    "state.budget-spent": ("budget spent", "额度已用完"),
    "state.waiting": ("waiting", "等待中"),
    "state.complete": ("complete", "已完成"),
    "state.incomplete": ("incomplete", "不完整"),
    "state.interrupted": ("interrupted", "已中断"),
    "state.refused": ("refused", "被拒绝"),
    "endpoint.slow": ("slow", "缓慢"),
    "endpoint.refusing": ("refuses", "拒绝"),
    "endpoint.down": ("down", "无应答"),
    "volume.open": ("open", "可用"),
    "volume.full": ("full", "已满"),
    "volume.draining": ("draining", "停用中"),
    "volume.sick": ("sick", "故障"),
    "volume.lost": ("lost", "丢失"),
    "volume.away": ("away", "离线"),
    "limit.source": ("the source", "源站"),
    "limit.cdn": ("the CDN", "CDN"),
    "limit.disk": ("the disks", "磁盘"),
    "limit.cpu": ("the processor", "处理器"),
    "limit.rate": ("--rate", "--rate"),
    "limit.bandwidth": ("--bandwidth", "--bandwidth"),
    "limit.work": ("the listing", "列举速度"),
    "waiting_for": ("waiting for {}, {}", "正在等待 {}，已 {}"),
    "limited": ("limited by {}", "受限于{}"),
    "limit": ("limited by", "受限于"),
    "left": ("left {}", "剩余 {}"),
    "left.least": ("left at least {}", "至少剩余 {}"),
    "left.band": ("{} to {}", "{} 至 {}"),
    "left.ending": ("stopping: what is in hand is brought to its end", "正在停止：手头的工作收尾中"),
    "left.unknown": ("time left not known yet", "剩余时间尚不可知"),
    "of": ("{} of {}", "{} / {}"),
    "so_far": ("{} so far", "已取 {}"),
    "more": ("{} listed, more to come", "已列举 {}，仍在继续"),
    "all_listed": ("all {} listed", "共 {} 个，列举完毕"),
    "listing": ("listing", "列举"),
    "listed": ("listed", "列举"),
    "stored": ("stored", "已存"),
    "skipped": ("skipped", "跳过"),
    "excluded": ("excluded", "已排除"),
    "failed": ("failed", "失败"),
    "vanished": ("vanished", "已消失"),
    "doubts": ("stored in doubt", "存疑入库"),
    "duplicates": ("listed twice", "重复列举"),
    "outstanding": ("outstanding", "未完成"),
    "directories": ("directories", "目录"),
    "pages": ("pages", "页"),
    "objects": ("objects", "对象"),
    "bytes": ("bytes", "字节"),
    "volume": ("volume", "磁盘"),
    "volumes": ("volumes", "磁盘"),
    "fetched": ("fetched", "已下载"),
    "stages": ("stages", "阶段"),
    "stage.listed": ("listed", "列举"),
    "stage.placed": ("placed", "分配"),
    "stage.fetched": ("fetched", "下载"),
    "stage.written": ("written", "写入"),
    "stage.settled": ("settled", "落盘"),
    "stage.booked": ("booked", "入账"),
    "holds": ("holds", "存有"),
    "machine": ("machine", "机器"),
    "machines": ("machines", "机器"),
    "free": ("free", "可用"),
    "speed": ("speed", "速度"),
    "now": ("now", "当前"),
    "mean": ("mean", "平均"),
    "time": ("time", "用时"),
    "traffic": ("traffic", "流量"),
    "spent": ("{} received, {} requests, in all runs", "共收到 {}，发出 {} 次请求（含历次运行）"),
    "wasted": ("wasted", "浪费"),
    "cost": ("cost", "费用"),
    "retries": ("retries", "重试"),
    "failures": ("failures", "失败"),
    "in_flight": ("in flight", "传输中请求"),
    "level": ("of {} allowed", "上限 {}"),
    "state": ("state", "状态"),
    "and_more": ("and {} more", "另有 {} 个"),
    "refused": ("the source refuses us: {}; {} ({})", "源站拒绝访问：{}；{}（{}）"),
    "exit": ("exit {}: {}", "退出码 {}：{}"),
    "exit.0": ("all that was listed is in place", "列举到的对象已全部就位"),
    "exit.3": (
        "something failed or is missing; `bucketpull failures` says what, `bucketpull retry` tries again",
        "有对象失败或缺失；`bucketpull failures` 查看原因，`bucketpull retry` 重试",
    ),
    "exit.4": (
        "the source refused us; check operator, password and bucket",
        "源站拒绝访问；请检查操作员、密码和服务名",
    ),
    "exit.5": (
        "no volume can take more; add one or free space, then run the same command again",
        "没有磁盘可再写入；请添加磁盘或腾出空间，然后重新运行同一命令",
    ),
    "exit.6": (
        "a total budget is spent; give a larger one and run the same command again to go on",
        "总预算已用完；请给出更大的预算，然后重新运行同一命令继续",
    ),
    "exit.130": (
        "interrupted; run the same command again to go on",
        "已中断；重新运行同一命令即可继续",
    ),
    "id": ("id", "编号"),
    "inodes": ("inodes", "inode"),
    "never_run": ("it has not run yet", "尚未运行"),
    "unbalanced": (
        "the books do not balance: {} listed, {} accounted for",
        "账目不平：列举 {}，已入账 {}",
    ),
}


class Words:
    """The texts in one language, "en" or "zh"."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self._index = 1 if language == "zh" else 0

    def __call__(self, key: str, *values: object) -> str:
        """Return a text with its values filled in; a key without a text is its own text."""
        texts = _TEXTS.get(key)
        if texts is None:
            return key.rpartition(".")[2]
        return texts[self._index].format(*values)

    def message(self, text: str) -> str:
        """Return what an error or a note says, in this language."""
        return in_chinese(text) if self._index else text


def language_of(environ: Mapping[str, str]) -> str:
    """Return "zh" if the locale is Chinese and can show it (UTF-8, GBK, GB18030 or unsaid), else "en"."""
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"
