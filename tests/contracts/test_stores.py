"""The channel stores that need no Redis pass the store contract."""

from reverb.stores.memory import MemoryStore
from reverb.stores.node_local import NodeLocalStore
from reverb.testing.contracts import StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self, clock):
        return MemoryStore(clock.seconds)


class TestNodeLocalStore(StoreContract):
    def make_store(self, clock):
        return NodeLocalStore(clock.seconds)
