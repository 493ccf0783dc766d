"""Coordinator and workers over a real broker: who may take part, and what survives which trouble."""

import asyncio
import secrets
import time

import aiormq
import pytest
from tests.servers.proxy import Proxy
from tests.transport.conftest import KEY, SECONDS, VERSION, Job, pulse, receipt, taken, until, work

from bucketpull.domain.errors import ConfigError, TransportError
from bucketpull.domain.messages import BatchReceipt, BatchVerdict, Control, Goodbye, Poison, Pulse
from bucketpull.domain.user_limits import Limits
from bucketpull.transport import broker_link, mailbox, rabbitmq_coordinator, rabbitmq_worker
from bucketpull.transport.broker_url import unreachable
from bucketpull.transport.envelope import Session
from bucketpull.transport.queues import QueueNames
from bucketpull.transport.rabbitmq_worker import RabbitInbox
from bucketpull.transport.remote_query import MachineSilent, QueryClient, check_alone
from bucketpull.transport.wire import SealedWork, encode


def run(scenario):
    asyncio.run(scenario())


async def put(url, queue, body, **properties):
    """Publish as a stranger."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.basic_publish(
        body, routing_key=queue, mandatory=True, properties=aiormq.spec.Basic.Properties(**properties)
    )
    await connection.close()


async def purge(url, *queues, delete=False):
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    for queue in queues:
        await (channel.queue_delete(queue) if delete else channel.queue_purge(queue))
    await connection.close()


def asker(url, job, key=KEY, seconds=SECONDS):
    """Return one who asks, in a session of its own: what two said in one session would look as if it came again."""
    return QueryClient(url, job, "m9", Session(key, VERSION, job, secrets.token_hex(8)), seconds)


async def nothing(receive, seconds=0.3):
    """Whether nothing comes in so long."""
    try:
        await asyncio.wait_for(receive(), seconds)
    except TimeoutError:
        return True
    return False


# --- who may take part


def test_a_second_coordinator_is_refused_within_seconds_and_the_first_goes_on(broker, monkeypatch):
    monkeypatch.setattr(rabbitmq_coordinator, "START_SECONDS", 6.0)

    async def scenario():
        async with Job(broker.url) as job:
            first, inbox = await job.coordinator(), await job.inbox()
            begun = time.monotonic()
            with pytest.raises(ConfigError, match=f"another coordinator has job {job.name}"):
                await check_alone(broker.url, job.name)
            assert time.monotonic() - begun < 30
            with pytest.raises(ConfigError, match=f"another coordinator has job {job.name}"):
                await job.coordinator()
            assert time.monotonic() - begun < 60
            await inbox.reply(receipt(1))
            assert await taken(first.receive, 1) == [receipt(1)]

    run(scenario)


def test_a_coordinator_that_ends_makes_room_for_the_next(broker):
    async def scenario():
        async with Job(broker.url) as job:
            await (await job.coordinator()).close()
            await check_alone(broker.url, job.name)
            await job.coordinator()

    run(scenario)


def test_a_worker_waits_for_its_coordinator_and_is_welcomed(broker):
    async def scenario():
        async with Job(broker.url) as job:
            inbox = await job.inbox(journal="")
            joining = asyncio.create_task(inbox.join(pulse(digest="")))
            await asyncio.sleep(0.1)
            assert not joining.done()

            async def known(machine):
                return {f"/disk/of/{machine}": "v1"}

            transport = await job.coordinator()
            transport.known = known
            welcome = await asyncio.wait_for(joining, SECONDS)
            assert (welcome.journal, welcome.job_digest) == (job.journal, "digest")
            assert welcome.known in ({}, {"/disk/of/m1": "v1"})

    run(scenario)


def test_a_worker_is_welcomed_though_more_waits_before_the_answer_than_is_delivered_at_once(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            await (await job.inbox()).close()
            works = [work(number) for number in range(1, rabbitmq_worker.PREFETCH + 20)]
            await transport.send(works, "m1")
            await asyncio.wait_for(transport._outbox.join(), SECONDS)
            joining = await job.inbox(journal="", incarnation="two")

            welcome = await asyncio.wait_for(joining.join(pulse(incarnation="two", digest="")), SECONDS)

            await joining.close()
            inbox = await job.inbox(incarnation="two")
            assert welcome.journal == job.journal
            assert (await taken(inbox.receive, 1))[0] in works

    run(scenario)


def test_a_worker_of_another_version_is_refused_with_the_reason(broker):
    async def scenario():
        async with Job(broker.url) as job:
            await job.coordinator(version="1.2.3")
            inbox = await job.inbox(version="1.2.4", journal="")
            with pytest.raises(ConfigError, match=r"its version is 1\.2\.4, the coordinator's 1\.2\.3"):
                await asyncio.wait_for(inbox.join(pulse(digest="")), SECONDS)

    run(scenario)


def test_a_version_whose_messages_cannot_be_read_is_refused_too(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator(version="2.0.0")
            inbox = await job.inbox(version="1.0.0", journal="")
            queue = QueueNames(job.name).coordinator
            await put(broker.url, queue, inbox._sealed(queue, b"\xc1 of long ago"))
            with pytest.raises(ConfigError, match="install the same"):
                await asyncio.wait_for(inbox._answer(), SECONDS)
            assert await nothing(transport.receive)

    run(scenario)


def test_a_worker_of_another_configuration_is_refused_while_it_works(broker):
    async def scenario():
        async with Job(broker.url) as job:
            await job.coordinator(digest="new")
            inbox = await job.inbox()
            await inbox.reply(pulse(digest="old"))
            with pytest.raises(ConfigError, match="another configuration"):
                await asyncio.wait_for(inbox.receive(), SECONDS)

    run(scenario)


def test_a_refusal_that_was_meant_for_an_earlier_worker_is_ignored(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            queue = QueueNames(job.name).coordinator
            first = await job.inbox("m3", version="1.0.0", incarnation="old", journal="")
            with pytest.raises(ConfigError):
                await asyncio.wait_for(first.join(pulse("m3", digest="", incarnation="old")), SECONDS)
            transport._answered.clear()
            await first.close()
            await put(broker.url, queue, first._sealed(queue, b""))
            await until(lambda: transport._answered)
            again = await job.inbox("m3", incarnation="new", journal="")
            welcome = await asyncio.wait_for(again.join(pulse("m3", digest="", incarnation="new")), SECONDS)
            assert welcome.job == job.name

    run(scenario)


def test_one_machine_name_is_one_worker(broker, monkeypatch):
    monkeypatch.setattr(rabbitmq_worker, "TAKEN_SECONDS", 1.0)

    async def scenario():
        async with Job(broker.url) as job:
            await job.coordinator()
            await job.inbox("m1")
            second = RabbitInbox(broker.url, job.name, "m1", "quorum", job.worker(incarnation="two"))
            await second.start()
            said = []
            hello = pulse(digest="", incarnation="two")
            with pytest.raises(
                ConfigError, match="another worker of this job is machine m1: give another --machine"
            ):
                await asyncio.wait_for(second.join(hello, said.append), SECONDS)
            await second.close()
            (waiting,) = said
            assert waiting.startswith("another process has this name at the broker")

    run(scenario)


def test_two_jobs_at_one_broker_do_not_hear_each_other(broker):
    async def scenario():
        async with Job(broker.url) as one, Job(broker.url, name="bild/照片 #1") as other:
            transports = [await one.coordinator(), await other.coordinator()]
            inboxes = [await one.inbox(), await other.inbox()]
            for number, (transport, inbox) in enumerate(zip(transports, inboxes, strict=True)):
                await transport.send([work(number + 1)], "m1")
                await inbox.reply(receipt(number + 1))
            for number, (transport, inbox) in enumerate(zip(transports, inboxes, strict=True)):
                assert await taken(inbox.receive, 1) == [work(number + 1)]
                assert await taken(transport.receive, 1) == [receipt(number + 1)]

    run(scenario)


def test_work_and_receipts_of_another_journal_of_the_same_name_are_left_alone(broker):
    async def scenario():
        async with Job(broker.url) as job:
            old = await job.coordinator(journal="ffffffffffff")
            await old.send([work(1)], "m1")
            stale = await job.inbox("m2", journal="ffffffffffff")
            await stale.reply(receipt(1, "m2"))
            await old.close()
            transport, inbox = await job.coordinator(), await job.inbox()
            await transport.send([work(2)], "m1")
            await inbox.reply(receipt(2))
            assert await taken(inbox.receive, 1) == [work(2)]
            assert await taken(transport.receive, 1) == [receipt(2)]

    run(scenario)


def test_a_broker_that_does_not_let_us_in_is_an_error_of_configuration(broker):
    async def scenario():
        url = broker.url.replace("guest:guest", "guest:wrong-one")
        async with Job(url) as job:
            with pytest.raises(ConfigError, match="login was refused") as refused:
                await job.coordinator()
            assert "wrong-one" not in str(refused.value)
            with pytest.raises(ConfigError, match="login was refused"):
                await check_alone(url, job.name)
            with pytest.raises(ConfigError, match="check user, password and virtual host"):
                await asker(url, job.name).ask("GET", "/api/snapshot", b"")

    run(scenario)


def test_a_virtual_host_that_is_not_there_is_named(broker):
    async def scenario():
        async with Job(f"{broker.url}nope") as job:
            with pytest.raises(
                ConfigError, match="vhost nope not found; check user, password and virtual host"
            ):
                await asker(job.url, job.name).ask("GET", "/api/snapshot", b"")
            with pytest.raises(ConfigError, match="vhost nope not found"):
                await check_alone(job.url, job.name)
            with pytest.raises(ConfigError, match="vhost nope not found"):
                await job.coordinator()

    run(scenario)


@pytest.mark.parametrize(
    "query", ["heartbeat=0", "heartbeat=x", "heartbeat=-5", "timeout=", "timeout=99999999"]
)
def test_a_number_of_seconds_that_is_none_is_refused(query):
    with pytest.raises(ConfigError, match="write a number of seconds, such as 10"):
        broker_link.Link(f"amqp://guest:guest@127.0.0.1/?{query}", {}, {}, {})


def test_a_broker_that_takes_rights_away_while_a_job_runs_says_which(broker):
    url = broker.url.replace("guest:guest", "other:SECRET")
    broker.control("add_user", "other", "SECRET")
    broker.control("set_permissions", "other", ".*", ".*", ".*")

    async def scenario():
        async with Job(url) as job:
            transport, lost = await job.coordinator(), []
            transport.link.lost = lost.append
            await asyncio.to_thread(broker.control, "set_permissions", "other", "^$", ".*", ".*")
            transport.link._break()
            await until(lambda: "`rabbitmqctl set_permissions` gives it the rights" in str(lost))
            await asyncio.to_thread(broker.control, "change_password", "other", "ANOTHER")
            await until(lambda: "the login was refused" in str(lost))

    run(scenario)


def test_no_broker_at_all_is_told_within_seconds(monkeypatch):
    monkeypatch.setattr(rabbitmq_coordinator, "START_SECONDS", 2.0)

    async def scenario():
        begun = time.monotonic()
        async with Job("amqp://guest:guest@127.0.0.1:1/") as job:
            with pytest.raises(TransportError, match="cannot be reached") as told:
                await job.coordinator()
        assert time.monotonic() - begun < 30
        assert "the broker at 127.0.0.1:1 cannot be reached: Connection refused; check --broker" in str(
            told.value
        )

    run(scenario)


def test_a_link_ends_though_the_client_raises_an_error_in_place_of_its_cancellation(monkeypatch):
    monkeypatch.setattr(mailbox, "CANCELLED_AGAIN_SECONDS", 0.05)

    async def scenario():
        tries = asyncio.Queue()

        async def connected(_url):
            tries.put_nowait(None)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not swallowed:
                    swallowed.append(True)
                    raise ConnectionError("the server closed the connection") from None
                raise

        swallowed = []
        monkeypatch.setattr(broker_link, "connected", connected)
        link = broker_link.Link("amqp://guest:guest@127.0.0.1/", {}, {}, {})
        link.start()
        await tries.get()
        await asyncio.wait_for(link.close(), SECONDS)
        assert swallowed

    run(scenario)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(111, "Connect call failed ('127.0.0.1', 5672)"), "Connection refused"),
        (
            OSError(
                "Multiple exceptions: [Errno 111] Connect call failed ('::1', 5672, 0, 0), "
                "[Errno 113] Connect call failed ('127.0.0.1', 5672)"
            ),
            "Connection refused, No route to host",
        ),
        (aiormq.exceptions.AMQPConnectionError(-2, "Name or service not known"), "Name or service not known"),
        (
            aiormq.exceptions.AMQPConnectionError(1, "[SSL] certificate verify failed"),
            "[SSL] certificate verify failed",
        ),
        (TimeoutError(), "no answer"),
    ],
)
def test_a_broker_that_is_not_reached_is_named_without_its_password(error, said):
    for url, place in (
        ("amqp://user:secret@host/", "host:5672"),
        ("amqps://user:secret@host/", "host:5671"),
        ("amqp://user:secret@[::1]:7000/v?name=x", "[::1]:7000"),
    ):
        assert str(unreachable(url, error)) == (
            f"the broker at {place} cannot be reached: {said}; "
            "check --broker, whether it runs there, and the network and firewall between"
        )


@pytest.mark.parametrize("url", ["http://host/", "amqp://", "amqp://user:secret@host:port/", "rabbit"])
def test_a_url_that_is_none_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigError, match="--broker: write amqp://") as refused:
        asyncio.run(check_alone(url, "job"))
    assert "secret" not in str(refused.value)


# --- poison


@pytest.mark.parametrize("way", ["machine", "receipts", "coordinator"])
def test_a_message_nobody_understands_is_dead_lettered_told_and_in_nobodys_way(broker, way):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            names = QueueNames(job.name)
            queue = names.machine("m1") if way == "machine" else getattr(names, way)
            await put(broker.url, queue, b"\xc1garbage")
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]
            await inbox.reply(receipt(1))
            heard = await taken(transport.receive, 2)
            poison = next(message for message in heard if isinstance(message, Poison))
            assert "8 bytes nobody understands, c167617262616765" in poison.detail
            assert receipt(1) in heard
            await transport.acknowledge(heard)

    run(scenario)


# --- at least once, effect once


def test_work_is_acknowledged_by_its_receipt_and_not_before(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, first = await job.coordinator(), await job.inbox()
            await transport.send([work(1), work(2)], "m1")
            await taken(first.receive, 2)
            await first.reply(receipt(1))
            await first.close()
            second = await job.inbox(incarnation="two")
            assert await taken(second.receive, 1) == [work(2)]

    run(scenario)


def test_work_that_comes_again_after_its_receipt_is_not_given_twice(broker):
    async def scenario():
        with Proxy(broker.port) as proxy:
            url = broker.url.replace(str(broker.port), str(proxy.port))
            async with Job(broker.url) as job:
                transport, inbox = await job.coordinator(), await job.inbox(url=url)
                await transport.send([work(1)], "m1")
                await taken(inbox.receive, 1)
                delivery = inbox._held[1]
                inbox._held[1].generation = -1  # the acknowledgement is lost with the connection
                await inbox.reply(receipt(1))
                assert delivery.generation == -1
                proxy.cut()
                await transport.send([work(2)], "m1")
                assert await taken(inbox.receive, 1) == [work(2)]

    run(scenario)


def test_receipts_wait_for_a_coordinator_that_is_away(broker):
    async def scenario():
        async with Job(broker.url) as job:
            first, inbox = await job.coordinator(), await job.inbox()
            await inbox.reply(receipt(1))
            unsettled = await taken(first.receive, 1)
            await first.close()
            await inbox.reply(receipt(2))
            second = await job.coordinator()
            heard = await taken(second.receive, 2, BatchReceipt)
            assert sorted(message.work for message in heard) == [1, 2]
            assert unsettled == [receipt(1)]

    run(scenario)


def test_a_worker_started_again_gets_neither_a_stop_nor_volumes_meant_for_the_one_before(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, first = await job.coordinator(), await job.inbox()
            await first.reply(pulse())
            await taken(transport.receive, 1, Pulse)
            await first.close()
            told = Control(Limits(), booked=[3], verdicts=[BatchVerdict(4)], add_volumes=["/d"], stop=True)
            await transport.control(told, "m1")
            second = await job.inbox(incarnation="two")
            assert await taken(second.receive, 1) == [Control(Limits(), booked=[3])]

    run(scenario)


def test_a_goodbye_of_a_worker_that_was_replaced_does_not_count(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, first = await job.coordinator(), await job.inbox()
            await first.close()
            second = await job.inbox(incarnation="two")
            await second.reply(pulse(incarnation="two"))
            queue = QueueNames(job.name).coordinator
            await put(broker.url, queue, first._sealed(queue, encode(Goodbye("m1", "one"))))
            await second.reply(pulse(incarnation="two", objects=1))
            heard = await taken(transport.receive, 2)
            assert [type(message) for message in heard] == [Pulse, Pulse]

    run(scenario)


# --- trouble


def test_a_queue_that_is_purged_or_deleted_loses_messages_and_nothing_else(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            queue = QueueNames(job.name).machine("m1")
            await (await job.inbox()).close()
            await transport.send([work(1)], "m1")
            await transport.send(
                [work(9)], "nobody"
            )  # its queue was never made: not in the way of the others
            await asyncio.wait_for(transport._outbox.join(), SECONDS)
            await purge(broker.url, queue)
            inbox = await job.inbox(incarnation="two")
            await transport.send([work(2)], "m1")
            assert await taken(inbox.receive, 1) == [work(2)]
            await purge(broker.url, queue, delete=True)
            await until(lambda: not inbox.link._ready.is_set())
            await asyncio.wait_for(inbox.link.connected(), SECONDS)
            await transport.send([work(3)], "m1")
            assert await taken(inbox.receive, 1) == [work(3)]

    run(scenario)


def test_a_machine_whose_queue_takes_nothing_holds_up_no_other(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox("m2")
            connection = await aiormq.connect(broker.url)
            channel = await connection.channel()
            full = {"x-queue-type": "classic", "x-max-length": 0, "x-overflow": "reject-publish"}
            await channel.queue_declare(QueueNames(job.name).machine("m1"), durable=True, arguments=full)
            await transport.send([work(1)], "m1")
            await transport.forget("m1")
            await transport.send([work(2)], "m2")
            assert await taken(inbox.receive, 1) == [work(2)]
            await connection.close()

    run(scenario)


def test_what_the_broker_drops_by_a_policy_is_told_and_no_failure(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, told = await job.coordinator(), []
            transport.rejections.told = told.append
            await (await job.inbox()).close()
            queue = QueueNames(job.name).machine("m1")
            make = transport._sealing("m1", SealedWork(work(1)), "")
            for body in (make(), make(), b"\xc1poison"):
                await put(broker.url, queue, body, expiration="1")
            [poison] = await taken(transport.receive, 1, Poison)
            assert "nobody understands, c1706f69736f6e" in poison.detail
            [said] = told
            assert said.startswith("a message at the broker was dropped by the broker: a policy of the queue")
            assert "message-ttl or max-length" in said

    run(scenario)


def test_a_question_to_a_machine_that_is_away_is_no_failure_of_the_job(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, told = await job.coordinator(), []
            transport.rejections.told = told.append
            await (await job.inbox()).close()
            one = asker(broker.url, job.name, seconds=0.5)
            with pytest.raises(MachineSilent, match="machine m1: does not answer"):
                await one.ask_machine("m1", "/ledger")
            await put(broker.url, QueueNames(job.name).machine("m1"), b"\xc1poison", expiration="1")
            [poison] = await taken(transport.receive, 1, Poison)
            assert "nobody understands, c1706f69736f6e" in poison.detail
            assert told == []

    run(scenario)


def test_a_machine_that_is_forgotten_leaves_nothing_in_its_queue(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            await (await job.inbox()).close()
            await transport.send([work(1)], "m1")
            await transport.forget("m1")
            await transport.send([work(2)], "m1")
            assert await taken((await job.inbox()).receive, 1) == [work(2)]

    run(scenario)


@pytest.mark.parametrize("trouble", ["cut", "delay"])
def test_everything_arrives_through_a_connection_that_is_cut_again_and_again(broker, trouble):
    async def scenario():
        with Proxy(broker.port) as proxy:
            url = broker.url.replace(str(broker.port), str(proxy.port))
            async with Job(url) as job:
                transport, inbox = await job.coordinator(), await job.inbox()
                if trouble == "delay":
                    proxy.delay(0.02)
                got, booked = set(), set()

                async def labour():
                    while True:
                        for item in await inbox.receive():
                            got.add(item.id)
                            await inbox.reply(receipt(item.id))

                async def book():
                    while len(booked) < 120:
                        heard = await transport.receive()
                        booked.update(message.work for message in heard)
                        await transport.acknowledge(heard)

                labouring = asyncio.create_task(labour())
                booking = asyncio.create_task(book())
                for number in range(1, 121):
                    await transport.send([work(number, bytes(20_000))], "m1")
                    if trouble == "cut" and number % 30 == 0:
                        await until(lambda number=number: len(got) > number // 2)
                        proxy.cut()
                await asyncio.wait_for(booking, 2 * SECONDS)
                labouring.cancel()
                assert got == booked == set(range(1, 121))
                assert trouble == "delay" or proxy.accepted > 4

    run(scenario)


def test_a_peer_that_is_silent_is_given_up_after_three_heartbeats(broker):
    async def scenario():
        with Proxy(broker.port) as proxy:
            url = broker.url.replace(str(broker.port), str(proxy.port)) + "?heartbeat=1"
            async with Job(url) as job:
                transport, inbox = await job.coordinator(), await job.inbox()
                lost = []
                inbox.link.lost = lost.append
                proxy.stall()
                await until(lambda: lost and not transport.hears)
                await transport.send([work(1)], "m1")
                proxy.flow()
                assert await taken(inbox.receive, 1) == [work(1)]
                await until(lambda: transport.hears)

    run(scenario)


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_broker_killed_in_the_middle_loses_no_work_and_no_receipt(broker, kind):
    async def scenario():
        async with Job(broker.url, kind, settle_seconds=2.0) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            await transport.send([work(number) for number in range(1, 21)], "m1")
            await taken(inbox.receive, 20)
            for number in range(1, 11):
                await inbox.reply(receipt(number))
            await asyncio.to_thread(broker.kill)
            await transport.send([work(21)], "m1")
            late = asyncio.create_task(inbox.reply(receipt(11)))
            await until(lambda: not transport.hears)
            await asyncio.to_thread(broker.start)
            heard = []
            async with asyncio.timeout(2 * SECONDS):
                while {message.work for message in heard} < set(range(1, 12)):
                    heard += await transport.receive()
                await transport.acknowledge(heard)
                await late
                again = set()
                while again < set(range(12, 22)):
                    again |= {item.id for item in await inbox.receive()}
            assert again <= set(range(1, 22))
            await until(lambda: transport.hears)

    run(scenario)


def test_an_alarm_of_the_broker_makes_everyone_wait_is_told_and_loses_nothing(broker, monkeypatch):
    monkeypatch.setattr(broker_link, "BLOCKED_SECONDS", 0.5)

    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            lost, reached = [], []
            transport.link.lost, transport.link.reached = lost.append, lambda: reached.append(True)
            await transport.send([work(1)], "m1")
            await taken(inbox.receive, 1)
            await asyncio.to_thread(broker.control, "set_disk_free_limit", "100000GB")
            try:
                await transport.send([work(2)], "m1")
                replying = asyncio.create_task(inbox.reply(receipt(1)))
                await until(lambda: not transport.hears)
                assert not replying.done()
                await inbox.reply(pulse())  # says nothing, and blocks nothing
                await until(lambda: lost)
                with pytest.raises(
                    TransportError, match="takes no messages, for it is short of memory or disk"
                ):
                    await asker(broker.url, job.name, seconds=1.0).ask("GET", "/api/snapshot", b"")
                assert not reached
            finally:
                await asyncio.to_thread(broker.control, "set_disk_free_limit", "50MB")
            await asyncio.wait_for(replying, SECONDS)
            assert await taken(inbox.receive, 1) == [work(2)]
            assert await taken(transport.receive, 1, BatchReceipt) == [receipt(1)]
            await until(lambda: transport.hears)
            assert reached
            assert {"takes no messages" in reason for reason in lost} == {True}

    run(scenario)


def test_work_held_longer_than_the_consumer_time_out_comes_again_and_is_still_held(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            lost = []
            inbox.link.lost = lost.append
            await transport.send([work(1)], "m1")
            first = (await taken(inbox.receive, 1))[0]
            await until(lambda: lost, 40)
            assert await taken(inbox.receive, 1) == [first]
            await inbox.reply(receipt(1))
            assert await taken(transport.receive, 1) == [receipt(1)]

    short = "application:set_env(rabbit, {}, {})."
    for name, value in (("consumer_timeout", 2000), ("channel_tick_interval", 500)):
        broker.control("eval", short.format(name, value))
    try:
        run(scenario)
    finally:
        for name, value in (("consumer_timeout", 1_800_000), ("channel_tick_interval", 60_000)):
            broker.control("eval", short.format(name, value))


# --- certificates, and questions


def amqps(broker, certificates, client="client"):
    keys = f"&certfile={certificates}/{client}.pem&keyfile={certificates}/{client}.key" if client else ""
    return f"amqps://guest:guest@localhost:{broker.tls_port}/?cafile={certificates}/ca.pem{keys}"


def test_amqps_with_an_authority_of_our_own_and_a_client_certificate(broker, certificates):
    async def scenario():
        async with Job(amqps(broker, certificates)) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]

    run(scenario)


def test_amqps_without_the_authority_or_the_certificate_says_so(broker, certificates):
    async def scenario():
        with pytest.raises(TransportError, match=r"(?i)certificate verify failed"):
            await check_alone(f"amqps://guest:guest@localhost:{broker.tls_port}/", "job")
        with pytest.raises(TransportError, match="cannot be reached"):
            await check_alone(amqps(broker, certificates, client=""), "job")

    run(scenario)


def test_a_question_without_a_coordinator_is_answered_by_an_error(broker):
    async def scenario():
        with pytest.raises(TransportError, match="no coordinator of it is at this broker"):
            await asker(broker.url, "nobody").ask("GET", "/api/snapshot", b"")

    run(scenario)


def test_queues_are_durable_and_of_the_type_asked_for(broker):
    async def scenario(kind):
        async with Job(broker.url, kind) as job:
            await job.coordinator()
            await job.inbox()
            found = await asyncio.to_thread(broker.queues)
            names = QueueNames(job.name)
            return {found[queue][0] for queue in (names.receipts, names.dead, names.machine("m1"))}

    for kind in ("quorum", "classic"):
        assert asyncio.run(scenario(kind)) == {kind}


def test_a_user_who_may_do_only_what_the_docs_say_can_do_all(broker):
    async def scenario():
        url = broker.url.replace("guest:guest", "bucketpull:SECRET")
        async with Job(url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]
            await put(url, QueueNames(job.name).receipts, b"\xc1poison")
            await inbox.reply(receipt(1))
            assert len(await taken(transport.receive, 2)) == 2
            await transport.forget("m1")
            with pytest.raises(TransportError, match="does not answer in 1 s; check that --job-key-file"):
                await asker(url, job.name, seconds=1.0).ask("GET", "/api/snapshot", b"")

    rights = ("^bucketpull[.].*", "^(bucketpull[.].*|amq[.]default)$", "^bucketpull[.].*")
    broker.control("add_user", "bucketpull", "SECRET")
    broker.control("set_permissions", "bucketpull", *rights)
    run(scenario)
