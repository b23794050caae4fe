"""Start time of each audio packet: its time stamp without jitter, false jumps and overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# A time stamp this close to the sample count is jitter; a larger difference is a gap or overlap.
JITTER_S = 0.05
# A stamp this far beyond the length in the header is wrong.
BEYOND_STATED_S = 10.0
# Stamps in larger ticks than this are rounded, so that durations of packets do not add up.
_FINE_TICK_S = 1 / 8000
# A packet without a length lasts until the next one, unless that is further away than this.
_LONGEST_UNSTATED_S = 0.5


@dataclass(frozen=True)
class AudioPackets:
    """The packets of one audio stream, in file order.

    Attributes:
      stamps: presentation stamps in ticks; None where a packet has none.
      durations: in ticks; 0 where unknown.
      sizes: in bytes.
      lost_bytes: bytes without a frame, within or after a packet, for formats without stamps.
      tick_s: length of a tick.
      zero_s: time on the stream's clock at the start of the file.
      frame_s: length of every packet if the codec fixes it, else 0.
      restarts: whether its clock may restart, as in joined transport streams.
      header_duration_s: length in the header; 0 if there is none.
      is_unbroken: whether the format has no pauses, so that every gap is lost audio.
    """

    stamps: Sequence[int | None]
    durations: Sequence[int]
    sizes: Sequence[int]
    lost_bytes: Sequence[int]
    tick_s: float
    zero_s: float
    frame_s: float
    restarts: bool
    header_duration_s: float
    is_unbroken: bool = False


class PacketPlacement(NamedTuple):
    """Position of one packet's audio, in seconds from the start of the file.

    Attributes:
      start_s: of its first sample.
      shift_s: offset added to the stamps of its frames.
      keep_from_s: earlier audio was already decoded; above `start_s` if packets overlap.
      run_start_s: start of its run, a sequence of packets without a gap.
      duration_s: exact length; None if it is not known exactly.
    """

    start_s: float
    shift_s: float
    keep_from_s: float
    run_start_s: float
    duration_s: float | None


class AudioTimeline:
    """Gives the start time of each audio packet, independent of where reading begins.

    Samples are counted from the first time stamp of a run. A time stamp more than `JITTER_S` away
    from the count begins a new run: a gap becomes silence, and in an overlap the earlier audio
    stays. Clock drift is followed in such steps. Three kinds of time stamps are ignored: a jump
    forward from which later ones return, one beyond the header's duration, and a single one that
    its neighbours contradict. After a jump back in a format whose clock may restart, samples are
    counted on.

    Args:
      packets: all packets of the stream.
    """

    def __init__(self, packets: AudioPackets) -> None:
        self._zero_s, self._tick_s = packets.zero_s, packets.tick_s
        self._stamps = np.array(
            [_NO_STAMP if stamp is None else stamp for stamp in packets.stamps], np.int64
        )
        has_stamp = self._stamps != _NO_STAMP
        self.has_stamps = bool(has_stamp.any())
        ticks = self._stamps.astype(np.float64)
        self._stamps_s = np.where(has_stamp, ticks * packets.tick_s - packets.zero_s, np.nan)
        self.lengths_s, self._is_exact = _lengths_s(packets, self._stamps_s)
        lost_s = _lost_s(packets, self.lengths_s)
        told_s = self._stamps_s + np.concatenate([[0.0], np.cumsum(lost_s)])[:-1]
        self._place(told_s, packets)
        self._promise(packets)
        self._next = 0
        self._is_sorted = bool((np.diff(self._stamps) >= 0).all()) and bool(has_stamp.all())

    def _place(self, told_s: np.ndarray, packets: AudioPackets) -> None:
        """Fills `starts_s`, `keep_from_s` and `_run_starts_s`, (packets,) float64 each."""
        first_s = float(told_s[0]) if len(told_s) and not np.isnan(told_s[0]) else 0.0
        ends_s = first_s + np.cumsum(self.lengths_s)
        counted_s = np.concatenate([[first_s], ends_s[:-1]])[: len(told_s)]
        if np.nanmax(np.abs(told_s - counted_s), initial=0.0) <= JITTER_S and self._is_exact:
            self.starts_s, self.keep_from_s = counted_s, counted_s
            self._run_starts_s = np.full(len(told_s), first_s)
            return
        runs = _Runs(told_s, self.lengths_s, packets, first_s, self._is_exact)
        self.starts_s, self.keep_from_s, self._run_starts_s = runs.placed()

    def seconds(self, stamp: int) -> float:
        """Converts a stamp to seconds from the start of the file."""
        return stamp * self._tick_s - self._zero_s

    def _promise(self, packets: AudioPackets) -> None:
        """Fills `_edges_s` and `_promised_s`, the cumulative duration of expected audio."""
        ends_s = np.maximum(self.keep_from_s, self.starts_s + self.lengths_s)
        edges_s = np.stack([self.keep_from_s, ends_s], axis=1).reshape(-1)
        if packets.is_unbroken and len(edges_s):
            edges_s = np.array([edges_s[0], max(edges_s.max(), packets.header_duration_s)])
            if packets.header_duration_s > 0:  # encoders pad the last packet
                edges_s[1] = packets.header_duration_s
        self._edges_s = np.maximum.accumulate(edges_s)
        steps_s = np.diff(self._edges_s)
        steps_s[1::2] = 0.0
        self._promised_s = np.concatenate([[0.0], np.cumsum(steps_s)])[: len(edges_s)]

    def expected_audio_s(self, start_s: float, end_s: float) -> float:
        """Seconds of audio in the packets between two times."""
        if not len(self._edges_s):
            return 0.0
        before, upto = np.interp([start_s, end_s], self._edges_s, self._promised_s)
        return float(upto - before)

    @property
    def end_s(self) -> float:
        """End of the last audio; 0 without packets."""
        return float((self.starts_s + self.lengths_s).max(initial=0.0))

    def stamp_s_before(self, moment_s: float) -> float:
        """The file's own time of the first packet at or after a time."""
        later = np.flatnonzero(self.starts_s + self.lengths_s > moment_s)
        if not len(later):
            return moment_s
        stamp_s = float(self._stamps_s[later[0]])
        return moment_s if np.isnan(stamp_s) else min(moment_s, stamp_s)

    def place(self, stamp: int | None) -> PacketPlacement | None:
        """Position of the next packet, identified by its stamp; None if unknown."""
        number = self._number(stamp)
        if number is None:
            return None
        start_s = float(self.starts_s[number])
        shift_s = start_s - float(self._stamps_s[number]) if stamp is not None else 0.0
        return PacketPlacement(
            start_s,
            shift_s,
            float(self.keep_from_s[number]),
            float(self._run_starts_s[number]),
            float(self.lengths_s[number]) if self._is_exact else None,
        )

    def _number(self, stamp: int | None) -> int | None:
        """Index of the packet: the one after the last, or after a jump the first that matches."""
        number = self._next
        wanted = _NO_STAMP if stamp is None else stamp
        if number >= len(self._stamps) or self._stamps[number] != wanted:
            if stamp is None:
                return None
            if self._is_sorted:
                number = int(np.searchsorted(self._stamps, stamp))
            else:
                fitting = np.flatnonzero(self._stamps == stamp)
                number = int(fitting[0]) if len(fitting) else len(self._stamps)
            if number >= len(self._stamps) or self._stamps[number] != stamp:
                return None
        self._next = number + 1
        return number

    def rewind(self, to_start: bool) -> None:
        """Reading restarts at another position."""
        self._next = 0 if to_start else len(self._stamps)


_NO_STAMP = np.iinfo(np.int64).min


def _lengths_s(packets: AudioPackets, stamps_s: np.ndarray) -> tuple[np.ndarray, bool]:
    """(packets,) float64 length of each packet, and whether their sum is exact."""
    lengths_s = np.array(packets.durations, np.float64) * packets.tick_s
    steps_s = np.append(np.diff(stamps_s), np.nan)[: len(lengths_s)]
    positive_s = steps_s[steps_s > 0]  # also not NaN
    usual_s = float(np.median(positive_s)) if len(positive_s) else 0.0
    is_fine, known_s = packets.tick_s <= _FINE_TICK_S, packets.frame_s
    is_known = known_s > 0 and abs(known_s - usual_s) <= max(packets.tick_s, 0.1 * usual_s)
    if is_fine:
        unknown = (lengths_s == 0) & (steps_s > 0) & (steps_s <= _LONGEST_UNSTATED_S)
        lengths_s = np.where(unknown, steps_s, lengths_s)
        # In MP4 the packet before a pause lasts until its end.
        return (np.minimum(lengths_s, known_s) if is_known else lengths_s), True
    if is_known:
        return np.full(len(lengths_s), known_s), True
    inner_s = lengths_s[1:-1]  # the first and the last may be cut
    is_constant = len(inner_s) > 0 and bool((np.abs(inner_s - usual_s) < 1e-6).all())
    return lengths_s, is_constant and not known_s


def _lost_s(packets: AudioPackets, lengths_s: np.ndarray) -> np.ndarray:
    """(packets,) float64 seconds missing after each packet, from its lost bytes."""
    lost = np.array(packets.lost_bytes, np.float64)
    sizes = np.array(packets.sizes, np.float64)
    whole = lost == 0
    if whole.all() or not sizes[whole].sum() or not lengths_s[whole].sum():
        return np.zeros(len(lost))
    lost_s = lost * lengths_s[whole].sum() / sizes[whole].sum()
    # The library counts a damaged section as one packet of the usual length.
    counted = lost >= sizes
    return np.maximum(lost_s - np.where(counted, lengths_s, 0.0), 0.0)


class _Runs:
    """Positions of the packets of a file whose time stamps have gaps, jumps or overlaps."""

    def __init__(
        self,
        told_s: np.ndarray,
        lengths_s: np.ndarray,
        packets: AudioPackets,
        first_s: float,
        is_exact: bool,
    ) -> None:
        self._told_s = told_s
        self._lengths_s = lengths_s
        self._packets = packets
        self._is_exact = is_exact
        self._expected_s = self._covered_s = self._run_start_s = first_s
        self._offset_s = 0.0
        filled = np.where(np.isnan(told_s), np.inf, told_s)
        least = np.minimum.accumulate(filled[::-1])[::-1]
        self._least_later_s = np.append(least[1:], np.inf)

    def placed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start, start of the kept audio, and start of the run of each packet."""
        rows = np.array([self._one(number) for number in range(len(self._told_s))])
        starts, keeps, runs = rows.reshape(-1, 3).T
        return starts, keeps, runs

    def _one(self, number: int) -> tuple[float, float, float]:
        start_s, is_new = self._start(number)
        if is_new:
            self._run_start_s = start_s
        kept_s = max(start_s, self._covered_s) if self._is_exact or is_new else start_s
        self._expected_s = start_s + float(self._lengths_s[number])
        self._covered_s = max(self._covered_s, self._expected_s)
        return start_s, kept_s, self._run_start_s

    def _start(self, number: int) -> tuple[float, bool]:
        """Start of a packet, and whether a run starts with it."""
        told_s = float(self._told_s[number]) + self._offset_s
        expected_s = self._expected_s
        if np.isnan(told_s):
            return expected_s, False
        if abs(told_s - expected_s) <= JITTER_S:
            return (expected_s if self._is_exact else told_s), False
        if number + 1 < len(self._told_s):
            after_s = float(self._told_s[number + 1]) + self._offset_s
            if abs(after_s - expected_s - float(self._lengths_s[number])) <= JITTER_S:
                return expected_s, False
        if abs(told_s - self._covered_s) <= JITTER_S:
            return self._covered_s, True
        if told_s > expected_s:
            return (told_s, True) if self._is_gap(number) else (expected_s, False)
        if self._packets.restarts:
            self._offset_s += expected_s - told_s
            return expected_s, False
        return told_s, True

    def _is_gap(self, number: int) -> bool:
        told_s = float(self._told_s[number])
        header_duration_s = self._packets.header_duration_s
        if header_duration_s and told_s > header_duration_s + BEYOND_STATED_S:
            return False
        return bool(self._least_later_s[number] >= told_s - JITTER_S)
