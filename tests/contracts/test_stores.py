"""Every channel store of the project keeps the contract."""

from reverb.stores.memory import MemoryStore

from .store_contract import StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self, clock):
        return MemoryStore(clock.seconds)
