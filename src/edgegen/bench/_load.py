"""A load generator with little time of its own: raw HTTP/1.1 over kept connections. Prints one JSON line of samples.

`python -m edgegen.bench._load HOST PORT CLIENTS COUNT BODY`: CLIENTS connections send COUNT requests together, each its
next one when the last is answered. A sample is (latency, the worker's own time), in seconds.
"""

import asyncio
import json
import sys
import time

Sample = tuple[float, float]


async def run(host: str, port: int, clients: int, count: int, body: bytes) -> list[Sample]:
    """Return one sample per request."""
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    left = iter(range(count))

    async def client() -> list[Sample]:
        reader, writer = await asyncio.open_connection(host, port)
        samples = []
        for _ in left:
            began_s = time.perf_counter()
            writer.write(request)
            answer = await _answer(reader)
            samples.append((time.perf_counter() - began_s, _worker_s(answer)))
        writer.close()
        await writer.wait_closed()
        return samples

    return [sample for samples in await asyncio.gather(*(client() for _ in range(clients))) for sample in samples]


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    body = await reader.readexactly(length)
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"the gateway answered {head.splitlines()[0].decode()}: {body[:300].decode()}")
    return body


def _worker_s(answer: bytes) -> float:
    actual = json.loads(answer)["edgegen"]["items"][0]["actual"]
    return actual["load_s"] + actual["generate_s"]


def main() -> None:
    """Warm the connections and the gateway up, then measure."""
    host, port, clients, count, body = sys.argv[1:6]
    given = (host, int(port), int(clients))
    asyncio.run(run(*given, max(20, int(count) // 10), body.encode()))
    sys.stdout.write(json.dumps(asyncio.run(run(*given, int(count), body.encode()))) + "\n")


if __name__ == "__main__":
    main()
