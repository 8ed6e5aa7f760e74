"""A written video with the sound of another file, in time with its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from datagen.media import video
from datagen.media.container import opened

BLOCK = 1024  # samples: what an AAC encoder takes at once
RATES = (
    32000,
    44100,
    48000,
)  # Hz that stay; packets of slower ones would reach far beyond the last picture
OTHER_RATE = 48000  # Hz
BIT_RATE = 96_000  # bits/s a channel
UNEVEN = 0.05  # s by which timestamps may waver before silence is put in, or samples are left out


class SoundWriter(video.Writer):
    """A Writer whose file has the sound of `source`, as long as its own pictures; none if `source`
    has none.

    AAC is copied, any other codec is encoded as AAC. Sound before the first picture of `source` is
    left out.
    """

    def __init__(self, path: str | Path, fps: int | Fraction, source: str | Path, **options: Any):
        super().__init__(path, fps, **options)
        self.source = source
        self._sound: Any = None
        self._packets: Iterator[tuple[float, Any]] = iter(())
        self._next: tuple[float, Any] | None = None

    def write(self, rgb: np.ndarray) -> None:
        super().write(rgb)
        self._follow()

    def __exit__(self, kind, error, trace) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            if self._sound is not None:
                self._sound.close()

    def _start(self, height: int, width: int) -> None:
        super()._start(height, width)
        probe = video.probe(self.source)
        if probe.has_audio:
            self._sound = opened(Path(self.source))
            self._packets = _packets(self._sound, self._container, probe.start)
            self._next = next(self._packets, None)

    def _follow(self) -> None:
        """The sound up to the end of the last picture, so that the muxer never holds more than a
        moment of either.
        """
        end = float(self.count / self.fps)
        while self._next is not None and self._next[0] < end - 1e-6:
            self._container.mux(self._next[1])
            self._next = next(self._packets, None)


def _packets(source: Any, target: Any, origin: float) -> Iterator[tuple[float, Any]]:
    """(time s, packet) of `target`'s new stream of sound; `origin` is the time of the first picture
    in `source`.
    """
    stream = source.streams.best("audio")
    if stream.codec_context is None:
        return iter(())
    if stream.codec_context.name == "aac":
        return _copied(source, stream, target.add_stream_from_template(stream), origin)
    rate = stream.rate if stream.rate in RATES else OTHER_RATE
    layout = "mono" if stream.channels == 1 else "stereo"
    aac = target.add_stream("aac", rate=rate, layout=layout)
    aac.bit_rate, aac.codec_context.thread_count = BIT_RATE * aac.channels, 1
    return _encoded(_blocks(_placed(source, stream, origin, rate, layout)), aac)


def _copied(source: Any, stream: Any, target: Any, origin: float) -> Iterator[tuple[float, Any]]:
    """From one packet before the first picture on: a decoder needs it for the first samples."""
    for packet in source.demux(stream):
        if packet.pts is None:
            continue
        time = float(packet.pts * packet.time_base) - origin
        if time > -2 * float((packet.duration or 0) * packet.time_base) - 1e-6:
            packet.pts = packet.dts = packet.pts - round(origin / packet.time_base)
            packet.stream = target
            yield time, packet


def _encoded(blocks: Iterator[np.ndarray], stream: Any) -> Iterator[tuple[float, Any]]:
    base = Fraction(1, stream.rate)
    for number, block in enumerate(blocks):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block), format="fltp", layout=stream.layout.name
        )
        frame.sample_rate, frame.pts, frame.time_base = stream.rate, number * BLOCK, base
        yield from _timed(stream.encode(frame))
    yield from _timed(stream.encode())


def _timed(packets: list[Any]) -> list[tuple[float, Any]]:
    return [(float(packet.pts * packet.time_base), packet) for packet in packets]


def _blocks(pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Samples [channels, n] of any n as [channels, BLOCK], the last one filled up with silence."""
    held: np.ndarray | None = None
    for piece in pieces:
        held = piece if held is None else np.concatenate([held, piece], axis=1)
        while held.shape[1] >= BLOCK:
            yield held[:, :BLOCK]
            held = held[:, BLOCK:]
    if held is not None and held.shape[1]:
        yield np.pad(held, ((0, 0), (0, BLOCK - held.shape[1])))


def _placed(
    source: Any, stream: Any, origin: float, rate: int, layout: str
) -> Iterator[np.ndarray]:
    """Samples float32 [channels, n] from the first picture on, each where its timestamp says;
    silence between.
    """
    resampler = av.AudioResampler("fltp", layout, rate)
    silence = np.zeros((len(av.AudioLayout(layout).channels), BLOCK), np.float32)
    placed = 0
    for time, frame in _decoded(source, stream):
        samples = np.concatenate(
            [silence[:, :0], *(part.to_ndarray() for part in resampler.resample(frame))], axis=1
        )
        ahead = round((time - origin) * rate) - placed
        if placed and abs(ahead) < UNEVEN * rate:
            ahead = 0
        for begin in range(0, ahead, BLOCK):
            yield silence[:, : ahead - begin]
        yield samples[:, max(-ahead, 0) :]
        placed += max(ahead + samples.shape[1], 0)


def _decoded(source: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """(time s, frame); a damaged packet is left out, which is silence."""
    for packet in source.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        yield from ((frame.time, frame) for frame in frames if frame.pts is not None)
