"""What is true of every store and every broker, as suites for pytest.

Subclass one in a test module of yours to test an implementation of your own::

    from reverb.testing.contracts import StoreContract

    class TestMyStore(StoreContract):
        def make_store(self, clock):
            return MyStore(clock.seconds)

The ``Shared`` suites are for several nodes of one deployment. They need
pytest, which the rest of :mod:`reverb.testing` does not. For failures to be
explained as those of your own tests are, write into your ``conftest.py``::

    pytest.register_assert_rewrite("reverb.testing.contracts")
"""

from reverb.testing.contracts.broker import BrokerContract, SharedBrokerContract
from reverb.testing.contracts.shared_store import SharedStoreContract
from reverb.testing.contracts.store import StoreContract

__all__ = ["BrokerContract", "SharedBrokerContract", "SharedStoreContract", "StoreContract"]
