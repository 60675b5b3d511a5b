"""What the packets of a video tell about its frames, without decoding any: when each is shown, and from where it can be
decoded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

REST_S = 0.5
"""Stated but missing seconds from which a file counts as truncated."""


@dataclass(frozen=True)
class FrameIndex:
    """What the packets say, without decoding. Times in seconds from the container's start, ascending."""

    times_s: list[float]  # of every frame that is shown
    ticks: list[int]  # the same in the stream's time base, as its packets carry them
    keys: list[int]  # ticks of the keyframes
    origin_s: Fraction
    end_s: float  # when the last frame of the video ends
    readable_s: float  # when the last packet of any stream ends
    stated_s: float  # what the container states

    @classmethod
    def read(cls, container: Any, stream: Any) -> FrameIndex:
        origin_s = Fraction(container.start_time or 0, av.time_base)
        ticks: list[tuple[int, int]] = []
        keys: list[int] = []
        readable_s = 0.0
        with contextlib.suppress(av.FFmpegError):  # a broken file ends where its packets end
            for packet in container.demux():
                if packet.pts is None or packet.size == 0:
                    continue
                last = (packet.pts + (packet.duration or 0)) * packet.time_base - origin_s
                readable_s = max(readable_s, float(last))
                if packet.stream is stream or packet.stream.index == stream.index:
                    if packet.is_discard:
                        continue
                    ticks.append((packet.pts, packet.duration or 0))
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        ticks.sort()
        base = stream.time_base
        end_s = 0.0
        if ticks:
            # some containers give no durations: the last frame then stays for the usual time
            usual = Fraction(1) / stream.average_rate if stream.average_rate else Fraction(1, 25)
            pts, duration = ticks[-1]
            end_s = float(pts * base - origin_s + (duration * base or usual))
        stated_s = float(Fraction(container.duration, av.time_base)) if container.duration else 0.0
        if stated_s <= readable_s + float(origin_s) + REST_S:
            stated_s = min(stated_s, readable_s)  # Matroska may count its duration from zero, not from its start
        times_s = [float(pts * base - origin_s) for pts, _ in ticks]
        return cls(times_s, [pts for pts, _ in ticks], sorted(keys), origin_s, end_s, readable_s, stated_s)
