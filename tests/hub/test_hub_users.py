"""Signed-in users: events from the server, and termination of their connections."""

from reverb.envelope import Termination
from reverb.testing import HeldBroker

from .conftest import APP, Node


def test_the_server_reaches_every_connection_of_a_user(node):
    anns, bob = [node.connect(), node.connect()], node.connect()
    for client, user_id in [*((ann, "ann") for ann in anns), (bob, "bob")]:
        client.sign_in(user_id)
        client.subscribe(f"#server-to-user-{user_id}")
        client.take()

    node.publish("#server-to-user-ann")

    message = ("e", "#server-to-user-ann", 1)
    assert [client.take() for client in [*anns, bob]] == [[message], [message], []]


def test_terminate_closes_the_connections_that_are_signed_in(node):
    anns, bob, member = [node.connect(), node.connect()], node.connect(), node.connect()
    for ann in anns:
        ann.sign_in("ann")
    bob.sign_in("bob")
    member.subscribe("presence-x", "ann")

    node.hub.terminate(APP, "ann")

    assert [ann.connection.closed[0] for ann in anns] == [4009, 4009]
    assert not any(ann.session.open for ann in anns)
    assert bob.connection.closed is None
    assert member.connection.closed is None


def test_terminate_goes_through_the_broker():
    broker = HeldBroker()
    node = Node(broker=broker)
    ann = node.connect()
    ann.sign_in("ann")

    node.hub.terminate(APP, "ann")
    assert broker.held == [Termination(APP.id, "ann")]
    assert ann.connection.closed is None
    broker.release()
    assert ann.connection.closed is not None


def test_terminating_an_unknown_user_does_nothing(node):
    node.hub.terminate(APP, "ann")
    ann = node.connect()
    ann.sign_in("ann")

    assert ann.connection.closed is None


def test_a_terminated_user_may_sign_in_again(node):
    ann = node.connect()
    ann.sign_in("ann")
    node.hub.terminate(APP, "ann")
    ann.leave()
    again = node.connect()
    again.sign_in("ann")

    assert again.events() == ["signin_success"]
    assert again.connection.closed is None


def test_a_repeated_sign_in_counts_once(node):
    ann = node.connect()
    ann.sign_in("ann")
    ann.sign_in("ann")
    ann.leave()

    node.assert_empty()
