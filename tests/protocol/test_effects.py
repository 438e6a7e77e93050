"""What follows from a change of a channel."""

import msgspec
import pytest

from reverb.protocol import effects
from reverb.protocol.changes import (
    ChannelReaped,
    JoinResult,
    LeaveResult,
    MemberJoined,
    MemberLeft,
)
from reverb.protocol.effects import Effects
from reverb.protocol.messages import Member
from reverb.protocol.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    MemberAdded,
    MemberRemoved,
)

ANN = Member("ann", '{"name":"Ann"}')


def joined(*, occupied=False, added=False, announced=False, members=None):
    return JoinResult(
        occupied=occupied,
        added=added,
        subscriptions=1,
        members=members or {},
        announced=announced,
    )


def left(*, vacated=False, removed=None, announced=False):
    return LeaveResult(vacated=vacated, removed=removed, subscriptions=0, announced=announced)


def decoded(payload):
    message = msgspec.json.decode(payload)
    return message["event"].partition(":")[2], msgspec.json.decode(message["data"])


class TestJoin:
    def test_a_further_subscription_is_only_confirmed(self):
        follows = effects.of_join("1", "news", "1.1", None, joined())

        assert decoded(follows.reply) == ("subscription_succeeded", {})
        assert (follows.publication, follows.notices) == (None, ())

    def test_the_first_subscription_occupies_the_channel(self):
        follows = effects.of_join("1", "news", "1.1", None, joined(occupied=True))

        assert follows.notices == (ChannelOccupied(app_id="1", channel="news"),)

    def test_a_new_member_is_announced_to_the_others_and_confirmed_with_all_members(self):
        result = joined(occupied=True, added=True, members={"ann": '{"name":"Ann"}'})
        follows = effects.of_join("1", "presence-x", "1.1", ANN, result)

        event, data = decoded(follows.publication)
        assert (event, data["user_id"], follows.exclude) == ("member_added", "ann", "1.1")
        event, data = decoded(follows.reply)
        assert (event, data["presence"]["ids"]) == ("subscription_succeeded", ["ann"])
        assert follows.notices == (
            ChannelOccupied(app_id="1", channel="presence-x"),
            MemberAdded(app_id="1", channel="presence-x", user_id="ann"),
        )

    def test_a_user_who_is_a_member_already_is_not_announced(self):
        result = joined(members={"ann": "{}"})
        follows = effects.of_join("1", "presence-x", "1.1", ANN, result)

        assert (follows.publication, follows.notices) == (None, ())
        assert follows.reply is not None

    def test_a_store_that_announces_members_itself(self):
        result = joined(added=True, announced=True, members={"ann": "{}"})
        follows = effects.of_join("1", "presence-x", "1.1", ANN, result)

        assert follows.publication is None
        assert follows.notices == (MemberAdded(app_id="1", channel="presence-x", user_id="ann"),)


class TestLeave:
    def test_nothing_follows_while_others_are_subscribed(self):
        assert effects.of_leave("1", "news", left()) == Effects()

    def test_the_last_subscription_vacates_the_channel(self):
        follows = effects.of_leave("1", "news", left(vacated=True))

        assert follows == Effects(notices=(ChannelVacated(app_id="1", channel="news"),))

    @pytest.mark.parametrize("announced", [False, True])
    def test_a_removed_member_is_announced_unless_the_store_does_it(self, announced):
        result = left(vacated=True, removed="ann", announced=announced)
        follows = effects.of_leave("1", "presence-x", result)

        assert (follows.publication is None) == announced
        assert announced or decoded(follows.publication) == ("member_removed", {"user_id": "ann"})
        assert follows.exclude is None
        assert follows.notices == (
            MemberRemoved(app_id="1", channel="presence-x", user_id="ann"),
            ChannelVacated(app_id="1", channel="presence-x"),
        )


class TestOtherChanges:
    def test_a_reaped_channel_has_notices_only(self):
        change = ChannelReaped("1", "presence-x", ("ann", "bob"), vacated=True)

        assert effects.of_reap(change) == Effects(
            notices=(
                MemberRemoved(app_id="1", channel="presence-x", user_id="ann"),
                MemberRemoved(app_id="1", channel="presence-x", user_id="bob"),
                ChannelVacated(app_id="1", channel="presence-x"),
            )
        )

    @pytest.mark.parametrize("member", [None, ANN])
    def test_a_client_event_is_published_to_the_others(self, member):
        follows = effects.of_client_event(
            "1", "private-x", "1.1", member, event="client-e", data="d"
        )

        user_id = member and member.user_id
        assert msgspec.json.decode(follows.publication).get("user_id") == user_id
        assert (follows.exclude, follows.reply) == ("1.1", None)
        assert follows.notices == (
            ClientEvent(
                app_id="1",
                channel="private-x",
                event="client-e",
                data="d",
                socket_id="1.1",
                user_id=user_id,
            ),
        )

    def test_a_cache_miss(self):
        follows = effects.of_cache_miss("1", "cache-x")

        assert msgspec.json.decode(follows.reply)["event"] == "pusher:cache_miss"
        assert follows.notices == (CacheMiss(app_id="1", channel="cache-x"),)

    def test_the_message_of_a_member_change(self):
        event, data = decoded(effects.member_message(MemberJoined("1", "presence-x", ANN)))
        assert (event, data) == ("member_added", {"user_id": "ann", "user_info": {"name": "Ann"}})

        event, data = decoded(effects.member_message(MemberLeft("1", "presence-x", "ann")))
        assert (event, data) == ("member_removed", {"user_id": "ann"})
