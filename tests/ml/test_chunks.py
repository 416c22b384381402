"""Chunks of actions as tokens: shapes, identities, files, vocabulary, stream and clock."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank import ResidualQuantizer
from lowrank.reading import FileFormatError
from ml.chunks import (
    ActionCodes,
    ActionTokenizer,
    ActionVocabulary,
    Gait,
    latency_report,
    load_action_codes,
    save_action_codes,
    split,
    varied_gaits,
)
from ml.chunks.gaits import CONTROL_SECONDS, FAMILIES, LIMITS
from ml.chunks.scalar_codes import bin_error, pod_tables, relative_error

H, D = 10, 12


@pytest.fixture(scope="module")
def walks() -> np.ndarray:
    return varied_gaits(20, 0, spread=0.1)


@pytest.fixture(scope="module")
def codes(walks: np.ndarray) -> ActionCodes:
    return ActionTokenizer(levels=3, codes=32).fit(walks)


def test_split_cuts_consecutive_actions() -> None:
    a = np.arange(25 * 2.0).reshape(25, 2)
    np.testing.assert_array_equal(split(a, 10), [a[:10], a[10:20]])
    np.testing.assert_array_equal(split([a, a[:4], a[5:16]], 10, 7), [a[:10], a[7:17], a[14:24], a[5:15]])
    np.testing.assert_array_equal(split(np.stack([a, a + 1]), 25), [a, a + 1])


def test_codes_are_residual_codes_of_flat_chunks(walks: np.ndarray, codes: ActionCodes) -> None:
    chunks = split(walks, H)
    flat = chunks.reshape(-1, H * D)
    plain = ResidualQuantizer(3, 32).fit(flat)
    tokens = codes.encode(chunks)
    assert tokens.shape == (len(chunks), 3)
    assert codes.bits == 15
    np.testing.assert_array_equal(tokens, plain.encode(flat))
    np.testing.assert_array_equal(codes.decode(tokens).reshape(-1, H * D), plain.decode(tokens))
    np.testing.assert_array_equal(codes.encode(chunks[5]), tokens[5])
    np.testing.assert_array_equal(codes.encode(flat), tokens)
    assert codes.decode(tokens[5]).shape == (H, D)


def test_the_error_falls_with_every_token(walks: np.ndarray, codes: ActionCodes) -> None:
    chunks = split(walks, H)
    errors = [codes.error(chunks, levels) for levels in (1, 2, 3)]
    np.testing.assert_allclose(errors, codes.error_per_level, rtol=1e-12)
    assert errors[0] > errors[1] > errors[2] > 0
    decoded = codes.decode(codes.encode(chunks)[:, :2])
    assert relative_error(chunks, decoded) == pytest.approx(errors[1], rel=1e-12)


def test_chunks_of_codes_come_back(codes: ActionCodes) -> None:
    """decode(encode(c)) = c for sums of code vectors that are reached greedily."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 32, (200, 3))
    chunks = codes.decode(tokens)
    once = codes.decode(codes.encode(chunks))
    again = codes.decode(codes.encode(once))
    reached = np.all(codes.encode(chunks) == tokens, axis=1)
    assert np.count_nonzero(reached) > 20
    np.testing.assert_allclose(once[reached], chunks[reached], rtol=1e-13, atol=1e-15)
    assert relative_error(once, again) <= relative_error(chunks, once) + 1e-12


def test_a_product_of_actions_is_that_of_chunks(walks: np.ndarray) -> None:
    """Codes in the product norm are those of coordinates in which it is Euclidean."""
    scales = np.linspace(0.5, 3, D)
    tokenizer = ActionTokenizer(levels=2, codes=8)
    found = tokenizer.fit(walks, product=np.diag(scales**2))
    scaled = tokenizer.fit(walks * scales)
    np.testing.assert_allclose(found.error_per_level, scaled.error_per_level, rtol=1e-10)
    chunks = split(walks, H)
    np.testing.assert_allclose(
        found.decode(found.encode(chunks)) * scales, scaled.decode(scaled.encode(chunks * scales)), atol=1e-9
    )


def test_more_and_overlapping_chunks_by_the_stride(walks: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"there are 600 chunks for 1000 codes: .*a smaller stride \(now 10\)"):
        ActionTokenizer(levels=1, codes=1000).fit(walks)
    assert ActionTokenizer(levels=1, codes=1000, stride=5, max_iter=2).fit(walks).bits == 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"dims": 1.5}, "dims must be an integer, got 1.5"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"levels": 0}, "levels must be at least 1"),
        ({"codes": 0}, "codes must be at least 1"),
        ({"method": "lloyd"}, 'method must be "kmeans" or "ema"'),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ActionTokenizer(**wrong)


@pytest.mark.parametrize(
    ("trajectories", "said"),
    [
        (np.zeros((50, 3)), "actions of dims=12 numbers, got 3"),
        (np.full((50, 12), np.nan), "600 entries that are NaN or infinite, the first at index \\(0, 0\\)"),
        ([np.zeros((50, 12)), np.zeros((50, 11))], "trajectory 1 has actions of 11 numbers, trajectory 0 of 12"),
        ([np.zeros((5, 12))], "no trajectory is as long as one chunk of 10 actions, the longest has 5"),
        ([], "there are no trajectories"),
        (np.zeros(12), "must be actions of shape"),
        (np.zeros((50, 12), dtype=complex), "real numbers, got entries of complex128"),
        (np.zeros((50, 12), dtype=str), "real numbers, got entries of <U1"),
    ],
)
def test_trajectories_that_cannot_be_are_refused(trajectories: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ActionTokenizer(codes=2).fit(trajectories)


@pytest.mark.parametrize("shape", [(5, 12, 10), (9, 12), (12,), (3, 119), (2, 2, 10, 12)])
def test_chunks_of_the_wrong_shape_are_refused(codes: ActionCodes, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"chunks must have the shape \(n, 10, 12\), or \(10, 12\) of one"):
        codes.encode(np.zeros(shape))


def test_wrong_chunks_and_tokens_are_refused(codes: ActionCodes) -> None:
    bad = np.zeros((3, H, D))
    bad[1, 2, 3] = np.inf
    with pytest.raises(ValueError, match=r"sample 1 has entries that are NaN or infinite"):
        codes.encode(bad)
    with pytest.raises(ValueError, match=r"NaN or infinite, the first at index \(1, 2, 3\)"):
        codes.error(bad)
    with pytest.raises(ValueError, match=r"codes must be 0 .. 31, got 32"):
        codes.decode([0, 32, 1])
    with pytest.raises(TypeError, match="codes must be integers"):
        codes.decode([0.5, 1, 2])
    with pytest.raises(ValueError, match="all chunks are zero"):
        codes.error(np.zeros((2, H, D)))
    hidden = np.ma.masked_array(np.ones((3, H, D)), bad > 0)
    for call in (codes.encode, codes.error, ActionTokenizer(codes=2).fit):
        with pytest.raises(
            TypeError, match=r"(chunks|trajectories) is a masked array: 1 of its 360 entries are hidden"
        ):
            call(hidden)


def test_errors_of_levels_and_sizes_that_cannot_be(walks: np.ndarray, codes: ActionCodes) -> None:
    chunks = split(walks, H)
    for levels, said in ((0, "at least 1, got 0"), (-1, "at least 1"), (4, "at most 3"), (1.5, "an integer")):
        with pytest.raises(ValueError, match=f"levels must be {said}"):
            codes.error(chunks, levels)  # type: ignore[arg-type]
    tiny = codes.error(chunks * 1e-200)
    assert tiny == pytest.approx(1e100 * codes.error(chunks * 1e-100), rel=1e-12, abs=0.0)  # zero is not a code: 1e200
    assert codes.error(chunks * 1e200) == pytest.approx(1, rel=1e-12)
    assert codes.error(codes.decode([[0, 1, 2]])) <= codes.error(chunks)


def test_one_chunk_is_coded_as_it_is_among_others(walks: np.ndarray, codes: ActionCodes) -> None:
    """Whatever kind of array it is: the plain one takes the short way."""
    chunks = split(walks, H)[:4]
    tokens = codes.encode(chunks)
    for one in (chunks[1], np.asfortranarray(chunks[1]), chunks[1].tolist(), chunks[1].astype(">f8")):
        np.testing.assert_array_equal(codes.encode(one), tokens[1])
    single = chunks.astype(np.float32)
    np.testing.assert_array_equal(codes.encode(single[2]), codes.encode(single.astype(float))[2])
    assert codes.encode(chunks[:0]).shape == (0, 3)
    weighted = ActionTokenizer(levels=2, codes=8).fit(walks, product=np.diag(np.arange(1.0, 13)))
    np.testing.assert_array_equal(weighted.encode(chunks[1]), weighted.encode(chunks)[1])
    with pytest.raises(ValueError, match="5 actions of 12 numbers are not the 120 numbers of the codes"):
        ActionCodes(5, 12, codes.codes)
    bad = chunks[1].copy()
    for value in (np.nan, np.inf):
        bad[3, 4] = value
        with pytest.raises(ValueError, match="sample 0 has entries that are NaN or infinite"):
            codes.encode(bad)


# ---------------------------------------------------------------- vocabulary


@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 600),
    st.integers(0, 2**32),
    st.sampled_from([(), (3,), (2, 3)]),
)
def test_tokens_come_back_from_the_vocabulary(size: int, levels: int, codes: int, seed: int, lead: tuple) -> None:
    words = ActionVocabulary(size, levels, codes)
    tokens = np.random.default_rng(seed).integers(0, codes, (*lead, levels))
    ids = words.ids(tokens)
    np.testing.assert_array_equal(words.tokens(ids), tokens)
    assert np.all(words.is_action(ids))
    assert not words.is_action(size - 1)
    assert not words.is_action(words.total)
    assert len(np.unique(words.ids(np.repeat(np.arange(codes)[:, None], levels, axis=1)))) == words.total - size


def test_ids_that_are_no_actions_are_refused(codes: ActionCodes) -> None:
    words = codes.add_to_vocabulary(1000)
    assert words.total == 1000 + 3 * 32
    with pytest.raises(ValueError, match=r"ids must be 1000 .. 1095, got 999"):
        words.tokens([999, 1032, 1064])
    with pytest.raises(
        ValueError, match="the id 1064 at index \\(1,\\) is a token of level 2, where one of level 1 is due"
    ):
        words.tokens([1000, 1064, 1064])
    with pytest.raises(ValueError, match=r"tokens must be 0 .. 31, got 32"):
        words.ids([0, 0, 32])
    with pytest.raises(ValueError, match=r"shape \(..., 3\), one of each level, got \(4,\)"):
        words.ids([0, 0, 0, 0])
    with pytest.raises(TypeError, match="ids must be integers"):
        words.tokens([1000.0, 1032.0, 1064.0])
    with pytest.raises(ValueError, match="size must be at least 0"):
        codes.add_to_vocabulary(-1)
    for wrong in ((-1, 2, 8), (0, 0, 8), (0, 2, 0), (1.5, 2, 8)):
        with pytest.raises(ValueError, match=r"must be (at least|an integer)"):
            ActionVocabulary(*wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the vocabulary would have 9223372036854775808 entries"):
        ActionVocabulary(2**63 - 16, 2, 8)
    assert ActionVocabulary(2**63 - 17, 2, 8).ids([7, 7]).max() == 2**63 - 2
    with pytest.raises(ValueError, match="got 18446744073709551615"):
        words.tokens(np.array([2**64 - 1, 1032, 1064], dtype=np.uint64))
    with pytest.raises(TypeError, match="ids must be integers, got dtype float64"):
        words.is_action([1000.5])


# ---------------------------------------------------------------- files


def test_files_hold_the_codes_bit_for_bit(tmp_path: Path, codes: ActionCodes, walks: np.ndarray) -> None:
    weighted = ActionTokenizer(levels=2, codes=8).fit(walks, product=np.diag(np.arange(1.0, 13)))
    for one in (codes, weighted):
        save_action_codes(one, tmp_path / "a.npz")
        back = load_action_codes(tmp_path / "a.npz")
        assert repr(back) == repr(one)
        np.testing.assert_array_equal(back.codes.centres, one.codes.centres)
        chunks = split(walks, H)
        np.testing.assert_array_equal(back.encode(chunks), one.encode(chunks))
        np.testing.assert_array_equal(back.decode(back.encode(chunks)), one.decode(one.encode(chunks)))


def test_no_damaged_file_is_read(tmp_path: Path, codes: ActionCodes) -> None:
    path = tmp_path / "a.npz"
    save_action_codes(codes, path)
    whole = path.read_bytes()
    for end in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(FileFormatError, match="truncated or damaged"):
            load_action_codes(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            back = load_action_codes(path)
        except FileFormatError:
            continue
        else:  # a time stamp or another field of the archive that says nothing of the arrays
            np.testing.assert_array_equal(back.codes.centres, codes.codes.centres)


def test_an_altered_array_is_found_out(tmp_path: Path, codes: ActionCodes) -> None:
    """With a valid archive, and a valid array in it: only the checksum of all sees it."""
    path = tmp_path / "a.npz"
    save_action_codes(codes, path)
    arrays = dict(np.load(path))
    arrays["centres"] = arrays["centres"][:, ::-1]
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(FileFormatError, match=r"a.npz was altered or damaged: its arrays do not match their checksum"):
        load_action_codes(path)


def test_files_of_other_things_are_refused(tmp_path: Path, codes: ActionCodes) -> None:
    from ml.chunks.files import write_arrays

    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FileFormatError, match="not a whole file of action codes"):
        load_action_codes(tmp_path / "other.npz")
    arrays = codes.codes.arrays()
    for mark, said in (
        (np.array([2, H, D]), "has file version 2, this package reads 1"),
        (np.array([1, H, D + 1]), "10 actions of 13 numbers are not the 120 numbers"),
        (np.array([1, -H, -D]), "actions of -12 numbers"),
        (np.array([1.0, H, D]), "not a whole file"),
    ):
        write_arrays(tmp_path / "a.npz", {"action_codes": mark, **arrays})
        with pytest.raises(FileFormatError, match=said):
            load_action_codes(tmp_path / "a.npz")
    nan = {**arrays, "centres": np.full_like(arrays["centres"], np.nan)}
    write_arrays(tmp_path / "a.npz", {"action_codes": np.array([1, H, D]), **nan})
    with pytest.raises(FileFormatError, match="holds no valid codes of actions: centres has entries that are NaN"):
        load_action_codes(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"must end in .npz"):
        save_action_codes(codes, tmp_path / "a.bin")
    (tmp_path / "b.npz").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        load_action_codes(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError):
        load_action_codes(tmp_path / "none.npz")
    with pytest.raises(OSError, match="cannot write to folder"):
        save_action_codes(codes, tmp_path / "none" / "a.npz")
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------- stream and clock


@pytest.mark.parametrize("ahead", [0, 3, 10, 14, 25])
def test_a_stream_emits_one_action_per_tick(codes: ActionCodes, ahead: int) -> None:
    rng = np.random.default_rng(0)
    tokens, asked = rng.integers(0, 32, (9, 3)), []

    def ask(observation: Any, tick: int) -> np.ndarray:
        asked.append((observation, tick))
        return tokens[tick // H]

    stream = codes.stream(ask, ahead=ahead)
    emitted = np.stack([stream.step(t) for t in range(60)])
    np.testing.assert_array_equal(emitted, codes.decode(tokens[:6]).reshape(60, D))
    assert (stream.ticks, stream.missed) == (60, 0)
    assert asked == [(max(0, k * H - ahead), k * H) for k in range(len(asked))]
    assert len(asked) == (59 + ahead) // H + 1


@pytest.mark.parametrize("late", ["wait", "hold"])
def test_a_chunk_that_failed_is_asked_for_again(codes: ActionCodes, late: Any) -> None:
    """A model that raises, a future that was cancelled or failed, and tokens that cannot be: said once each."""
    tokens, asked = np.random.default_rng(0).integers(0, 32, (4, 3)), []
    cancelled, failed, good = Future(), Future(), Future()  # type: ignore[var-annotated]
    cancelled.cancel()
    failed.set_exception(ZeroDivisionError("the model"))
    good.set_result(tokens[1])
    answers = iter([OSError("no link"), tokens[0], cancelled, failed, [1, 2], [1, 2, 32], good, tokens[2]])

    def ask(observation: int, tick: int) -> Any:
        asked.append((observation, tick))
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    stream, said, emitted = codes.stream(ask, ahead=0, late=late), [], []
    for call in range(30):
        try:
            emitted.append(stream.step(call))
        except (OSError, CancelledError, ZeroDivisionError, ValueError) as error:
            said.append((call, type(error)))
    assert said == [
        *((0, OSError), (11, CancelledError), (12, ZeroDivisionError), (13, ValueError), (14, ValueError)),
    ]
    assert asked == [(0, 0), (1, 0), (11, 10), (12, 10), (13, 10), (14, 10), (15, 10), (25, 20)]
    assert (stream.ticks, stream.missed) == (25, 0)
    np.testing.assert_array_equal(np.stack(emitted), codes.decode(tokens[:3]).reshape(30, D)[:25])


def test_a_stream_is_causal(codes: ActionCodes) -> None:
    """What is observed later changes nothing that was emitted before; younger than the question nothing counts."""
    books = np.random.default_rng(1).integers(0, 32, (200, 3))

    def run(observations: np.ndarray, ahead: int) -> np.ndarray:
        stream = codes.stream(lambda seen, tick: books[seen], ahead=ahead)
        return np.stack([stream.step(int(seen)) for seen in observations])

    one = np.random.default_rng(2).integers(0, 200, 50)
    for ahead in (0, 4, 10):
        for changed in (0, 9, 10, 23, 36):
            other = one.copy()
            other[changed:] = (one[changed:] + 1) % 200
            same = np.all(run(one, ahead) == run(other, ahead), axis=1)
            first = int(np.argmin(same)) if not same.all() else 50
            due = -(-(changed + ahead) // H) * H if changed else 0  # the next chunk asked for
            assert first == min(due, 50)


class Clock:
    """A model on one worker, whose answers are there when their time has come."""

    def __init__(self, times: list[Fraction], tick: Fraction) -> None:
        self.times, self.tick, self.free, self.now, self.count = times, tick, Fraction(0), Fraction(0), 0

    def ask(self, observation: Any, tick: int) -> Any:
        self.free = max(self.now, self.free) + (self.times[self.count % len(self.times)] if self.count else 0)
        self.count += 1
        clock, ready = self, self.free

        class Answer:
            def done(self) -> bool:
                return ready <= clock.now

            def result(self) -> np.ndarray:
                return np.array([tick // H % 32, 0, 0])

        return Answer()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=5), st.integers(0, 24))
def test_the_report_counts_the_ticks_that_a_stream_misses(codes: ActionCodes, ms: list[int], ahead: int) -> None:
    times = [Fraction(m, 1000) for m in ms]
    clock = Clock(times, Fraction(20, 1000))
    stream = codes.stream(clock.ask, ahead=ahead, late="hold")
    emitted = []
    for t in range(20 * H):
        clock.now = t * clock.tick
        emitted.append(stream.step())
    report = codes.latency_report([m / 1000 for m in ms], ahead=ahead, chunks=20)
    assert stream.missed == report.missed
    assert report.guaranteed == (max(ms) <= 20 * min(H, ahead))
    assert not (report.guaranteed and report.missed)
    wanted = [codes.decode(np.array([k % 32, 0, 0])) for k in range(20)]
    right = sum(np.array_equal(a, wanted[t // H][t % H]) for t, a in enumerate(emitted))
    assert right >= 20 * H - report.missed


def test_five_chunks_a_second_keep_fifty_actions_a_second(codes: ActionCodes) -> None:
    report = codes.latency_report(0.2)
    assert (report.missed, report.slack_seconds, report.guaranteed, report.least_ahead) == (0, 0.0, True, 10)
    assert report.needed_rate == pytest.approx(5)
    assert report.oldest_seconds == pytest.approx(0.38)
    assert "10 actions a chunk x 5 chunks/s of the model = 50 actions/s" in str(report)
    assert "No tick is missed: 200 <= min(200, 200) ms. Slack 0 ms.\nA real clock wants more" in str(report)
    faster = codes.latency_report(0.15)
    assert faster.slack_seconds == pytest.approx(0.05)
    assert "wants more" not in str(faster)


def test_a_model_that_is_too_slow_misses_ticks(codes: ActionCodes) -> None:
    slow = codes.latency_report(0.2001)
    assert (slow.guaranteed, slow.least_ahead, slow.missed) == (False, None, 99)
    assert "Take longer chunks" in str(slow)
    late = codes.latency_report(0.2, ahead=5)
    assert (late.missed, late.least_ahead, late.guaranteed) == (99 * 5, 10, False)
    assert "Missed: 495 of 1000 ticks; an answer came 100 ms late." in str(late)
    lucky = codes.latency_report([0.1, 0.1, 0.25], ahead=20)
    assert (lucky.missed, lucky.guaranteed) == (0, False)
    assert "that is no guarantee: 250 > min(200, 400) ms" in str(lucky)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model_seconds": np.nan}, "model_seconds must be a finite number >= 0"),
        ({"model_seconds": -1.0}, "model_seconds must be"),
        ({"model_seconds": []}, "model_seconds must be"),
        ({"model_seconds": "fast"}, "model_seconds must be"),
        ({"control_seconds": 0.0}, "control_seconds must be a finite number > 0"),
        ({"ahead": -1}, "ahead must be at least 0"),
        ({"chunks": 0}, "chunks must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_clocks_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        latency_report(**{"model_seconds": 0.1, "chunk": 10, **wrong})


def test_a_stream_waits_for_futures_or_holds(codes: ActionCodes) -> None:
    with ThreadPoolExecutor(1) as pool:
        stream = codes.stream(lambda seen, tick: pool.submit(lambda: codes.encode(np.zeros((H, D)))))
        emitted = [stream.step() for _ in range(30)]
    np.testing.assert_array_equal(np.stack(emitted[:10]), codes.decode(codes.encode(np.zeros((H, D)))))
    futures: list[Future] = [Future() for _ in range(4)]
    stream = codes.stream(lambda seen, tick: futures[tick // H], late="hold")
    futures[0].set_result(np.array([1, 2, 3]))
    emitted = [stream.step() for _ in range(H)]
    held = [stream.step() for _ in range(4)]
    np.testing.assert_array_equal(held, [emitted[-1]] * 4)
    futures[1].set_result(np.array([4, 5, 6]))
    np.testing.assert_array_equal(stream.step(), codes.decode(np.array([4, 5, 6]))[4])
    assert stream.missed == 4


def test_a_late_answer_that_is_waited_for_counts_once(codes: ActionCodes) -> None:
    futures: list[Future] = [Future() for _ in range(3)]
    futures[0].set_result(np.array([1, 2, 3]))
    stream = codes.stream(lambda seen, tick: futures[tick // H])
    for _ in range(H):
        stream.step()
    Timer(0.05, futures[1].set_result, [np.array([4, 5, 6])]).start()
    emitted = [stream.step() for _ in range(H)]
    np.testing.assert_array_equal(emitted, codes.decode(np.array([4, 5, 6])))
    assert stream.missed == 1


def test_answers_and_questions_that_cannot_be_are_refused(codes: ActionCodes) -> None:
    with pytest.raises(ValueError, match=r"the model must answer with 3 tokens, got shape \(2,\)"):
        codes.stream(lambda seen, tick: np.array([1, 2])).step()
    with pytest.raises(TypeError, match="ask must be a function"):
        codes.stream(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='late must be "wait" or "hold"'):
        codes.stream(lambda seen, tick: 0, late="skip")  # type: ignore[arg-type]


# ---------------------------------------------------------------- material and peers


def test_gaits_are_periodic_commands_within_their_limits() -> None:
    for legs in FAMILIES.values():
        gait = Gait(frequency=1.25, amplitudes=(1.5, 0.8, 0.3), harmonic=0.2, turn=0.1, legs=legs)
        commands = gait.commands(CONTROL_SECONDS * np.arange(120))
        np.testing.assert_allclose(commands[:80], commands[40:], atol=1e-12)  # 0.8 s
        assert np.all((commands >= LIMITS[0]) & (commands <= LIMITS[1]))
        back = Gait.from_vector(gait.vector(), legs)
        assert back.amplitudes[0] == 1.0
        assert back.harmonic == gait.harmonic
    trot = Gait(legs=FAMILIES["trot"]).commands(CONTROL_SECONDS * np.arange(50)).reshape(50, 4, 3)
    np.testing.assert_allclose(trot[:, 0, 1:], trot[:, 2, 1:])  # diagonal legs together
    np.testing.assert_allclose(trot[:, 0, 0], -trot[:, 2, 0])  # on the other side


def test_varied_gaits_follow_their_seed() -> None:
    a, b, c = varied_gaits(4, 1), varied_gaits(4, 1), varied_gaits(4, 2)
    np.testing.assert_array_equal(a, b)
    assert relative_error(a, c) > 0.1
    still = varied_gaits(3, 0, spread=0.0, around={"walk": Gait(legs=FAMILIES["walk"])})
    assert abs(np.ptp(still[0], axis=0) - np.ptp(still[1], axis=0)).max() < 0.02
    with pytest.raises(ValueError, match="spread >= 0"):
        varied_gaits(1, spread=-1)


@pytest.mark.parametrize("uniform", [True, False])
def test_principal_components_with_bits(walks: np.ndarray, uniform: bool) -> None:
    x = split(walks, H).reshape(-1, H * D)[::2]
    tables = pod_tables(x, 16, uniform=uniform)
    errors = []
    for budget in (8, 16, 24):
        found = tables.allocated(budget)
        assert sum(found.bits) <= budget
        assert not (uniform and 1 in found.bits)
        np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(len(found.bits)), atol=1e-12)
        errors.append(relative_error(x, found.reconstruct(x)))
    assert errors[0] > errors[1] > errors[2]
    # the nearest level of every component
    for i, c in enumerate(((x - found.mean) @ found.basis).T):
        levels = found.levels[i]
        nearest = levels[np.argmin(np.abs(c[:, None] - levels), axis=1)]
        np.testing.assert_allclose((found.reconstruct(x) - found.mean) @ found.basis[:, i], nearest, atol=1e-12)
    # the square of the error: what the tables say of the components, and all of those that are left out
    bits = np.zeros(16, dtype=int)
    bits[np.argmax(np.abs(tables.basis.T @ found.basis), axis=0)] = found.bits
    of_components = np.sum(tables.losses[np.arange(16), bits])
    rest = np.sum((x - tables.mean) ** 2) - np.sum(((x - tables.mean) @ tables.basis) ** 2)
    assert errors[2] ** 2 * np.sum(x**2) == pytest.approx(rest + of_components, rel=1e-9)


def test_bins_leave_a_twelfth_of_their_width_squared() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (4000, H, D))
    for bits in (2, 8):
        wanted = 2.0**-bits / np.sqrt(3) / np.sqrt(1 / 3)
        assert bin_error(x, bits, -np.ones(D), np.ones(D)) == pytest.approx(wanted, rel=0.01)
