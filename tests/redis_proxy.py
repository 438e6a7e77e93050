"""A way to Redis that can be slow, cut, or lose what it is given; nobody is told.

It runs in a thread of its own, so that tests may block.
"""

import asyncio
import threading
from collections.abc import Callable

TO_REDIS, TO_NODE = "to Redis", "to the node"
BOUND = 20


class _Pipe:
    """One connection of a node, and the one to Redis that belongs to it."""

    def __init__(self, proxy: "Proxy", node: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.node = node
        self.redis: asyncio.StreamWriter | None = None
        self.loses = set(proxy.loses)

    async def pass_on(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65_536):
                await self.proxy.open.wait()
                if way in self.loses:
                    continue
                if self.proxy.delay:
                    loop.call_later(self.proxy.delay, self._write, writer, data)
                else:
                    self._write(writer, data)
        except ConnectionError:
            pass
        finally:
            self.end()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)

    def end(self) -> None:
        for writer in (self.node, self.redis):
            if writer is not None:
                writer.transport.abort()


class Proxy:
    """Listens on a port of its own, and passes everything on to another.

    Args:
        port: That of Redis.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.delay = 0.0
        """Seconds that everything is under way, in each direction."""
        self.loses: set[str] = set()
        """The directions in which nothing goes through on new connections."""
        self._pipes: list[_Pipe] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.open, self._server = self._do(self._listen)
        self.port = self._server.sockets[0].getsockname()[1]

    def _do(self, step: Callable):
        """Carry out a step in the thread."""
        return asyncio.run_coroutine_threadsafe(step(), self._loop).result(BOUND)

    async def _listen(self):
        is_open = asyncio.Event()
        is_open.set()
        return is_open, await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = _Pipe(self, writer)
        self._pipes.append(pipe)
        try:
            there, pipe.redis = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            pipe.end()
            return
        await asyncio.gather(
            pipe.pass_on(TO_REDIS, reader, pipe.redis), pipe.pass_on(TO_NODE, there, writer)
        )
        self._pipes.remove(pipe)

    def url(self, prefix: str = "reverb") -> str:
        return f"redis://127.0.0.1:{self.port}/0?prefix={prefix}"

    def cut(self) -> None:
        """Hold back what comes, in both directions, also on new connections."""

        async def cut() -> None:
            self.open.clear()

        self._do(cut)

    def mend(self) -> None:
        """Let everything through that has been held back; of what was lost nothing comes back."""

        async def mend() -> None:
            self.loses.clear()
            self.open.set()

        self._do(mend)

    def lose(self, *ways: str, connection: int | None = None) -> None:
        """Lose whatever comes, on one connection or on all, also new ones; none is closed."""

        async def lose() -> None:
            pipes = self._pipes if connection is None else [self._pipes[connection]]
            for pipe in pipes:
                pipe.loses |= set(ways)
            if connection is None:
                self.loses |= set(ways)

        self._do(lose)

    def stop(self) -> None:
        async def stop() -> None:
            self._server.close()
            self.open.set()
            for pipe in self._pipes:
                pipe.end()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(others, timeout=BOUND) if others else None

        self._do(stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()
