"""What a failure's reason means and what to do about it, in English and Chinese: one table for CLI and dashboard."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

from typing import NamedTuple

from bucketpull.domain.errors import Reason


class Explanation(NamedTuple):
    """One reason in words: what happened, and what the operator can do."""

    meaning: str
    remedy: str


_ENGLISH: dict[Reason, Explanation] = {
    Reason.GONE: Explanation("deleted at the source after it was listed", "nothing to do"),
    Reason.THROTTLED: Explanation("the source asks for fewer requests", "nothing to do; or set --rate"),
    Reason.BANNED: Explanation(
        "the source blocks this address for a while", "wait, then lower --rate or --concurrency"
    ),
    Reason.CONNECT: Explanation("no connection", "check the network and the firewall, then retry"),
    Reason.DNS: Explanation("the host name could not be resolved", "check the resolver, then retry"),
    Reason.TLS: Explanation(
        "no secure connection", "check the domain's certificate and this machine's clock"
    ),
    Reason.TIMEOUT: Explanation("no answer in time", "retry; lower --concurrency if there are many"),
    Reason.STALLED: Explanation("the transfer came to a standstill", "retry"),
    Reason.RESET: Explanation("the connection was cut", "retry"),
    Reason.TRUNCATED: Explanation("fewer bytes came than were announced", "retry"),
    Reason.SERVER_ERROR: Explanation("the source answered with a 5xx status", "retry later"),
    Reason.GARBAGE: Explanation("the answer was not understood", "retry; look for a proxy in between"),
    Reason.CURSOR: Explanation(
        "the listing could not go on where it was", "retry; the directory is listed again"
    ),
    Reason.CLOCK: Explanation("the request's time was refused", "set this machine's clock"),
    Reason.MISSING: Explanation(
        "listed, but neither CDN nor origin has it", "check it in the console, then retry"
    ),
    Reason.SIZE: Explanation(
        "its size is not the listed one", "it may have been replaced; run sync again, purge the CDN's cache"
    ),
    Reason.STALE: Explanation(
        "the CDN has an older version than the listed one", "purge the CDN's cache, then retry"
    ),
    Reason.CHECKSUM: Explanation("its checksum is not the listed one", "purge the CDN's cache, then retry"),
    Reason.TRANSFORMED: Explanation(
        "the CDN changed the bytes (WebP, gzip)", "switch the CDN's image optimization off, then retry"
    ),
    Reason.WRONG_CONTENT: Explanation(
        "a page of text came instead of the object", "check the CDN domain's access rules"
    ),
    Reason.REDIRECTED: Explanation("the source redirects elsewhere", "check the domain's settings"),
    Reason.RANGE: Explanation("the rest of a large object did not fit its beginning", "retry"),
    Reason.FORBIDDEN: Explanation(
        "the CDN refuses (hotlink protection, token)", "allow this machine or set UPYUN_TOKEN_SECRET"
    ),
    Reason.REJECTED: Explanation("the source refuses this object", "read the last answer"),
    Reason.NOT_A_FILE: Explanation("listed as a file, but it is a folder", "check it in the console"),
    Reason.NOT_FOUND: Explanation("the list names it, but there is none", "check the list"),
    Reason.ARCHIVED: Explanation(
        "in an archive storage class (such as GLACIER)", "restore it at the source, then retry"
    ),
    Reason.CREDENTIALS: Explanation(
        "the source refuses the credentials",
        "check UPYUN_OPERATOR and UPYUN_PASSWORD, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    Reason.PERMISSION: Explanation(
        "these credentials may not read the bucket", "grant them read permission in the console"
    ),
    Reason.NO_BUCKET: Explanation("there is no such bucket or folder", "check their names"),
    Reason.REGION: Explanation("the bucket is in another region", "set --region to the one that is named"),
    Reason.UNSTORABLE: Explanation(
        "the disk cannot hold it: its name, its size, or what lies in its place",
        "read the last answer; remove what is in the way, or fetch it by hand",
    ),
    Reason.UNWRITTEN: Explanation(
        "the disk failed to write it several times, and took other files",
        "check the disk (dmesg), then retry",
    ),
    Reason.MACHINE: Explanation(
        "this machine lacks open files or memory", "raise `ulimit -n` or lower --concurrency, then retry"
    ),
    Reason.VOLUME_FULL: Explanation("the volume is full", "add a volume or free space, then retry"),
    Reason.VOLUME_SICK: Explanation("the volume answers with errors", "check the disk, then retry"),
    Reason.POISON: Explanation("its batch ended processes again and again", "send us the journal's log"),
    Reason.INTERRUPTED: Explanation("stopped by you", "run the same command again"),
}

_CHINESE: dict[Reason, Explanation] = {
    Reason.GONE: Explanation("列举之后在源站被删除", "无需处理"),
    Reason.THROTTLED: Explanation("源站要求降低请求频率", "无需处理，或设置 --rate"),
    Reason.BANNED: Explanation("源站暂时封禁了本机地址", "稍候，并调低 --rate 或 --concurrency"),
    Reason.CONNECT: Explanation("无法建立连接", "检查网络和防火墙后重试"),
    Reason.DNS: Explanation("域名解析失败", "检查 DNS 后重试"),
    Reason.TLS: Explanation("无法建立安全连接", "检查域名证书和本机时间"),
    Reason.TIMEOUT: Explanation("等待响应超时", "重试；若数量较多请调低 --concurrency"),
    Reason.STALLED: Explanation("传输停滞", "重试"),
    Reason.RESET: Explanation("连接被中断", "重试"),
    Reason.TRUNCATED: Explanation("收到的字节少于声明的长度", "重试"),
    Reason.SERVER_ERROR: Explanation("源站返回 5xx 状态", "稍后重试"),
    Reason.GARBAGE: Explanation("无法理解的响应", "重试；检查中间是否有代理"),
    Reason.CURSOR: Explanation("列举无法从原位置继续", "重试；该目录将重新列举"),
    Reason.CLOCK: Explanation("请求时间被拒绝", "校准本机时间"),
    Reason.MISSING: Explanation("已列举，但 CDN 和源站均无此对象", "在控制台确认后重试"),
    Reason.SIZE: Explanation("大小与列举不符", "对象可能已被替换；重新 sync，或刷新 CDN 缓存"),
    Reason.STALE: Explanation("CDN 上的版本比列举的旧", "刷新 CDN 缓存后重试"),
    Reason.CHECKSUM: Explanation("校验和与列举不符", "刷新 CDN 缓存后重试"),
    Reason.TRANSFORMED: Explanation("CDN 改动了内容（WebP、gzip）", "关闭 CDN 的图片优化后重试"),
    Reason.WRONG_CONTENT: Explanation("返回的是文本页面而不是对象", "检查 CDN 域名的访问规则"),
    Reason.REDIRECTED: Explanation("源站重定向到别处", "检查域名设置"),
    Reason.RANGE: Explanation("大对象的续传部分与开头不符", "重试"),
    Reason.FORBIDDEN: Explanation("CDN 拒绝访问（防盗链、Token）", "放行本机，或设置 UPYUN_TOKEN_SECRET"),
    Reason.REJECTED: Explanation("源站拒绝该对象", "查看最后一次响应"),
    Reason.NOT_A_FILE: Explanation("列举为文件，实际是目录", "在控制台检查"),
    Reason.NOT_FOUND: Explanation("列表中有此对象，但源站不存在", "检查列表"),
    Reason.ARCHIVED: Explanation("处于归档存储类型（如 GLACIER）", "在源站解冻后重试"),
    Reason.CREDENTIALS: Explanation(
        "源站拒绝了凭证",
        "检查 UPYUN_OPERATOR 和 UPYUN_PASSWORD，或 AWS_ACCESS_KEY_ID 和 AWS_SECRET_ACCESS_KEY",
    ),
    Reason.PERMISSION: Explanation("该凭证没有读取权限", "在控制台授予读取权限"),
    Reason.NO_BUCKET: Explanation("服务（bucket）或目录不存在", "检查服务名和目录名"),
    Reason.REGION: Explanation("bucket 位于另一个地域", "把 --region 设为所提示的地域"),
    Reason.UNSTORABLE: Explanation(
        "磁盘无法存放：文件名、大小，或该位置已有他物", "查看最后一次响应；移开占位的文件，或手动下载"
    ),
    Reason.UNWRITTEN: Explanation("磁盘多次写入该对象失败，但能写入其他文件", "检查磁盘（dmesg）后重试"),
    Reason.MACHINE: Explanation("本机打开文件数或内存不足", "调大 `ulimit -n` 或调低 --concurrency 后重试"),
    Reason.VOLUME_FULL: Explanation("磁盘已满", "添加磁盘或腾出空间后重试"),
    Reason.VOLUME_SICK: Explanation("磁盘返回错误", "检查磁盘后重试"),
    Reason.POISON: Explanation("所在批次屡次导致进程退出", "请把日志发给我们"),
    Reason.INTERRUPTED: Explanation("由您中止", "重新运行同一命令"),
}


def explain(reason: str, language: str = "en") -> Explanation:
    """Say what a reason means and what to do, in "en" or "zh".

    Raises:
        ValueError: There is no such reason.

    """
    return (_CHINESE if language == "zh" else _ENGLISH)[Reason(reason)]


def translations() -> dict[str, str]:
    """Return the Chinese of each meaning and remedy, by the English."""
    pairs = ((_ENGLISH[reason], _CHINESE[reason]) for reason in Reason)
    return {english: chinese for pair in pairs for english, chinese in zip(*pair, strict=True)}
