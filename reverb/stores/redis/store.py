"""The channel store of nodes that share a Redis.

What this node holds is also kept in its own memory. By that it answers while
Redis is away, and from that it registers again when Redis is back, whatever
Redis still knows. What is kept in Redis: :mod:`reverb.stores.redis.scripts`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from reverb.brokers.link import RECONNECT_GRACE, LinkLostError, wait_for_all
from reverb.envelope import MemberChange
from reverb.interfaces import (
    CachedEvent,
    ChannelCounts,
    ChannelFullError,
    IChannelStore,
    ILinked,
    JoinResult,
    LeaveResult,
    StoreChange,
    StoreRefusedError,
    StoreRestored,
)
from reverb.protocol.messages import Member
from reverb.redis.connections import RedisReplyError
from reverb.redis.link import RedisLink
from reverb.redis.resp import Argument
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import NOBODY, ChannelKey, ChannelSubscriptions
from reverb.stores.redis import scripts
from reverb.stores.redis.event_cache import RedisEventCache
from reverb.stores.redis.leases import LeaseKeeper
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.member_replica import MemberReplica
from reverb.stores.redis.occupancy import Occupancy

_DRAIN_TIMEOUT = 3
"""Seconds that giving up this node's share may take."""
_REFUSALS = (LinkLostError, RedisReplyError, StoreRefusedError)


@implementer(IChannelStore, ILinked)
class RedisStore:
    """Keeps channels in Redis, together with the other nodes.

    Args:
        link: The way to Redis; the broker starts and stops it.
        lease: Seconds after which a node that is silent counts as dead.

    Attributes:
        link_meter: What is counted of the commands' connection.
        session: This node's session in Redis, for others who run scripts there.
        places: Whose coming and going webhooks tell of.
    """

    _log = Logger()

    def __init__(self, link: RedisLink, *, lease: float) -> None:
        self._link = link
        self.link_meter = link.command_meter
        self.session = RedisSession(link)
        self._run, self._ask = self.session.run, self.session.call
        self._reading = self.session.reading
        self._lease_ms = int(lease * 1000)
        self._changed: Callable[[StoreChange], None] = lambda _change: None
        self._share = LocalState(self._tell, self._look_again)
        self.occupancy = Occupancy(self._share, self.session, link.clock)
        self._cache = RedisEventCache(link, self.session)
        self._leases = LeaseKeeper(
            self.session,
            lease=self._lease_ms,
            clock=link.clock,
            may_take_back=lambda: self._grace is None,
            wait=lambda: self.occupancy.longest,
            tell=self._tell,
        )
        self._grace: IDelayedCall | None = None
        link.connect_hooks.append(self._enter)
        link.loss_hooks.append(self._lost)
        link.heartbeat_hooks.append(self._share.on_heartbeat)

    # Being one of several nodes

    @property
    def connected(self) -> bool:
        """Whether this node is registered, and Redis answers."""
        return self.session.token is not None

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Begin; until Redis is there, this node answers by what it knows."""
        self._changed = changed
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Give up this node's share, if Redis is there."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self.session.token is None:
            return
        self._lost()
        node = self._link.node
        self._link.cast("DEL", f"{self._link.url.prefix}:lease:{node}")
        try:
            leaving = self._run(scripts.REAP, self.occupancy.longest, node=node)
            await leaving.addTimeout(_DRAIN_TIMEOUT, self._link.clock)
        except (*_REFUSALS, defer.TimeoutError) as error:
            self._log.warn("this node's lease in Redis has to expire: {why}", why=str(error))

    async def _enter(self) -> None:
        """Register all that this node holds; called after each connect."""
        self.session.load(scripts.ALL)
        await self.occupancy.look()
        token = self.session.make_token()
        held = await self._run(scripts.REGISTER, self._lease_ms, token=token)
        # From here to the last command nothing may intervene: what is asked for later must
        # reach Redis after this node's share has been put right.
        self.session.token = token
        share = self._share
        names = self._reading.texts(held, f"held:{self._link.node}")
        apps = {name for name in names if ":" not in name} | share.connections.keys()
        answers = [
            self._run(scripts.SYNC_CONNECTIONS, app_id, len(share.connections.get(app_id, ())))
            for app_id in apps
        ]
        keys = {_key(name) for name in names if ":" in name} | share.channels.keys()
        answers += [self._sync_channel(key, share.views.get(key)) for key in keys]
        answers += self._cache.put_back()
        answers += self.occupancy.claim()
        # What is spoilt stays so, and has been logged; the rest is registered.
        await wait_for_all(answer.addErrback(_pass_over) for answer in answers)
        self.occupancy.registered()
        self._grace = self._link.clock.callLater(RECONNECT_GRACE, self._end_grace)
        self._leases.start()

    def _end_grace(self) -> None:
        """Believe that who is not in Redis now is not there any more."""
        self._grace = None
        self._share.drop_unconfirmed()
        self._tell(StoreRestored())

    async def tell_restored(self) -> None:
        """Have counts told anew, when a bus is back by which some may have been missed."""
        self._tell(StoreRestored())

    def _sync_channel(self, key: ChannelKey, view: MemberReplica | None) -> "Deferred[Any]":
        """Make this node's share of a channel what it is; a view is given the list."""
        here = self._share.channels.get(key) or ChannelSubscriptions()
        users: list[Argument] = []
        for user_id, user_info in here.roster.items():
            users += [user_id, user_info, here.user_sockets[user_id]]
        if view is not None:
            view.asked = True
        wait = self.occupancy.wait_for_nodes(key)
        answer = self._run(scripts.SYNC_CHANNEL, *key, len(here.sockets), wait, *users)
        answer.addCallback(self._take_members, key, view)
        return answer.addErrback(_go_on, view)

    def _lost(self) -> None:
        """Go on alone, by what this node knows."""
        self.session.token = None
        self.occupancy.remember()
        self._leases.stop()
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._share.enter_degraded_mode()

    def _tell(self, change: StoreChange) -> None:
        self._changed(change)

    def member_changed(self, change: MemberChange) -> None:
        """Take the news of a member from the bus."""
        view = self._share.views.get((change.app_id, change.channel))
        if view is not None:
            view.apply(change.version, change.user_id, change.user_info)

    def _look_again(self, key: ChannelKey) -> None:
        """Get the whole list of members anew, as a change has been missed."""
        self._log.warn("missed a change of the members of {channel}", channel=key[1])
        asking = Deferred.fromCoroutine(self._ask(scripts.MEMBERS_WITH_OURS, *key))
        asking.addCallback(self._take_all_members, key, self._share.views[key])
        asking.addErrback(_go_on, self._share.views[key])
        asking.addErrback(lambda failure: failure.trap(LinkLostError, StoreRefusedError))

    def _take_members(self, answer: list[Any], key: ChannelKey, view: MemberReplica | None) -> None:
        """Give a view the version and the members that Redis has answered."""
        if view is not None:
            version = self._reading.number(answer[0], _at("versions", key[0]))
            view.load_snapshot(self._reading.mapping(answer[1], _at("members", *key)), version)

    def _take_all_members(self, answer: list[Any], key: ChannelKey, view: MemberReplica) -> None:
        self._take_members(answer, key, view)
        if self._grace is None:  # Otherwise its end is near.
            view.drop_unconfirmed()

    # Connections

    def connect(self, app_id: str, socket_id: str, limit: int) -> "Deferred[bool]":
        """Count a connection, unless it is one too many."""
        return Deferred.fromCoroutine(self._connect(app_id, socket_id, limit))

    async def _connect(self, app_id: str, socket_id: str, limit: int) -> bool:
        count = self._share.connect(app_id, socket_id)
        try:
            admitted = bool(await self._ask(scripts.CONNECT, app_id, limit))
        except (LinkLostError, StoreRefusedError):
            admitted = not limit or count <= limit
        if not admitted:
            self._share.disconnect(app_id, socket_id)
        return admitted

    def disconnect(self, app_id: str, socket_id: str) -> "Deferred[None]":
        """Stop counting a connection."""
        return Deferred.fromCoroutine(self._disconnect(app_id, socket_id))

    async def _disconnect(self, app_id: str, socket_id: str) -> None:
        if self._share.disconnect(app_id, socket_id):
            try:
                await self._ask(scripts.DISCONNECT, app_id)
            except (LinkLostError, StoreRefusedError):
                return  # It is not counted when this node registers again.

    def connections(self, app_id: str) -> "Deferred[int]":
        """Count the connections."""
        return Deferred.fromCoroutine(self._connections(app_id))

    async def _connections(self, app_id: str) -> int:
        try:
            count = await self._ask(scripts.CONNECTIONS, app_id)
        except LinkLostError:
            return len(self._share.connections.get(app_id, ()))
        return self._reading.number(count, "connections")

    # Subscriptions

    def join(
        self, app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription."""
        key = (app_id, channel)
        return Deferred.fromCoroutine(self._join(key, socket_id, member, max_members))

    async def _join(
        self, key: ChannelKey, socket_id: str, member: Member | None, max_members: int
    ) -> JoinResult:
        view, is_new = self._share.join(key, socket_id, member)
        # The list of members is asked for once; from then on the bus brings the changes.
        wants_members = view is not None and view.version is None and not view.asked
        if view is not None:
            view.asked = view.asked or wants_members
        who: tuple[Argument, ...] = ("", "", "", "")
        if member is not None:
            who = ("1", int(wants_members), member.user_id, member.user_info)
        try:
            total, added, version, members = await self._ask(
                scripts.JOIN, *key, *who, max_members, self.occupancy.wait(key)
            )
            if view is not None and members is not None:
                self._take_members([version, members], key, view)
        except LinkLostError:
            return self._share.degraded_join(key, socket_id, member, max_members, is_new=is_new)
        except Exception:
            self._share.leave(key, socket_id)
            self._put_right(key, expects_list=wants_members)
            raise
        if total == scripts.FULL:
            self._share.leave(key, socket_id)
            raise ChannelFullError(f"{key[1]} has {max_members} members")
        if view is None or member is None:
            return JoinResult(total == 1, added=False, subscriptions=total, members=NOBODY)
        reaching = view.wait_for_version(self._reading.number(version, _at("versions", key[0])))
        if reaching is not None:
            await reaching
        here = self._share.channels.get(key)
        if here is not None and socket_id in here.sockets and member.user_id not in view.roster:
            view.add(member)  # Others have taken this node for dead meanwhile; it registers anew.
        return JoinResult(total == 1, bool(added), total, view.roster, announced=True)

    def _put_right(self, key: ChannelKey, *, expects_list: bool) -> None:
        """Make this node's share in Redis what it is, after a script that ended half-way."""
        if self.session.token is not None:
            view = self._share.views.get(key) if expects_list else None
            putting = self._sync_channel(key, view)
            putting.addErrback(lambda failure: failure.trap(*_REFUSALS))

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """End a subscription."""
        return Deferred.fromCoroutine(self._leave((app_id, channel), socket_id))

    async def _leave(self, key: ChannelKey, socket_id: str) -> LeaveResult | None:
        here = self._share.channels.get(key)
        if here is None or socket_id not in here.sockets:
            return None
        user_id = here.sockets[socket_id]
        removed_here = self._share.leave(key, socket_id)
        self.occupancy.left(key, removed_here)
        who = ("", "") if user_id is None else ("1", user_id)
        wait = self.occupancy.wait(key)
        try:
            total, removed = await self._ask(scripts.LEAVE, *key, *who, wait)
        except LinkLostError:
            return self._share.is_known_offline(key, removed_here)
        except StoreRefusedError:
            self._put_right(key, expects_list=False)
            return self._share.is_known_offline(key, removed_here)
        return LeaveResult(total == 0, user_id if removed else None, total, announced=True)

    # Questions

    def members(self, app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """List a presence channel's members."""
        return Deferred.fromCoroutine(self._members((app_id, channel)))

    async def _members(self, key: ChannelKey) -> Mapping[str, str]:
        try:
            _, members = await self._ask(scripts.MEMBERS, *key)
        except LinkLostError:
            return self._share.members(key)
        return self._reading.mapping(members, _at("members", *key))

    def counts(self, app_id: str, channel: str) -> "Deferred[ChannelCounts]":
        """Count a channel's subscriptions and users."""
        return Deferred.fromCoroutine(self._counts((app_id, channel)))

    async def _counts(self, key: ChannelKey) -> ChannelCounts:
        try:
            total, users = await self._ask(scripts.COUNTS, *key)
        except LinkLostError:
            return self._share.counts(key)
        return ChannelCounts(self._reading.number(total, _at("channels", key[0])), users)

    def occupied(self, app_id: str, channels: Sequence[str]) -> "Deferred[Mapping[str, bool]]":
        """Tell which channels somebody is subscribed to."""
        return Deferred.fromCoroutine(self._occupied(app_id, channels))

    async def _occupied(self, app_id: str, channels: Sequence[str]) -> Mapping[str, bool]:
        try:
            answers = await self._ask(scripts.OCCUPIED, app_id, *channels)
        except LinkLostError:
            held = self._share.channels
            return {channel: True for channel in channels if (app_id, channel) in held}
        return {c: bool(answer) for c, answer in zip(channels, answers, strict=True)}

    def channels(self, app_id: str, prefix: str) -> "Deferred[Mapping[str, ChannelCounts]]":
        """List the occupied channels."""
        return Deferred.fromCoroutine(self._channels(app_id, prefix))

    async def _channels(self, app_id: str, prefix: str) -> Mapping[str, ChannelCounts]:
        try:
            found = await self._ask(scripts.CHANNELS, app_id, prefix)
        except LinkLostError:
            return self._share.occupied(app_id, prefix)
        read, at = self._reading, _at("channels", app_id)
        return {
            name: ChannelCounts(count, users)
            for raw_name, total, users in found
            if (name := read.text(raw_name, at)) is not None
            and (count := read.number(total, at)) > 0
        }

    # Cache channels

    def cache_event(
        self, app_id: str, channel: str, event: str, data: str, ttl: int
    ) -> "Deferred[None]":
        """Keep a cache channel's last event."""
        return Deferred.fromCoroutine(self._cache.put((app_id, channel), event, data, ttl))

    def get_cached_event(self, app_id: str, channel: str) -> "Deferred[CachedEvent | None]":
        """Find a cache channel's last event."""
        return Deferred.fromCoroutine(self._cache.get((app_id, channel)))


def _key(name: str) -> ChannelKey:
    app_id, _, channel = name.partition(":")
    return app_id, channel


def _at(*parts: str) -> str:
    return ":".join(parts)


def _pass_over(failure: Failure) -> None:
    failure.trap(StoreRefusedError)


def _go_on(failure: Failure, view: MemberReplica | None) -> Failure:
    """Have nobody wait for a list that Redis refuses."""
    if view is not None and failure.check(StoreRefusedError):
        view.detach()
    return failure
