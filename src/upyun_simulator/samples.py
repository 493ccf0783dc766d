"""Two written buckets: one that looks like a real site's, and one with every name that breaks naive clients."""

from zlib import crc32

from upyun_simulator.explicit import Explicit, plain_item
from upyun_simulator.sizes import parse_sizes

_MIB = 1024 * 1024
_PLACES = ("北京", "上海", "广州", "成都", "杭州", "乌鲁木齐", "paris", "new york", "são paulo", "zürich")


def demo_bucket() -> Explicit:
    """Return 10,000 small images in nested folders with Chinese and other names, and a few files of tens of MiB."""
    sizes = parse_sizes("lognormal:20KiB:0.7")
    keys = [f"images/2023/{number // 500:02d}月/商品-{number:05d}.jpg" for number in range(6_000)]
    keys += [f"用户相册/{_PLACES[n % 10]}/{n // 10 % 30:02d}/IMG_{n:04d}.jpg" for n in range(3_000)]
    keys += [f"avatars/{n % 100:02x}/{n:05d}.png" for n in range(1_000)]
    items = [plain_item(key, sizes.pick(hash_of(key))) for key in keys]
    items += [plain_item(f"videos/{name}", size * _MIB) for name, size in _LARGE.items()]
    items += [plain_item("README.txt", 812), plain_item("index.html", 6_204), plain_item("empty.txt", 0)]
    return Explicit(items, ["空文件夹/"])


_LARGE = {"产品介绍.mp4": 48, "opening.mp4": 33, "backup 2023.zip": 21, "manual.pdf": 12}


def hash_of(key: str) -> int:
    """Return a 32-bit hash that is the same in every process."""
    return crc32(key.encode("utf-8", "surrogatepass"))


NFC_NAME = "caf\u00e9.jpg"
NFD_NAME = "cafe\u0301.jpg"
ODD_NAMES = (
    "plain.jpg", "a+b.jpg", "a b.jpg", "a%20b.jpg", "100%", "50%25.jpg", "a%2Fb.jpg", "what?.jpg", "what?x=1", "tag#1.jpg",
    "a&b=c.jpg", "a;b.jpg", "a!b.jpg", "a!s400", "pic.jpg!small", "a-b_c.jpg", "[x].jpg", "{x}.jpg", "back\\slash.jpg", "..\\up.jpg",
    'double"quote.jpg', "single'quote.jpg", "`tick`.jpg", "<tag>.jpg", "pipe|.jpg", "star*.jpg", "colon:.jpg", "C:.jpg",
    "at@.jpg", "$HOME.jpg", "~", "~tilde", "@~at", "@#at", "^.jpg", "comma,.jpg", "-rf", "--help", "=1+1.csv",
    "\U0001f600 emoji.jpg", "\U0001f468\u200d\U0001f469\u200d\U0001f467.jpg", "中文 文件.jpg", "日本語.png", "العربية.jpg",
    "\u202egpj.exe", "zero\u200bwidth.jpg", "nbsp\u00a0name", "line\u2028separator", NFC_NAME, NFD_NAME,
    " leading space", "trailing space ", "trailing dot.", "  ", ".hidden", "...", ". .", ".bucketpull", "lost+found",
    "Case.JPG", "case.jpg", "CASE.JPG", "straße.jpg", "STRASSE.jpg", "ﬁle.jpg", "con.txt", "NUL", "aux.jpg", "COM1",
    "bell\x07.jpg", "escape\x1b[31m.jpg", "delete\x7f.jpg", "c1\x85.jpg", "unit\x1fseparator",
    "n" * 255, "n" * 251 + ".jpg", "中" * 85, "中" * 86, "m" * 256, "m" * 300 + ".jpg", "0", "null", "true", "-1", "1e9",
)  # fmt: skip
ODD_KEYS = (
    "/leading slash.jpg", "a//b.jpg", "a///c.jpg", "dots/./here.jpg", "dots/../up.jpg", "../../etc/passwd", "..", ".",
    "dots/..", "dots/.", "twice", "twice/inside.jpg", "twice/twice/deep.jpg", "Folder/x.jpg", "folder/x.jpg", "sp ace /x .jpg",
    "中文目录/图片 1.jpg", "q?/h#/p%/x.jpg", "ends!here/x.jpg", "con/x.jpg", ".bucketpull/journal", "/".join(["deep"] * 200) + "/x.jpg",
    "/".join(["long-segment-" * 10] * 33) + "/x.jpg",
)  # fmt: skip


def odd_bucket() -> Explicit:
    """Return the odd names in the root and in a folder, awkward paths, empty objects and empty folders."""
    keys = [*ODD_NAMES, *(f"odd/{name}" for name in ODD_NAMES), *ODD_KEYS]
    items = [plain_item(key, 1 + hash_of(key) % 3_000) for key in keys]
    items += [plain_item("zero-bytes", 0), plain_item("one-byte", 1), plain_item("zero.jpg", 0)]
    return Explicit(items, ["empty/", "empty/nested/", "nothing here/"])
