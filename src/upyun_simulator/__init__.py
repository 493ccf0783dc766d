"""UPYUN on localhost: the REST service and a CDN domain of one bucket, with contents by formula and faults by request.

In a process of its own, as tests of the client want it:

    from upyun_simulator import Simulator

    with Simulator("flat:1000,size=20KiB", faults=["429:p=0.1", "truncate:on=cdn,first=1"], cdn_latency=0.01) as simulator:
        simulator.api_url        # http://127.0.0.1:PORT, REST: /<bucket>/<path>
        simulator.cdn_url        # http://127.0.0.1:PORT, CDN: /<path>
        simulator.bucket, simulator.operator, simulator.password
        simulator.environment    # {"UPYUN_OPERATOR": ..., "UPYUN_PASSWORD": ...}
        simulator.counters()     # {"requests": {"rest.list": {"200": 1}, "cdn.get": {"200": 1000}}, "peak": ..., ...}
        simulator.inject("503:on=list,first=2"), simulator.clear_faults()
        simulator.mutate(put={"new.jpg": 100}, touch=["img-001.jpg"], delete=["img-002.jpg"])
        for item in simulator.contents.walk():      # every object as it was at the start: key, size, mtime, version
            content(item.key, item.size, item.version)    # its bytes

Contents are specs (see `spec`): `flat:N`, `tree:dirs=N,files=M`, `demo`, `odd`, `manifest:FILE`. Everything that can be set is
in `Settings`; faults are described in `faults` and `effects`. A touched object has version 1, then 2; a thumbnail `a.jpg!s400` is
`content("a.jpg!s400", 1 + size // 8, version)`.

In an event loop: `async with Server(Settings(spec="flat:10")) as server: server.ready.api_url`.
From a shell: `bucketpull simulate --spec flat:1000 --ports-file simulator.json`, see `bucketpull simulate --help`.
"""

from upyun_simulator.bodies import content, content_range, md5_hex
from upyun_simulator.contents import Item
from upyun_simulator.process import Simulator
from upyun_simulator.server import Server
from upyun_simulator.settings import Ready, Settings
from upyun_simulator.spec import parse_spec

__all__ = [
    "Item",
    "Ready",
    "Server",
    "Settings",
    "Simulator",
    "content",
    "content_range",
    "md5_hex",
    "parse_spec",
]
