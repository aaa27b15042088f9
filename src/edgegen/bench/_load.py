"""A load generator with little time of its own: raw HTTP/1.1 over kept connections. Prints one JSON line of samples.

`python -m edgegen.bench._load HOST PORT CLIENTS WARM < BODIES`: CLIENTS connections send the bodies, one a line, together,
each its next one when the last is answered. The first WARM of them warm up. A sample is (latency, the worker's own time), in
seconds.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterable

Sample = tuple[float, float]


async def run(host: str, port: int, clients: int, bodies: Iterable[bytes]) -> list[Sample]:
    """Return one sample per body."""
    left = iter([_request(host, port, body) for body in bodies])

    async def client() -> list[Sample]:
        reader, writer = await asyncio.open_connection(host, port)
        samples = []
        for request in left:
            began_s = time.perf_counter()
            writer.write(request)
            answer = await read_answer(reader)
            samples.append((time.perf_counter() - began_s, _worker_s(answer)))
        writer.close()
        await writer.wait_closed()
        return samples

    return [sample for samples in await asyncio.gather(*(client() for _ in range(clients))) for sample in samples]


def _request(host: str, port: int, body: bytes) -> bytes:
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Return the body of an answer. **Raises** `RuntimeError` for any but a success."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    body = await reader.readexactly(length)
    if head.split(b" ", 2)[1] not in (b"200", b"202"):
        raise RuntimeError(f"the gateway answered {head.splitlines()[0].decode()}: {body[:300].decode()}")
    return body


def _worker_s(answer: bytes) -> float:
    actual = json.loads(answer)["edgegen"]["items"][0]["actual"]
    return actual["load_s"] + actual["generate_s"]


def main() -> None:
    """Warm the connections and the gateway up, then measure."""
    host, port, clients, warm = sys.argv[1:5]
    given, bodies = (host, int(port), int(clients)), sys.stdin.buffer.read().splitlines()
    asyncio.run(run(*given, bodies[: int(warm)]))
    sys.stdout.write(json.dumps(asyncio.run(run(*given, bodies[int(warm) :]))) + "\n")


if __name__ == "__main__":
    main()
