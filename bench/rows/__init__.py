"""What is measured: each row is a function that yields what it found out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.context import Context
from bench.results import Case
from bench.rows import channels, connections, fanout, presence, trouble, variants


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: What ``--only`` calls it.
        run: Measures it.
        about: What it is, in a sentence or two.
    """

    name: str
    run: Callable[[Context], Iterator[Case]]
    about: str


ROWS = (
    Row("one-at-a-time", fanout.one_at_a_time, (
        "One publisher publishes to 1,000 subscribers, and again as soon as all have received it: "
        "what one delivery costs."
    )),
    Row("publishers", fanout.many_publishers, (
        "Ten publishers at once publish to the same 1,000 subscribers: what arrives together is "
        "sent together."
    )),
    Row("batches", fanout.batches, (
        "The same, and each of the ten publishes batches of ten events."
    )),
    Row("latency", fanout.latency, (
        "40 publishes a second to 1,000 subscribers: how long it takes from the publish to each "
        "of the deliveries, the generator's own reading included."
    )),
    Row("scale", fanout.scale, (
        "One publish at a time, and the latency at 10 publishes a second, for 10 to 10,000 "
        "subscribers."
    )),
    Row("rates", fanout.rates, (
        "The CPU that 10 to 120 publishes a second to 1,000 subscribers take."
    )),
    Row("publishes", channels.publishes, (
        "32 publishers publish to a single subscriber: what one signed request to the HTTP API "
        "costs."
    )),
    Row("channels", channels.many_channels, (
        "One publisher publishes, one at a time, to one of 10,000 channels at random, each with "
        "one subscriber, and to one lone channel: what the number of channels costs."
    )),
    Row("pings", channels.pings, (
        "50 clients send pusher:ping, and again as soon as pusher:pong arrives: what a client's "
        "message costs."
    )),
    Row("connections", connections.connections, (
        "5,000 clients connect and subscribe, 32 at a time."
    )),
    Row("many-connections", connections.many_connections, (
        "Memory as connections grow up to 50,000, or to what the limit of open files allows."
    )),
    Row("idle", connections.idle, (
        "10,000 clients say nothing, and answer the server's pings. So that the window holds two "
        "pings for each, ping_interval is 10 s here; by default it is 60 s, and the CPU a sixth."
    )),
    Row("departure", connections.departure, (
        "10,000 clients vanish at once (TCP reset): how long a newcomer waits until it is "
        "connected and subscribed, and what is left of them ten seconds later."
    )),
    Row("presence", presence.members, (
        "1,000 members join one presence channel, one after the other, and each is told of by "
        "all before: what one member_added costs; compare it with one-at-a-time. The lists of "
        "members that the newcomers get are part of it."
    )),
    Row("slow-clients", trouble.slow_clients, (
        "100 messages of 2 KB a second to 1,000 subscribers, of whom none, one or 100 stop "
        "reading: the server cuts those, and the others notice nothing."
    )),
    Row("tls", variants.tls, (
        "1,000 subscribers connect with TLS, then one publisher publishes as in one-at-a-time."
    )),
    Row("compression", variants.compression, (
        "One publisher publishes 2 KB of text to 1,000 subscribers, without and with "
        "permessage-deflate."
    )),
    Row("metrics", variants.metrics, (
        "One-at-a-time and publishes, without and with metrics being collected: by turns, of five "
        "measurements each the one in the middle."
    )),
    Row("workers", variants.workers, (
        "One publisher publishes batches of ten events to 1,000 subscribers, and 32 publish to "
        "one, with one and with two workers that share a Redis. The second has a core of its own "
        "only where there are three; with two it shares the generator's, which is Redis's too."
    )),
)  # fmt: skip
