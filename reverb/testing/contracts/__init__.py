"""The contracts of channel stores and brokers, as test suites for pytest.

Each suite tests what every implementation of an interface must do. To test an implementation of
your own, subclass the suite for the interface in a test module::

    from reverb.testing.contracts import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self, clock):
            return MyStore(clock.seconds)

======================  ============================================================
Suite                   What it tests
======================  ============================================================
StoreContract           ``IChannelStore``, on one node
SharedStoreContract     ``IChannelStore``, on two nodes of one deployment
BrokerContract          ``IBroker``, on one node
SharedBrokerContract    ``IBroker``, between nodes of one deployment
======================  ============================================================

In :mod:`reverb.testing`, only these suites need pytest. Add this line to your ``conftest.py``, so
that pytest shows the values in a failed assertion of a suite::

    pytest.register_assert_rewrite("reverb.testing.contracts")
"""

from reverb.testing.contracts.broker import BrokerContract, SharedBrokerContract
from reverb.testing.contracts.shared_store import SharedStoreContract
from reverb.testing.contracts.store import StoreContract

__all__ = ["BrokerContract", "SharedBrokerContract", "SharedStoreContract", "StoreContract"]
