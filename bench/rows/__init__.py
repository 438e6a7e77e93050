"""The rows of the benchmark: each is a function that yields cases."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.context import Context
from bench.results import Case
from bench.rows import channels, connections, fanout, presence, slow, variants


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: Its name for ``--only``.
        run: Measures the row.
        about: A description in a sentence or two.
    """

    name: str
    run: Callable[[Context], Iterator[Case]]
    about: str


ROWS = (
    Row("one-at-a-time", fanout.one_at_a_time, (
        "One publisher publishes to 1,000 subscribers, and again as soon as all have received it: "
        "the cost of one delivery."
    )),
    Row("publishers", fanout.many_publishers, (
        "Ten publishers at once publish to the same 1,000 subscribers: messages that arrive "
        "together share a write."
    )),
    Row("batches", fanout.batches, (
        "Like publishers, but each publishes batches of ten events."
    )),
    Row("shared-channels", fanout.shared_channels, (
        "Ten publishers at once publish, each to a channel of its own, to 1,000 subscribers of all "
        "ten channels: messages on several channels share a write, too."
    )),
    Row("latency", fanout.latency, (
        "40 publishes a second to 1,000 subscribers: the time from the publish to each delivery, "
        "including the generator's own reading."
    )),
    Row("scale", fanout.scale, (
        "One publish at a time, and the latency at 10 publishes a second, for 10 to 10,000 "
        "subscribers."
    )),
    Row("rates", fanout.rates, (
        "The CPU usage at 10 to 120 publishes a second to 1,000 subscribers."
    )),
    Row("publishes", channels.publishes, (
        "32 publishers publish to a single subscriber: the cost of one signed request to the HTTP "
        "API."
    )),
    Row("channels", channels.many_channels, (
        "One publisher publishes, one at a time, to one of 10,000 channels at random, each with "
        "one subscriber, and to a single channel: the cost of many channels."
    )),
    Row("pings", channels.pings, (
        "50 clients send pusher:ping, and again as soon as pusher:pong arrives: the cost of a "
        "client's message."
    )),
    Row("connections", connections.connections, (
        "5,000 clients connect and subscribe, 32 at a time."
    )),
    Row("many-connections", connections.many_connections, (
        "Memory for growing numbers of connections, up to 50,000 or the limit of open files."
    )),
    Row("idle", connections.idle, (
        "10,000 clients are idle, and answer the pings. ping_interval is 10 s here, so the "
        "window has two pings for each; with the default of 45 s the CPU usage is less than a "
        "quarter."
    )),
    Row("departure", connections.departure, (
        "10,000 clients disconnect at once (TCP reset): the time until a new client is connected "
        "and subscribed, and the memory and connections left ten seconds later."
    )),
    Row("presence", presence.members, (
        "1,000 members join one presence channel, one after the other, and each join is announced "
        "to all earlier members: the cost of one member_added, including the lists of members "
        "for the new ones; compare it with one-at-a-time."
    )),
    Row("slow-clients", slow.slow_clients, (
        "100 messages of 2 KB a second to 1,000 subscribers, of which none, one or 100 stop "
        "reading: the server disconnects these, and the others notice nothing."
    )),
    Row("tls", variants.tls, (
        "1,000 subscribers connect with TLS, and one publisher publishes as in one-at-a-time."
    )),
    Row("compression", variants.compression, (
        "One publisher publishes 2 KB of text to 1,000 subscribers, without and with "
        "permessage-deflate."
    )),
    Row("metrics", variants.metrics, (
        "One-at-a-time and publishes, with and without metrics: the median of five measurements "
        "each, taken in turns."
    )),
    Row("workers", variants.workers, (
        "One publisher publishes batches of ten events to 1,000 subscribers, and 32 publish to "
        "one, with one and with two workers that share a Redis. The second worker has its own "
        "core on machines with three cores; with two it shares one with the generator and Redis."
    )),
)  # fmt: skip
