"""The chains that lead from a server's certificate towards its root."""

import datetime as dt

import pytest
from cryptography.x509 import load_pem_x509_certificate

from reverb.listening.certificate_chains import ChainBuilder
from tests.support.authority import DAY, Authority, common_name

NOW = dt.datetime.now(dt.UTC)


def load(pem):
    return load_pem_x509_certificate(pem)


def build(leaf, *pems):
    return ChainBuilder([load(pem) for pem in pems], NOW).build(load(leaf))


@pytest.fixture
def root():
    return Authority("Root")


@pytest.fixture
def middle(root):
    return Authority("Middle", root)


@pytest.fixture
def leaf(middle):
    return middle.issue("host.example")[0]


def test_a_root_is_not_in_the_chain(root, middle, leaf):
    assert build(leaf, root.pem, middle.pem, leaf) == [middle.certificate]
    assert build(root.pem, root.pem) == []


def test_without_the_issuer_there_is_no_chain(leaf, root):
    assert build(leaf, leaf, root.pem) == []


def test_two_authorities_that_have_signed_each_other_end_the_chain():
    one, other = Authority("One"), Authority("Other")
    leaf, _ = one.issue("host.example")
    chain = build(leaf, one.cross_sign(other), other.cross_sign(one))
    assert [common_name(each) for each in chain] == ["One", "Other"]


def test_an_issuer_of_the_same_name_with_another_key_is_not_in_the_chain(middle, leaf, root):
    other = Authority("Middle", root)
    assert build(leaf, other.pem, middle.pem) == [middle.certificate]
    assert build(leaf, other.pem) == []


def test_of_several_certificates_of_one_issuer_the_newest_is_in_the_chain(middle, leaf, root):
    older, newer = (root.cross_sign(middle, begin=-days * DAY) for days in (3, 2))
    assert build(leaf, older, newer, older) == [load(newer)]


def test_the_length_of_a_chain_is_limited():
    authorities = [Authority("0")]
    for number in range(1, 30):
        authorities.append(Authority(str(number), authorities[-1]))
    leaf, _ = authorities[-1].issue("host.example")
    assert len(build(leaf, *(authority.pem for authority in authorities))) == 10
