"""Pictures without a pace: all of a model share their passes, and each goes as fast as this machine can.

Between two passes everything is settled: a change, a return or the end of one concerns the next pass, and nobody waits for it.
"""

from collections.abc import Callable

from edgegen.serve.workers import making as news
from edgegen.serve.workers.complaint import failed
from edgegen.serve.workers.makers import AbstractMaker
from edgegen.serve.workers.making import PROGRESS_S, Making
from edgegen.serve.workers.messages import encode, pack

Clock = Callable[[], float]
Send = Callable[[bytes], None]


class Together:
    """The pictures without a pace of one worker."""

    def __init__(self, maker: AbstractMaker, send: Send, clock: Clock):
        self._maker, self._send, self._clock = maker, send, clock
        self._arrived: dict[str, Making] = {}
        self._forming: dict[str, Making] = {}
        self._by_token: dict[int, Making] = {}

    def __len__(self) -> int:
        return len(self._arrived) + len(self._forming)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._arrived or job_id in self._forming

    def add(self, making: Making) -> None:
        """Take a picture; it joins the next pass that has room."""
        self._arrived[making.job.id] = making

    def retarget(self, job_id: str, steps: int) -> None:
        """Let a picture finish with another number of steps, if it still can."""
        making = self._forming.get(job_id)
        if making is not None:
            self._maker.retarget(making.token, steps)
        elif job_id in self._arrived:
            self._arrived[job_id].wanted = steps

    def release(self, job_id: str) -> None:
        """Give a picture back now."""
        making = self._forming.get(job_id) or self._arrived.get(job_id)
        if making is not None:
            self._send(news.released_at(self._maker, making))
            self.cancel(job_id)

    def cancel(self, job_id: str) -> None:
        """Forget a picture."""
        self._arrived.pop(job_id, None)
        making = self._forming.pop(job_id, None)
        if making is not None:
            self._by_token.pop(id(making.token), None)
            self._maker.drop(making.token)

    def step(self) -> None:
        """Let in who came, and do one pass of every model that has pictures."""
        for making in list(self._arrived.values()):
            self._guarded([making], self._join, making)
        groups: dict[object, list[Making]] = {}
        for making in self._forming.values():
            groups.setdefault(self._maker.shares(making.token), []).append(making)
        for members in groups.values():
            self._guarded(members, self._pass, members)

    def _guarded(self, members: list[Making], work: Callable, argument: object) -> None:
        """Do a piece of work; whatever a model raises is these pictures' failure, not the worker's end."""
        try:
            work(argument)
        except Exception as error:
            for making in members:
                if making.job.id in self:
                    self.cancel(making.job.id)
                    self._send(failed(error, picture=making.job.id, request_id=making.job.request_id))

    def _join(self, making: Making) -> None:
        maker, job = self._maker, making.job
        making.began_s = self._clock()
        if not maker.loaded(job.model):
            maker.load(job.model)
        making.loaded_s = making.told_s = self._clock()
        making.token = maker.join(job, making.due_s)
        self._by_token[id(making.token)] = making
        self._forming[job.id] = self._arrived.pop(job.id)
        if making.wanted is not None:
            maker.retarget(making.token, making.wanted)

    def _pass(self, members: list[Making]) -> None:
        began_s = self._clock()
        for token in self._maker.step(members[0].token):
            making = self._by_token.get(id(token))
            if making is not None:
                making.first_s = began_s if making.first_s is None else making.first_s
                self._tell(making)

    def _tell(self, making: Making) -> None:
        maker, part_s = self._maker, self._clock()
        step, steps = maker.progress(making.token)
        wanted = news.extras(maker, making, step, steps)
        if wanted or step == steps or part_s - making.told_s >= PROGRESS_S:
            making.told_s = part_s
            self._send(news.progress(making, step, steps, wanted))
        if step < steps:
            making.extra_s += self._clock() - part_s
            return
        png_b64 = pack(maker.picture(making.token))
        ended_s = self._clock()
        making.extra_s += ended_s - part_s
        self._send(self._finished(making, png_b64, ended_s))
        self.cancel(making.job.id)

    def _finished(self, making: Making, png_b64: str, ended_s: float) -> bytes:
        first_s = making.loaded_s if making.first_s is None else making.first_s
        return encode(
            "finished",
            id=making.job.id,
            png_b64=png_b64,
            queue_s=making.began_s - making.queued_s + first_s - making.loaded_s,
            load_s=making.loaded_s - making.began_s,
            generate_s=ended_s - first_s,
            compute_s=self._maker.spent_s(making.token) + making.extra_s,
            behind_s=0.0,
        )
