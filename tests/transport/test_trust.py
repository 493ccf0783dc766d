"""What somebody who may read and write a job's queues, and has not its key, can do to it: nothing but be told of."""

import asyncio
import struct
from cProfile import Profile

import aiormq
import pytest
from aiormq.abc import ChannelFrame
from msgspec.structs import replace
from pamqp import frame
from tests.transport.conftest import KEY, SECONDS, VERSION, Job, pulse, receipt, taken, until, work
from tests.transport.test_rabbitmq import asker, nothing, purge, put, run

from bucketpull.domain.batching import Batch, batch_of, decode_batch, encode_batch
from bucketpull.domain.errors import ConfigError, Reason
from bucketpull.domain.messages import (
    BatchReceipt,
    Control,
    Fatal,
    Handback,
    Poison,
    Pulse,
    ScanReceipt,
    Welcome,
    Work,
)
from bucketpull.domain.model import Former, Part, Span, WorkKind
from bucketpull.domain.user_limits import Limits
from bucketpull.transport import amqp_stream, broker_link
from bucketpull.transport.admission import Admission
from bucketpull.transport.envelope import Direction, Rejected, Session, read_header
from bucketpull.transport.job_key import OPERATOR, JobKey, machine_key, read_key
from bucketpull.transport.queues import QueueNames
from bucketpull.transport.rabbitmq_coordinator import RabbitTransport
from bucketpull.transport.remote_query import MachineSilent
from bucketpull.transport.wire import Query, QueryAnswer, SealedWork, encode

STRANGERS = JobKey(b"a key that somebody made up, long enough for one")


def forged(job, queue, message, way=Direction.UP, machine="m1", key=STRANGERS, number=1, **changes):
    """Seal a message as somebody who knows all but the key."""
    sealer = Session(
        key, VERSION, job.name, changes.pop("session", "one"), changes.pop("journal", job.journal)
    )
    sealer.heard = job.heard
    sealer._number = number - 1
    body = message if isinstance(message, bytes) else encode(message)
    return sealer.seal(way, machine, queue, body, meant=changes.pop("meant", ""))


async def captured(url, queue):
    """Take a message out of a queue, as somebody does who may read it."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    taken = asyncio.get_running_loop().create_future()

    async def take(message):
        taken.set_result(message.body)

    await channel.basic_consume(queue, take, no_ack=True)
    body = await asyncio.wait_for(taken, SECONDS)
    await connection.close()
    return body


def listened(transport):
    told = []
    transport.rejections.told = told.append
    return told


# --- what a worker obeys though it is sealed


def test_a_volume_that_the_worker_s_command_line_does_not_name_is_not_used_whoever_says_so(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox(volumes=["/mnt/d1"])
            told = listened(inbox)
            await inbox.reply(pulse())
            await taken(transport.receive, 1, Pulse)
            await transport.control(
                Control(Limits(), add_volumes=["/etc", "/mnt/d1", "/mnt/d1/../../etc"]), "m1"
            )
            assert await taken(inbox.receive, 1) == [Control(Limits(), add_volumes=["/mnt/d1"])]
            assert "adds a volume that this worker's command line does not name" in told[0]

    run(scenario)


# --- forgery


def test_work_and_orders_that_nobody_of_the_job_sealed_are_kept_told_and_never_obeyed(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            told, queue = listened(inbox), QueueNames(job.name).machine("m1")
            order = Control(Limits(), add_volumes=["/etc"], stop=True)
            for message in (
                SealedWork(work(7)),
                order,
                Welcome("j", "x", "d", b"{}", "key", "batch", "size"),
            ):
                await put(broker.url, queue, forged(job, queue, message, Direction.DOWN, meant="one"))
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]
            assert len(await taken(transport.receive, 3, Poison)) == 3
            assert "sealed with another job key" in told[0]

    run(scenario)


def test_receipts_that_nobody_of_the_job_sealed_are_kept_told_and_never_booked(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            told, queue = listened(transport), QueueNames(job.name).receipts
            await transport.send([work(1)], "m1")
            for key in (STRANGERS, JobKey(b"")):
                await put(broker.url, queue, forged(job, queue, receipt(1), key=key))
            wrong = bytearray(inbox._sealed(queue, encode(receipt(1))))
            wrong[10] ^= 1
            await put(broker.url, queue, bytes(wrong))
            kept = await taken(transport.receive, 3)
            assert [type(message) for message in kept] == [Poison] * 3
            assert all("claims to be of machine m1" in poison.detail for poison in kept)
            assert len(told) == 2  # another key, and a wrong seal

    run(scenario)


def test_pulses_of_strangers_are_told_and_leave_nothing_in_the_books(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            told, queue = listened(transport), QueueNames(job.name).coordinator
            for _ in range(5):
                await put(broker.url, queue, forged(job, queue, pulse()))
            await inbox.reply(pulse(objects=1))
            assert await taken(transport.receive, 1) == [pulse(objects=1)]
            await until(lambda: sum(transport.rejections.counts.values()) == 5)
            assert len(told) == 1

    run(scenario)


def test_a_worker_with_another_key_is_told_so_and_waits(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            inbox = await job.inbox(journal="", key=STRANGERS)
            told, heard = listened(inbox), listened(transport)
            joining = asyncio.create_task(inbox.join(pulse(digest="")))
            await until(lambda: told and heard)
            assert "sealed with another job key than --job-key-file has here" in told[0]
            assert "machine m1" in heard[0]
            assert not joining.done()
            joining.cancel()

    run(scenario)


def test_nobody_without_the_key_has_a_worker_sent_away(broker):
    """A worker that is refused ends. Its own receipt will do for that, or a forgery that names its session, which stands in each of its messages."""

    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            names = QueueNames(job.name)
            genuine = inbox._sealed(names.receipts, encode(receipt(1)))
            strange = [
                genuine,
                genuine[:-1],
                forged(job, names.coordinator, pulse()),
                inbox._sealed(names.coordinator, encode(pulse()))[:-1] + b"?",
                b"the last",
            ]
            for body in strange:
                await put(broker.url, names.coordinator, body)
            await until(lambda: sum(transport.rejections.counts.values()) == len(strange))
            await transport.send([work(7)], "m1")
            assert await taken(inbox.receive, 1) == [work(7)]

    run(scenario)


def test_a_worker_with_its_machines_key_works_and_can_be_no_other(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            inbox = await job.inbox(key=read_key(machine_key(KEY, "m1"), "here"))
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]
            await inbox.reply(receipt(1))
            assert await taken(transport.receive, 1) == [receipt(1)]

    run(scenario)


def test_without_a_key_on_both_sides_a_job_runs_as_one_with_a_key(broker):
    async def scenario():
        async with Job(broker.url) as job:
            job.key = JobKey(b"")
            transport, inbox = await job.coordinator(), await job.inbox()
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]

    run(scenario)


# --- what was said once


def test_a_message_that_is_sent_again_by_somebody_is_dropped_and_told(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            told, queue = listened(inbox), QueueNames(job.name).machine("m1")
            again = forged(
                job, queue, SealedWork(work(1)), Direction.DOWN, key=KEY, session=transport.session
            )
            for _ in range(3):
                await put(broker.url, queue, again)
            order = forged(
                job, queue, Control(Limits(), stop=True), Direction.DOWN, key=KEY, number=2, meant="one"
            )
            for _ in range(3):
                await put(broker.url, queue, order)
            await transport.send([work(2)], "m1")
            heard = await taken(inbox.receive, 3)
            assert heard == [work(1), Control(Limits(), stop=True), work(2)]
            assert inbox.rejections.counts == {"it came before": 4}
            assert "it came before" in told[0]

    run(scenario)


def test_limits_that_somebody_held_back_do_not_count_once_there_are_newer_ones(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            queue = QueueNames(job.name).machine("m1")
            for number, limits in ((2, Limits(paused=True)), (1, Limits(requests_per_second=9.0))):
                order = Control(limits, booked=[number])
                changes = {"session": transport.session, "number": number, "meant": "one"}
                await put(broker.url, queue, forged(job, queue, order, Direction.DOWN, key=KEY, **changes))
            heard = await taken(inbox.receive, 2)
            assert heard == [
                Control(Limits(paused=True), booked=[2]),
                Control(Limits(paused=True), booked=[1]),
            ]

    run(scenario)


def test_a_receipt_that_is_sent_again_by_somebody_is_booked_once(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            queue = QueueNames(job.name).receipts
            twice = inbox._sealed(queue, encode(receipt(1)))
            for _ in range(4):
                await put(broker.url, queue, twice)
            await inbox.reply(receipt(2))
            heard = await taken(transport.receive, 2)
            assert heard == [receipt(1), receipt(2)]
            await transport.acknowledge(heard)
            await put(broker.url, queue, twice)
            await inbox.reply(receipt(3))
            assert await taken(transport.receive, 1) == [receipt(3)]
            assert transport.rejections.counts == {"it came before": 4}

    run(scenario)


def test_pulses_kept_from_before_bring_no_dead_worker_to_life_for_the_next_coordinator(broker):
    async def scenario():
        async with Job(broker.url) as job:
            first, inbox = await job.coordinator(), await job.inbox()
            queue = QueueNames(job.name).coordinator
            kept = [inbox._sealed(queue, encode(pulse())) for _ in range(3)]
            refusal = inbox._sealed(
                QueueNames(job.name).receipts, encode(Fatal("m1", Reason.PERMISSION, "no"))
            )
            await inbox.close()
            await first.close()
            second = await job.coordinator()
            for old in kept:
                await put(broker.url, queue, old)
            await put(broker.url, QueueNames(job.name).receipts, refusal)
            assert await nothing(second.receive, 1.0)

    run(scenario)


def test_a_worker_that_lives_on_is_greeted_by_the_next_coordinator_and_counts(broker):
    async def scenario():
        async with Job(broker.url) as job:
            first, inbox = await job.coordinator(), await job.inbox()
            await first.close()
            second = await job.coordinator()
            await inbox.reply(Fatal("m1", Reason.PERMISSION, "no"))
            hearing = asyncio.create_task(inbox.receive())
            async with asyncio.timeout(SECONDS):
                while inbox._me.heard != second.session:
                    await inbox.reply(pulse())
                    await asyncio.sleep(0.1)
            await inbox.reply(pulse(objects=1))
            heard = await taken(second.receive, 2)
            assert [type(message) for message in heard] == [Pulse, Fatal]
            hearing.cancel()

    run(scenario)


# --- other queues, other machines


def test_a_message_put_into_another_queue_is_not_obeyed_there(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            names = QueueNames(job.name)
            first, second = await job.inbox("m1"), await job.inbox("m2", incarnation="two")
            await first.close()
            await transport.send([work(1)], "m1")
            stolen = await captured(broker.url, names.machine("m1"))
            await put(broker.url, names.machine("m2"), stolen)
            await put(broker.url, names.receipts, stolen)
            await transport.send([work(2)], "m2")
            assert await taken(second.receive, 1) == [work(2)]
            assert len(await taken(transport.receive, 2, Poison)) == 2

    run(scenario)


def test_a_worker_speaks_for_itself_alone(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            inbox = await job.inbox(key=read_key(machine_key(KEY, "m1"), "here"))
            await transport.send([work(5)], "m2")
            for message in (receipt(5, "m2"), Handback([5], "m2")):
                await inbox.reply(message)
            await inbox.reply(pulse("m2"))
            assert len(await taken(transport.receive, 2, Poison)) == 2
            await until(lambda: transport.rejections.counts == {"it speaks for another machine": 3})

    run(scenario)


def test_work_that_a_machine_was_not_given_is_not_booked_for_it(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            waiting = {5, 6, 7}

            async def outstanding(works):
                return not waiting.isdisjoint(works)

            transport.outstanding = outstanding
            transport.inherit([(7, "m1")])
            await transport.send([work(5)], "m2")
            for number in (5, 6, 7, 8):  # another one's, nobody's, ours of before, and one that has ended
                await inbox.reply(receipt(number))
            heard = await taken(transport.receive, 2, BatchReceipt)
            assert [message.work for message in heard] == [7, 8]
            assert transport.rejections.counts == {"it is about work that its machine was not given": 2}

    run(scenario)


def test_of_two_machines_that_were_given_the_same_work_the_second_is_heard_too(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            first, second = await job.inbox("m1"), await job.inbox("m2")

            async def outstanding(works):
                return bool(works)

            transport.outstanding = outstanding
            for machine in ("m1", "m2"):
                await transport.send([work(5)], machine)
            for inbox, machine in ((first, "m1"), (second, "m2")):
                await inbox.reply(receipt(5, machine))
                heard = await taken(transport.receive, 1, BatchReceipt)
                assert [message.machine for message in heard] == [machine]
                await transport.acknowledge(heard)
            assert transport.rejections.counts == {}


@pytest.mark.parametrize("left", [[], [1]], ids=["ended", "outstanding"])
def test_who_else_was_given_work_is_known_as_long_as_it_is_outstanding(left):
    async def play():
        welcome = Welcome("job", "journal", "digest", b"{}", "key", "batch", "size")
        transport = RabbitTransport("amqp://nowhere", "job", "classic", KEY, welcome, VERSION)

        async def outstanding(works):
            return bool(set(works) & set(left))

        transport.outstanding = outstanding
        for machine in ("m1", "m2"):  # the first was silent
            await transport.send([work(1)], machine)
        await transport.acknowledge([Handback([1], "m1")])
        await transport.acknowledge([BatchReceipt(1, "m2", stored=1)])
        return list(transport._admission._given)

    assert asyncio.run(play()) == left


def batch(number, *names, part=0):
    columns = [names, [10] * len(names), [0] * len(names)]
    body = encode(batch_of([Part(b"d", "", *map(list, columns))]))
    return Work(number, WorkKind.BATCH, body, part=part)


def told(work, **wrong):
    return replace(decode_batch(work.body), **wrong)


ONE, TWO = batch(1, b"a"), batch(1, b"a", b"b")
ONE_BODY = told(ONE).body
UNEVEN = batch_of([Part(b"d", "", [b"a", b"b"], [1], [1, 2])])
SPANS = [Span(b"d", "", b"a", b"b", 1), Span(b"d", "other", b"a", b"b", 1)]


@pytest.mark.parametrize(
    "lie",
    [
        BatchReceipt(1, "m1", stored=4),
        BatchReceipt(1, "m1", stored=2, remainder=told(TWO)),
        BatchReceipt(1, "m1", stored=2, deferred=told(TWO, objects=1)),
        BatchReceipt(1, "m1", stored=1, returned=told(TWO, spans=SPANS)),
        BatchReceipt(1, "m1", stored=1, returned=told(TWO, bytes=-1)),
        BatchReceipt(1, "m1", stored=1, returned=UNEVEN),
        BatchReceipt(1, "m1", stored=2, sent_on=Batch(b"\x91" * 200_000, 1, 10, [])),
    ],
    ids=["more", "part", "number of a batch", "pages of a batch", "bytes of a batch", "columns", "depth"],
)
def test_a_receipt_that_does_not_add_up_is_kept_and_told_and_the_job_goes_on(broker, lie):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            await transport.send([batch(1, b"a", b"b", b"c")], "m1")
            await inbox.reply(lie)
            first = BatchReceipt(1, "m1", stored=2, remainder=told(ONE), next_part=7)
            last = BatchReceipt(1, "m1", stored=1, part=7)
            for receipt in (first, replace(last, stored=2), last):
                await inbox.reply(receipt)
            heard = await taken(transport.receive, 4)
            assert [message for message in heard if isinstance(message, BatchReceipt)] == [first, last]
            assert sum(isinstance(message, Poison) for message in heard) == 2

    run(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spans": []},
        {"spans": SPANS},
        {"objects": 3},
        {"bytes": 1 << 60},
        {"unsized": 1_000},
        {"body": b"\xc1"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_a_listing_says_of_its_batches_is_held_against_their_objects(wrong):
    """Other machines place them and put files of others aside by it, without reading the names."""
    admission, read = reader()

    assert read(ScanReceipt(1, "m1", batches=[told(TWO)])).batches == [told(TWO)]
    with pytest.raises(Rejected):
        read(ScanReceipt(1, "m1", batches=[told(TWO, **wrong)]))
    assert admission.false_claims == {"m1": 1}


@pytest.mark.parametrize(
    "parts", [b"", b"\xc1", b"\x91" * 200_000, UNEVEN.body], ids=["none", "no code", "depth", "columns"]
)
def test_former_copies_that_nobody_can_read_are_not_sent_on_to_another_machine(parts):
    admission, read = reader()
    sound, wrong = (
        BatchReceipt(1, "m1", stored=1, former=[Former("m2a", [0], "m1a", each)])
        for each in (ONE_BODY, parts)
    )

    assert read(sound) == sound
    with pytest.raises(Rejected, match="objects in it"):
        read(wrong)
    assert admission.false_claims == {"m1": 1}


@pytest.mark.parametrize("how", ["removed elsewhere", "fetched again"])
def test_a_worker_tells_only_of_objects_that_it_was_given(how):
    admission, read = reader()
    admission.give(ONE, "m1")
    own, other = (
        BatchReceipt(1, "m1", deferred=told(each))
        if how == "fetched again"
        else BatchReceipt(1, "m1", stored=1, former=[Former("m2a", [0], "m1a", told(each).body)])
        for each in (ONE, batch(1, b"b"))
    )

    assert read(own) == own
    with pytest.raises(Rejected, match="not of its batch"):
        read(other)
    assert admission.false_claims == {"m1": 1}


def test_what_a_machine_tells_of_work_that_it_was_not_given_is_not_held_against_the_one_that_was():
    admission, read = reader()
    admission.give(TWO, "m2")
    own = BatchReceipt(1, "m2", stored=2)

    read(BatchReceipt(1, "m3", stored=1, remainder=told(ONE)), "m3")

    assert read(own, "m2") == own


def test_of_work_only_the_last_part_of_each_machine_is_kept():
    admission, read = reader()
    admission.give(TWO, "m1")
    for part, after in ((0, 7), (7, 8), (8, 9)):
        read(BatchReceipt(1, "m1", part=part, next_part=after, remainder=told(TWO)))

    assert set(admission._given[1].parts) == {9}


def test_what_a_receipt_costs_grows_with_its_pages_and_not_with_their_square():
    def calls(pages):
        whole = batch_of([Part(b"d%d" % each, "", [b"a"], [1], [1]) for each in range(pages)])
        admission, read = reader()
        admission.give(Work(1, WorkKind.BATCH, encode_batch(whole)), "m1")
        profile = Profile()
        profile.runcall(read, BatchReceipt(1, "m1", remainder=whole, next_part=7))
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(200) < 3 * calls(100)


def reader():
    """Return a coordinator's admission, and what reads a worker's message by it."""
    worker, me = (Session(KEY, VERSION, "job", name) for name in ("worker", "coordinator"))
    admission = Admission(QueueNames("job"), me)

    def read(message, machine="m1"):
        body = encode(message)
        return admission.read(*me.open(worker.seal(Direction.UP, machine, "q", body), "q", Direction.UP))

    return admission, read


def test_a_worker_that_lies_again_and_again_is_refused(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            for _ in range(20):
                await inbox.reply(receipt(1, "m2"))
            assert len(await taken(transport.receive, 20, Poison)) == 20
            await inbox.reply(pulse())
            with pytest.raises(ConfigError, match="20 of its messages could not be believed"):
                await taken(inbox.receive, 1)

    run(scenario)


def test_a_question_is_answered_to_those_with_the_key_only(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            listened(transport)
            asking = asyncio.create_task(asker(broker.url, job.name, STRANGERS).ask("GET", "/", b""))
            await until(lambda: transport.rejections.counts)
            assert sum(transport.rejections.counts.values()) == 1
            assert not asking.done()
            asking.cancel()
            await asyncio.wait({asking})

    run(scenario)


def test_an_order_that_somebody_kept_is_not_obeyed_by_the_next_coordinator(broker):
    """Each coordinator would see it for the first time."""

    async def scenario():
        async with Job(broker.url) as job:
            asked, queue = [], QueueNames(job.name).coordinator
            operator = Session(KEY, VERSION, job.name, "an operator's")

            async def answer(ask, _machine):
                asked.append((ask.method, ask.target))
                return QueryAnswer(200, b"done")

            def order(meant):
                body = encode(Query("POST", "/api/stop", b""))
                reply = QueueNames(job.name).answers()
                return operator.seal(Direction.QUESTION, OPERATOR, queue, body, meant=meant, reply_to=reply)

            first = await job.coordinator()
            first.queries.answer = answer
            kept = [order(first.session), order("")]
            await put(broker.url, queue, kept[0])
            await until(lambda: asked == [("POST", "/api/stop")])
            await first.close()

            second = await job.coordinator()
            second.queries.answer = answer
            for message in kept:
                await put(broker.url, queue, message)
            why = "it is an order to another session of the coordinator"
            await until(lambda: second.rejections.counts == {why: 2})
            assert await asker(broker.url, job.name).ask("POST", "/api/pause", b"") == (200, b"done")
            assert asked[1:] == [("GET", "/"), ("POST", "/api/pause")]

    run(scenario)


def test_a_machine_answers_those_with_its_key_or_the_jobs_and_takes_no_orders_from_who_asks(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            told, queue = listened(inbox), QueueNames(job.name).machine("m1")

            async def answer(ask, machine):
                return QueryAnswer(200, f"{ask.target} of {machine}".encode())

            inbox.queries.answer = answer
            hearing = asyncio.create_task(taken(inbox.receive, 1))
            for key in (job.key, read_key(machine_key(job.key, "m1"), "")):
                one = asker(broker.url, job.name, key)
                assert await one.ask_machine("m1", "/ledger") == (200, b"/ledger of m1")
                await one.close()
            stranger = asker(broker.url, job.name, STRANGERS, seconds=1.0)
            with pytest.raises(MachineSilent, match="machine m1: does not answer"):
                await stranger.ask_machine("m1", "/ledger")
            with pytest.raises(MachineSilent, match="machine m7: is not at this broker"):
                await stranger.ask_machine("m7", "/ledger")
            await stranger.close()
            order = forged(job, queue, Control(Limits(), stop=True), Direction.QUESTION, key=job.key)
            await put(broker.url, queue, order)
            await until(lambda: "may not send work or orders" in str(told))
            await transport.send([work(1)], "m1")
            assert await hearing == [work(1)]

    run(scenario)


# --- bombs


def raw(channel, queue, properties, body):
    """Return the frames of a message with properties as no client would write them."""
    head = struct.pack(">HHQ", 60, 0, len(body)) + properties
    method = aiormq.spec.Basic.Publish(routing_key=queue)
    frames = frame._marshal_method_frame(method, channel), frame._marshal(2, channel, head)
    parts = [frame._marshal(3, channel, body[at : at + 100_000]) for at in range(0, len(body), 100_000)]
    return b"".join((*frames, *parts))


async def put_raw(url, queue, properties=b"\0\0", body=b"x"):
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=False)
    sent = asyncio.get_running_loop().create_future()
    await connection.write_queue.put(ChannelFrame(raw(channel.number, queue, properties, body), False, sent))
    await channel.queue_declare(exclusive=True)  # answered after it
    await connection.close()


def nested(depth):
    table = b""
    for _ in range(depth):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    return struct.pack(">H", 1 << 13) + struct.pack(">I", len(table)) + table


@pytest.mark.parametrize("way", ["machine", "receipts", "coordinator"])
@pytest.mark.parametrize(
    "properties",
    [struct.pack(">H", 1 << 9) + b"\x02\xff\xfe", nested(5000), struct.pack(">H", 1 << 6) + b"\xff" * 8],
    ids=["no UTF-8", "nested", "a time beyond all"],
)
def test_what_stands_beside_a_message_ends_no_connection(broker, way, properties):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            lost = []
            transport.link.lost = inbox.link.lost = lost.append
            names = QueueNames(job.name)
            await put_raw(
                broker.url, names.machine("m1") if way == "machine" else getattr(names, way), properties
            )
            await transport.send([work(1)], "m1")
            assert await taken(inbox.receive, 1) == [work(1)]
            await inbox.reply(receipt(1))
            heard = await taken(transport.receive, 2)
            assert {type(message) for message in heard} == {Poison, BatchReceipt}
            assert lost == []

    run(scenario)


def test_a_message_by_way_of_an_exchange_with_a_name_that_is_no_text_ends_no_connection(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            lost = []
            inbox.link.lost = lost.append
            connection = await aiormq.connect(broker.url)
            channel = await connection.channel()
            await channel.exchange_declare(f"strange-{job.name}", exchange_type="fanout", auto_delete=True)
            await channel.queue_bind(QueueNames(job.name).machine("m1"), f"strange-{job.name}")
            method = aiormq.spec.Basic.Publish(exchange=f"strange-{job.name}", routing_key="key")
            frames = frame._marshal_method_frame(method, channel.number).replace(
                b"\x03key", b"\x03\xff\xfe\xfd"
            )
            frames += frame._marshal(2, channel.number, struct.pack(">HHQH", 60, 0, 1, 0))
            frames += frame._marshal(3, channel.number, b"x")
            sent = asyncio.get_running_loop().create_future()
            await connection.write_queue.put(ChannelFrame(frames, False, sent))
            hearing = asyncio.create_task(taken(inbox.receive, 1))
            assert len(await taken(transport.receive, 1, Poison)) == 1
            await transport.send([work(1)], "m1")
            assert await hearing == [work(1)]
            assert lost == []
            await connection.close()

    run(scenario)


def test_a_message_longer_than_any_of_ours_is_never_in_memory_and_in_nobodys_way(broker, monkeypatch):
    monkeypatch.setattr(amqp_stream, "MOST_BODY_BYTES", 1 << 20)

    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            told = listened(inbox)
            await put_raw(broker.url, QueueNames(job.name).machine("m1"), body=bytes(3 << 20))
            await transport.send([work(1, bytes(900_000))], "m1")
            assert await taken(inbox.receive, 1) == [work(1, bytes(900_000))]
            await until(lambda: told)
            assert "empty, or longer than" in told[0]

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 200_000,
        b"\x95\xa8handback\x90\xa2m1\xabinterrupted" + b"\x91" * 200_000,
        b"\x94\xa8handback\x90\xa2\xff\xfe\xabinterrupted",
        encode(BatchReceipt(2**64 - 1, "m1")),
        encode(receipt(1, "m" * 300)),
    ],
    ids=["depth", "ignored depth", "no UTF-8", "number", "name"],
)
def test_bombs_of_somebody_who_has_the_key_are_kept_and_told_and_the_job_goes_on(broker, body):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            told, queue = listened(transport), QueueNames(job.name).receipts
            await put(broker.url, queue, inbox._sealed(queue, body))
            await inbox.reply(receipt(2))
            assert {type(each) for each in await taken(transport.receive, 2)} == {Poison, BatchReceipt}
            assert len(told) == 1

    run(scenario)


def test_a_machine_whose_name_can_be_no_queues_is_not_believed(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            queue, name = QueueNames(job.name).coordinator, "盘" * 80
            await put(broker.url, queue, forged(job, queue, pulse(name), machine=name, key=KEY))
            await inbox.reply(pulse())
            assert await taken(transport.receive, 1) == [pulse()]
            assert transport.rejections.counts == {"the machine's name is too long": 1}

    run(scenario)


def test_a_flood_of_strangers_messages_leaves_a_thousand_in_the_books(broker, monkeypatch):
    monkeypatch.setattr("bucketpull.transport.rabbitmq_coordinator.MOST_KEPT", 10)

    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            told, dead = listened(transport), QueueNames(job.name).dead
            connection = await aiormq.connect(broker.url)
            channel = await connection.channel()
            for number in range(30):
                await channel.basic_publish(b"no message %d" % number, routing_key=dead)
            await connection.close()
            await until(lambda: told and sum(transport.rejections.counts.values()) == 20)
            assert len(await taken(transport.receive, 10)) == 10
            assert told == [
                "a message at the broker was not believed: beyond the first 10 they are counted and not kept"
            ]

    run(scenario)


# --- tasks


def test_a_task_of_the_transport_that_ends_ends_the_job_loudly(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()

            def broken(_):
                raise ZeroDivisionError

            for end in (transport, inbox):
                end.link.lost = broken
                end.link._break()
                for _ in range(2):
                    with pytest.raises(ZeroDivisionError):
                        await asyncio.wait_for(end.receive(), SECONDS)

    run(scenario)


def test_work_is_what_it_was(broker):
    """The longest batches that are made go through whole."""

    async def scenario():
        async with Job(broker.url) as job:
            transport, inbox = await job.coordinator(), await job.inbox()
            long = Work(1, work(1).kind, bytes(4 << 20))
            await transport.send([long], "m1")
            assert await taken(inbox.receive, 1) == [long]

    run(scenario)


def test_of_a_long_message_that_is_not_believed_only_its_beginning_is_kept_in_memory(broker):
    """As many as are prefetched, each as long as the broker takes, would fill the memory of a machine again and again."""

    async def scenario():
        async with Job(broker.url) as job:
            believed = []
            link = broker_link.Link(
                job.url,
                {job.name: {}},
                {},
                {job.name: 10},
                settle_seconds=0,
                believes=lambda _, body: body in believed,
            )
            link.start()
            await asyncio.wait_for(link.connected(), SECONDS)
            body = forged(job, job.name, b"x" * (1 << 20))
            await put(job.url, job.name, body)
            [kept] = await asyncio.wait_for(link.receive(), SECONDS)
            assert (kept.size, len(kept.body)) == (len(body), 4096)
            assert read_header(kept.body)[0].machine == "m1"
            await link.acknowledge(kept)
            believed.append(body)
            await put(job.url, job.name, body)
            [kept] = await asyncio.wait_for(link.receive(), SECONDS)
            assert kept.body == body
            await link.acknowledge(kept)
            await link.close()
            await purge(job.url, job.name, delete=True)

    run(scenario)


def test_a_long_forgery_is_told_and_kept_as_what_it_is(broker):
    async def scenario():
        async with Job(broker.url) as job:
            transport = await job.coordinator()
            told = listened(transport)
            body = forged(job, QueueNames(job.name).receipts, b"x" * (1 << 20))
            await put(job.url, QueueNames(job.name).receipts, body)
            [poison] = await taken(transport.receive, 1)
            assert isinstance(poison, Poison)
            assert f"{len(body)} bytes nobody understands" in poison.detail
            assert "claims to be of machine m1" in poison.detail
            assert any("another job key" in each for each in told)

    run(scenario)
