"""The same client for every server: `python -m edgegen.bench._rate HOST PORT PATH CLIENTS SECONDS < BODIES`.

CLIENTS kept connections send the bodies, one a line, round and round for so long, each its next one when the last is answered.
Prints one JSON line: for every answer the moment since the start and the latency, in seconds.
"""

import asyncio
import itertools
import json
import sys
import time

from edgegen.bench._load import read_answer


async def run(host: str, port: int, path: str, clients: int, seconds: float, bodies: list[bytes]) -> list[list[float]]:
    """Return (moment, latency) of every answer."""
    requests = itertools.cycle([_request(host, port, path, body) for body in bodies])
    began_s = time.perf_counter()

    async def client() -> list[list[float]]:
        reader, writer = await asyncio.open_connection(host, port)
        samples = []
        while (sent_s := time.perf_counter()) - began_s < seconds:
            writer.write(next(requests))
            await read_answer(reader)
            now_s = time.perf_counter()
            samples.append([now_s - began_s, now_s - sent_s])
        writer.close()
        await writer.wait_closed()
        return samples

    return [sample for samples in await asyncio.gather(*(client() for _ in range(clients))) for sample in samples]


def _request(host: str, port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    """Read what to do from the arguments."""
    host, port, path, clients, seconds = sys.argv[1:6]
    bodies = sys.stdin.buffer.read().splitlines()
    samples = asyncio.run(run(host, int(port), path, int(clients), float(seconds), bodies))
    sys.stdout.write(json.dumps(samples) + "\n")


if __name__ == "__main__":
    main()
