"""What errors and notes say, in Chinese: a catalogue by the English text, whose `{}` stand for names and values.

The English text is where the error is raised; tests/report/test_messages.py holds the two together. What the operating system, a
library or the source said stays as it is.
"""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import re
from functools import cache

from bucketpull.report.reasons import translations

_CHINESE: dict[str, str] = {
    # what was asked for
    "configuration: {}": "配置：{}",
    "source {}: write {}": "来源 {}：请写成 {}",
    "the job's source is not understood: {}; are all machines of one version?": "无法理解任务的来源：{}；各台机器的版本是否一致？",
    "a token for workers: {} has none; set its credentials there": "工作机令牌：{} 没有这种令牌；请在工作机上设置其凭证",
    "source: bucket {} is no bucket name; write upyun://BUCKET[/FOLDER]": "来源：{} 不是服务名；请写成 upyun://BUCKET[/FOLDER]",
    "source: list_limit {} is not within 1 and {}": "来源：list_limit {} 不在 1 到 {} 之间",
    "source: style {} needs the bucket's CDN domain; give --cdn-url": "来源：图片版本 {} 需要空间的 CDN 域名；请给出 --cdn-url",
    "source: {} {} is no http:// or https:// URL": "来源：{} {} 不是 http:// 或 https:// 地址",
    "source: {} {} may have neither query, fragment nor user name": "来源：{} {} 不得带查询串、片段或用户名",
    "source: no operator; set UPYUN_OPERATOR": "来源：没有操作员；请设置 UPYUN_OPERATOR",
    "source: no password; set UPYUN_PASSWORD": "来源：没有密码；请设置 UPYUN_PASSWORD",
    "source: basic authorization sends the password, and {} is not https": "来源：basic 认证会发送密码，而 {} 不是 https",
    "source: a header, Referer, User-Agent or operator has a line break in it": "来源：请求头、Referer、User-Agent 或操作员中有换行",
    "source: header {} has no colon; write 'Name: value'": "来源：请求头 {} 没有冒号；请写成 'Name: value'",
    "CA file {}: cannot be read; name a file of PEM certificates": "CA 文件 {}：无法读取；请给出 PEM 证书文件",
    "a token is made of the password; set UPYUN_PASSWORD": "令牌由密码生成；请设置 UPYUN_PASSWORD",
    "--job: say whose work to do, with the name that the coordinator has": "--job：请给出协调者所用的任务名",
    "--job {}: a name without '/' and without a leading '.'": "--job {}：名称不得含 '/'，也不得以 '.' 开头",
    "--processes {}: from 1 to 256": "--processes {}：范围为 1 到 256",
    "--concurrency {}: 'auto' or a number from 1 to 100000": "--concurrency {}：'auto' 或 1 到 100000 的数字",
    "--rate {}: more than 0": "--rate {}：必须大于 0",
    "--dir {}: is no folder": "--dir {}：不是文件夹",
    "--dir {}: {}; name a folder that can be made": "--dir {}：{}；请给出可以创建的文件夹",
    "--summary {}: {} is no folder that can be written": "--summary {}：{} 不是可写的文件夹",
    "--dashboard {}: write HOST:PORT, such as 127.0.0.1:8377": "--dashboard {}：请写成 HOST:PORT，例如 127.0.0.1:8377",
    "--dashboard needs {}: pip install 'bucketpull[web]'": "--dashboard 需要 {}：pip install 'bucketpull[web]'",
    "--config {}: unknown name {}{}": "--config {}：未知名称 {}{}",
    "--reserve: {} is more than the whole volume": "--reserve：{} 超过整块磁盘的大小",
    "{}: {} is no size; write a number with K, M, G or T, such as 100M": "{}：{} 不是大小；请写数字加 K、M、G 或 T，例如 100M",
    "{}: {} is no time; write seconds, such as 30": "{}：{} 不是时间；请写秒数，例如 30",
    "{}: empty; write a limit such as 100M, or 'off'": "{}：为空；请写上限，例如 100M，或 'off'",
    "{}: {} gives one time twice": "{}：{} 中同一时刻出现两次",
    "{}: {} is no time and limit; write them as 08:00,10M": "{}：{} 不是时刻和上限；请写成 08:00,10M",
    "{}: {} would stop everything; write 'off' for no limit": "{}：{} 会停止一切；不限速请写 'off'",
    "export --parquet: {}, or export --jsonl": "export --parquet：{}，或使用 export --jsonl",
    "give a FILE to write": "请给出要写入的 FILE",
    "{}: not written: {}; name a file that can be": "{}：未能写入：{}；请给出可写的文件",
    "dashboard: {}": "仪表板：{}",
    "standard output: {}; make room, or write elsewhere": "标准输出：{}；请腾出空间，或写到别处",
    "--summary {}: not written: {}": "--summary {}：未能写入：{}",
    "{} lines were dropped: nobody read them in time, or the disk was full": "丢弃了 {} 行：无人及时读取，或磁盘已满",
    "plan: no object in {} pages of the listing; say --sample with more": "plan：列举的 {} 页中没有对象；请用 --sample 增加页数",
    # the job and its journal
    "which job? Name it with --job{}": "哪个任务？请用 --job 指定{}",
    "which job? Name it by SOURCE (upyun://BUCKET), --job or --state": "哪个任务？请用 SOURCE（upyun://BUCKET）、--job 或 --state 指定",
    "no journal in {}; name the job with --job or its folder with --state{}": "{} 中没有日志；请用 --job 指定任务，或用 --state 指定其文件夹{}",
    "no job in {}; start one with `bucketpull sync`, or say --state": "{} 中没有任务；请用 `bucketpull sync` 开始，或给出 --state",
    "; known jobs: {}": "；已有任务：{}",
    "journal {}: there is none; see --state and --job": "日志 {}：不存在；请检查 --state 和 --job",
    "journal {}: there is one; move the folder away first, or name another with --state": "日志 {}：已存在；请先移走该文件夹，或用 --state 指定别的文件夹",
    "journal {} is in use by {}: wait for it or stop it; for a second job at the same time give another --job or --state": "日志 {} 正被 {} 使用：请等待或停止它；要同时运行另一任务，请给出别的 --job 或 --state",
    "journal {} is of another job than {}: {}; go on with the former settings, or give the new job its own --job or --state": "日志 {} 属于另一任务，不是 {}：{}；请沿用原来的设置，或为新任务给出自己的 --job 或 --state",
    "{} was {} and is {}": "{} 原为 {}，现为 {}",
    "journal {}: its job runs. It tries failures again by itself before it ends; stop it, or wait for its end, then say `bucketpull retry`": "日志 {}：任务正在运行，结束前会自动重试失败的对象；请停止它或等它结束，再运行 `bucketpull retry`",
    "journal {}: its coordinator does not answer ({}); ask as the same user, or stop it first": "日志 {}：其协调者没有应答（{}）；请以同一用户身份询问，或先停止它",
    "journal {}: work is outstanding; end it with `bucketpull sync`, then repair": "日志 {}：还有未完成的工作；请先用 `bucketpull sync` 完成，再修复",
    "journal {}: {} MiB free on its disk, {} MiB are needed: make room or move the folder with --state": "日志 {}：所在磁盘剩余 {} MiB，需要 {} MiB：请腾出空间，或用 --state 换文件夹",
    "journal {}: {}; give a folder that can be written with --state": "日志 {}：{}；请用 --state 给出可写的文件夹",
    "journal {}: schema version {} is newer than this program's {}: update bucketpull": "日志 {}：格式版本 {} 比本程序的 {} 新：请升级 bucketpull",
    "journal {}: schema version {} is older than {}: run `bucketpull sync` once to bring it up": "日志 {}：格式版本 {} 比 {} 旧：请运行一次 `bucketpull sync` 以升级",
    "journal {}: {}; its volumes know what they hold: move it away and make a new one with `bucketpull rebuild`": "日志 {}：{}；磁盘上的账本记有已存内容：请移走它，用 `bucketpull rebuild` 重建",
    "journal {}: {}": "日志 {}：{}",
    # volumes
    "no volume: give at least one folder to store in": "没有磁盘：请至少给出一个存放文件的文件夹",
    "volume {}: is no folder": "磁盘 {}：不是文件夹",
    "volume {}: there is no {}; is the disk mounted?": "磁盘 {}：没有 {}；磁盘挂载了吗？",
    "volume {}: there is none; is the disk mounted?": "磁盘 {}：不存在；磁盘挂载了吗？",
    "volume {}: given twice": "磁盘 {}：给出了两次",
    "volume {}: held volume {} of this job and is empty now. Mount the disk; if it is lost, say `bucketpull volumes lost {}`": "磁盘 {}：原为本任务的磁盘 {}，现在是空的。请挂载它；若已丢失，请运行 `bucketpull volumes lost {}`",
    "volume {}: was given up as lost ({}), so what it holds was fetched again; empty the disk to use it, or `bucketpull rebuild` a new journal from all disks": "磁盘 {}：已作为丢失放弃（{}），其内容已重新下载；清空后可再用，或用 `bucketpull rebuild` 由全部磁盘重建日志",
    "volume {}: was given up as lost ({}); empty it to use it again": "磁盘 {}：已作为丢失放弃（{}）；清空后可再用",
    "volume {}: was given up as lost": "磁盘 {}：已作为丢失放弃",
    "volume {}: is in use by process {}; end it first": "磁盘 {}：正被进程 {} 使用；请先结束它",
    "volume {}: is in use by process {}; repair it when that has ended": "磁盘 {}：正被进程 {} 使用；请在它结束后修复",
    "volume {} ({}) is in use by process {}; end it, or give another volume": "磁盘 {}（{}）正被进程 {} 使用；请结束它，或给出别的磁盘",
    "volume {}: this coordinator has no disks; run `bucketpull work` with it on its machine": "磁盘 {}：协调者本身没有磁盘；请在磁盘所在的机器上运行 `bucketpull work`",
    "volume {}: the worker did not heed within {} s": "磁盘 {}：工作者在 {} 秒内没有照办",
    "volume {}: the job has no such id; `bucketpull volumes` lists them": "磁盘 {}：任务中没有这个编号；`bucketpull volumes` 可列出",
    "volume {}: the running job does not use it; `bucketpull volumes` lists them": "磁盘 {}：正在运行的任务没有使用它；`bucketpull volumes` 可列出",
    "volume {}: is {}; known are: {}": "磁盘 {}：{}；已知：{}",
    "volume {} is not in journal {}; known are: {}": "磁盘 {} 不在日志 {} 中；已知：{}",
    "volume {}: is no volume; is the disk mounted?": "磁盘 {}：不是本程序的磁盘；磁盘挂载了吗？",
    "volume {}: is no volume yet": "磁盘 {}：还不是本程序的磁盘",
    "volume {}: holds volume {} instead of {}; mount the right disk": "磁盘 {}：是磁盘 {}，应为 {}；请挂载正确的磁盘",
    "volume {}: is no longer the disk of volume {}; mount it again": "磁盘 {}：不再是磁盘 {}；请重新挂载",
    "volume {}: is mounted read-only; see `dmesg`, check the file system, mount it read-write": "磁盘 {}：以只读方式挂载；请查看 `dmesg`，检查文件系统，再以读写方式挂载",
    "volume {}: has format {}, this version knows {}; use the version that made it": "磁盘 {}：格式为 {}，本版本只认识 {}；请使用创建它的版本",
    "volume {}: {} not understood: {}": "磁盘 {}：无法理解 {}：{}",
    "volume {}: ledger is damaged from byte {} to its end at {}": "磁盘 {}：账本从第 {} 字节到结尾 {} 已损坏",
    "volume {}: {}; free some space, or add a volume": "磁盘 {}：{}；请腾出空间，或添加磁盘",
    "volume {}: {}; see `dmesg` and the disk's health": "磁盘 {}：{}；请查看 `dmesg` 和磁盘健康状况",
    "volume {}: {}": "磁盘 {}：{}",
    # several machines
    "--broker: say where RabbitMQ is, such as amqp://USER:PASSWORD@HOST/VHOST": "--broker：请给出 RabbitMQ 的地址，例如 amqp://USER:PASSWORD@HOST/VHOST",
    "--broker: write amqp://USER:PASSWORD@HOST:PORT/VHOST (or amqps://)": "--broker：请写成 amqp://USER:PASSWORD@HOST:PORT/VHOST（或 amqps://）",
    "--broker: it does not let us in: {}": "--broker：消息服务器拒绝登录：{}",
    "the broker cannot be reached: {}; check --broker, and whether it runs": "无法连接消息服务器：{}；请检查 --broker 以及它是否在运行",
    "the broker does not answer; check --broker, and whether it runs": "消息服务器没有应答；请检查 --broker 以及它是否在运行",
    "another coordinator has job {}: stop it first, or give another --job": "任务 {} 已有另一个协调者：请先停止它，或给出别的 --job",
    "another worker of this job is machine {}: give another --machine": "本任务已有名为 {} 的机器：请给出别的 --machine",
    "refused by the coordinator: {}": "被协调者拒绝：{}",
    "{} is too long for the name of a queue: choose a shorter --job or --machine": "{} 作为队列名太长：请用更短的 --job 或 --machine",
    "job {}: no coordinator of it is at this broker; check --job, or start `bucketpull coordinate`": "任务 {}：此消息服务器上没有它的协调者；请检查 --job，或运行 `bucketpull coordinate`",
    "job {}: its coordinator does not answer in {} s": "任务 {}：其协调者在 {} 秒内没有应答",
    "job {}: its coordinator is of another version ({}); install the same here": "任务 {}：其协调者是另一版本（{}）；请在此安装相同版本",
    "no new worker process can be made: {}": "无法创建新的工作进程：{}",
    # what commands tell
    "the first {}; choose others with --reason or --match": "仅前 {} 个；用 --reason 或 --match 选择其他",
    "no such failure": "没有这样的失败",
    "nothing has failed": "没有失败",
    "{} shown of {}": "显示 {} 个，共 {} 个",
    "{} failed; `bucketpull retry` makes them work again": "{} 个失败；`bucketpull retry` 让它们重新成为待办",
    "waiting for the coordinator of job {}": "正在等待任务 {} 的协调者",
    "A simulated UPYUN listens on localhost.": "本机上运行着一个模拟的又拍云。",
    "Its bucket is pulled by the command that would pull a real one:": "拉取它的空间所用的命令，与拉取真实空间的相同：",
    "The files are in {}.": "文件在 {} 中。",
    "Run it again to see that nothing is fetched twice. Look at the job with": "再运行一次，可以看到没有任何文件重复下载。查看任务：",
    "Run it again to see it go on from here.": "再运行一次，即可从这里继续。",
    "volume {}; its objects are missing here": "磁盘 {}；此处缺少它的对象",
    "{} objects in {}": "{} 个对象，写入 {}",
    "volume {}: is on the file system of {}; its room counts once": "磁盘 {}：与 {} 在同一文件系统上；空间只计一次",
    "volume {}; what it recorded will be fetched again": "磁盘 {}；它所记录的内容将重新下载",
    "volume {} ({}): {}: {}": "磁盘 {}（{}）：{}：{}",
    "{} objects, {}, {} compared with their MD5": "{} 个对象，{}，其中 {} 个比对了 MD5",
    "{} objects, {}": "{} 个对象，{}",
    "all as recorded": "与记录完全一致",
    "volume {}: process {} writes to it now, so extra files are not looked for": "磁盘 {}：进程 {} 正在写入，因此不查找多余的文件",
    "extra files and damage of a ledger cannot be repaired; look at them, and remove what is not wanted": "多余的文件和账本的损坏无法修复；请查看，并删除不需要的",
    "volume {}: {} objects are not at the source any more, and stay missing": "磁盘 {}：{} 个对象在源站已不存在，仍然缺失",
    "volume {}: {} objects, {} so far": "磁盘 {}：已查 {} 个对象，{}",
    "the job has no volumes yet": "任务还没有磁盘",
    "volume {} ({}) is in use": "磁盘 {}（{}）已投入使用",
    "volume {} ({}) takes no new objects; what it holds stays": "磁盘 {}（{}）不再写入新对象；已有内容保留",
    "volume {} is given up; {} pages are listed again for what it held": "磁盘 {} 已放弃；为其内容重新列举 {} 页",
    "{}: is on no volume of this job; `bucketpull failures --match` says whether it failed": "{}：不在本任务的任何磁盘上；用 `bucketpull failures --match` 查看它是否失败",
    "{}: ask on that machine, or mount the volume, to be sure": "{}：请到那台机器上查询，或挂载该磁盘以确认",
    "{}: recorded, but not there any more; `bucketpull verify` says what else is missing": "{}：有记录，但文件已不在；用 `bucketpull verify` 查看还缺什么",
    # notes while a job runs
    "stopping; once more to leave at once": "正在停止；再按一次立即退出",
    "nothing has come for {}: {} ({}, {} times); {}": "已有 {} 没有任何进展：{}（{}，{} 次）；{}",
    "volume {} is full: {}; free some space, add a volume, or lower --reserve": "磁盘 {} 已满：{}；请腾出空间、添加磁盘，或调低 --reserve",
    "no bytes left above the reserve": "保留空间之外已无剩余字节",
    "no inodes left": "已无剩余 inode",
    "volume {} is open": "磁盘 {} 恢复可用",
    "volume {} is {}: {}": "磁盘 {} 现为 {}：{}",
    "volume {} ({}) was added": "已添加磁盘 {}（{}）",
    "volume {} is not at {}: what it holds counts as stored, and is fetched again where listed pages changed; mount it, name its new path, or give it up with `bucketpull volumes lost {}`": "磁盘 {} 不在 {}：其内容仍计为已存，列表页有变动处则重新下载；请挂载它，给出新路径，或用 `bucketpull volumes lost {}` 放弃",
    "{}; until then what it holds counts as stored": "{}；在此之前其内容仍计为已存",
    "{}: no socket there ({}); give another --state to steer the job": "{}：无法在那里创建套接字（{}）；要操控任务请给出别的 --state",
}


def in_chinese(text: str) -> str:
    """Return a message in Chinese, as far as the catalogue has it; names and values stay as they are."""
    for pattern, chinese in _patterns():
        found = pattern.fullmatch(text)
        if found:
            return chinese.format(*(in_chinese(value) for value in found.groups()))
    return text


def english() -> list[str]:
    """Return the English texts of the catalogue."""
    return list(_CHINESE)


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return the catalogue, what says most first: `journal {}: {}` fits nearly everything."""
    texts = sorted((_CHINESE | translations()).items(), key=lambda item: -len(item[0].replace("{}", "")))
    return [(re.compile(re.escape(text).replace(r"\{\}", "(.*?)"), re.DOTALL), said) for text, said in texts]
