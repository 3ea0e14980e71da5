"""Files of strangers: plain data come through, everything else is refused by name and nothing of it runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from dce_ray.errors import ImportFault
from dce_ray.store.safe_npy import read_npy


def npy(path: Path, payload: bytes, shape: tuple[int, ...] = (1,)) -> Path:
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    path.write_bytes(file.getvalue() + payload)
    return path


def ragged() -> np.ndarray:
    array = np.empty(5, dtype=object)
    array[0] = np.arange(600, dtype=np.float32).reshape(100, 6)
    array[1] = [[1.5, np.float64(2.5)], (3, "text"), b"bytes", None, True]
    array[2] = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    array[3] = np.array([b"one", b"three"])
    array[4] = np.array(["eins", "drei"])
    return array


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_plain_objects_come_through_in_every_protocol_of_numpy(tmp_path, protocol):
    array = ragged()
    read = read_npy(npy(tmp_path / "a.npy", pickle.dumps(array, protocol=protocol), array.shape)).array
    assert len(read) == len(array)
    for found, expected in zip(read, array, strict=True):
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array([b"ab", b"c"]), np.arange(4, dtype=">f4")])
def test_plain_arrays_come_through(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    source = read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(source.array, array)
    assert source.size == (tmp_path / "a.npy").stat().st_size


def test_python_2_pickle_by_hand(tmp_path):
    data = struct.pack("<2f", 1.5, -2.0)
    inner = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x01K\x02tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + data + b"tb"
    )
    outer = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x01tcnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]" + inner + b"atb."
    )
    read = read_npy(npy(tmp_path / "a.npy", outer)).array
    np.testing.assert_array_equal(read[0], np.array([[1.5, -2.0]], np.float32))


MARK = "touched-by-a-pickle"


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile_objects():
    yield "system", Calls(os.system, f"touch {MARK}")
    yield "eval", Calls(eval, f"open('{MARK}', 'w')")
    yield "exec", Calls(exec, f"open('{MARK}', 'w')")
    yield "numpy.load", Calls(np.load, "other.npy", None, True)
    yield "getattr", Calls(getattr, "text", "format")
    yield "open", Calls(open, MARK, "w")
    yield "bytearray", bytearray(b"abc")
    yield "set", {1, 2}
    yield "dict", {"a": 1}


def hostile_streams():
    code = f"touch {MARK}".encode()
    yield "posix.system", b"cposix\nsystem\n(U" + bytes([len(code)]) + code + b"tR."
    yield "os.system", b"(S'" + code + b"'\nios\nsystem\n."
    name = b"\x8c\x02os\x8c\x06system\x93"
    yield "os.system", b"\x80\x04" + name + b"\x8c" + bytes([len(code)]) + code + b"\x85R."
    yield "numpy.f2py.diagnose.run", b"cnumpy.f2py.diagnose\nrun\n)R."
    yield "numpy.testing._private.utils.runstring", b"cnumpy.testing._private.utils\nrunstring\n(U\x01x}tR."
    yield "builtins.eval", b"cbuiltins\neval\n."
    yield (
        "numpy.core.multiarray._reconstruct.__globals__",
        (b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x18_reconstruct.__globals__\x93."),
    )
    yield "outside object", b"Pabc\n."
    yield "other than through its constructor", b"cnumpy\nndarray\n(K\x05tR."
    yield "changes a constructor", b"c_codecs\nencode\nK\x01b."
    yield "codec", b"c_codecs\nencode\n(V" + b"x\nU\x03ziptR."
    yield "of type 'V8'", b"cnumpy\ndtype\n(U\x02V8tR."
    yield "structured", b"cnumpy\ndtype\n(U\x02f4tR(K\x03U\x01|N(U\x01at]tb."
    yield "scalar", b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(U\x02O8tRU\x08AAAAAAAAtR."
    yield "extension", b"\x82\xf0."


@pytest.mark.parametrize(("name", "thing"), list(hostile_objects()), ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_objects_are_refused_by_name(tmp_path, monkeypatch, name, thing, protocol):
    monkeypatch.chdir(tmp_path)
    array = np.empty(2, dtype=object)
    array[0] = np.zeros(3)
    array[1] = [["deep", (thing,)]]
    path = npy(tmp_path / "labels.npy", pickle.dumps(array, protocol=protocol), (2,))
    with pytest.raises(ImportFault, match=r"labels\.npy") as caught:
        read_npy(path)
    assert name.rsplit(".", maxsplit=1)[-1] in str(caught.value)
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize(("name", "payload"), list(hostile_streams()), ids=lambda value: str(value)[:24])
def test_hostile_streams_are_refused_by_name(tmp_path, monkeypatch, name, payload):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImportFault, match=r"labels\.npy") as caught:
        read_npy(npy(tmp_path / "labels.npy", payload))
    assert name in str(caught.value)
    assert not (tmp_path / MARK).exists()


def test_the_same_pickles_do_run_in_numpy(tmp_path, monkeypatch):
    # Guards the two tests above: their files are live.
    monkeypatch.chdir(tmp_path)
    path = npy(tmp_path / "labels.npy", pickle.dumps(Calls(os.system, f"touch {MARK}")))
    with pytest.raises(Exception):  # noqa: B017
        np.load(path, allow_pickle=True).reshape(1)[0].missing  # noqa: B018
    assert (tmp_path / MARK).exists()


def test_a_list_inside_itself_is_refused(tmp_path):
    endless: list = []
    endless.append(endless)
    with pytest.raises(ImportFault, match="holds a list that holds itself"):
        read_npy(npy(tmp_path / "labels.npy", pickle.dumps(endless)))


def doubled(inner: bytes, times: int, kind: bytes) -> bytes:
    """A pickle by hand: a list or tuple that holds one thing twice, which holds one twice, and so on."""
    stream = inner
    for number in range(times):
        stream += b"q" + bytes([number]) + b"0" + b"(" + 2 * (b"h" + bytes([number])) + kind
    return stream


LAUGHS = {
    "lists": doubled(b"]", 200, b"l"),
    "tuples": doubled(b"(t", 200, b"t"),
    "few lists": doubled(b"]", 40, b"l"),
    "keys of a dictionary": b"}" + doubled(b"(t", 60, b"t") + b"Ns",
    "members of a set": b"(" + doubled(b"(t", 60, b"t") + b"\x91",
    "a codec": b"c_codecs\nencode\n(V" + b"x\n" + doubled(b"(t", 60, b"t") + b"tR",
    "a type": b"cnumpy\ndtype\n(" + doubled(b"(t", 60, b"t") + b"tR",
    "an outside object": doubled(b"(t", 60, b"t") + b"Q",
}


@pytest.mark.parametrize("name", LAUGHS)
def test_a_pickle_that_names_a_thing_without_end_is_refused_at_once(tmp_path, name):
    began = time.process_time()
    with pytest.raises(ImportFault, match=r"labels\.npy: .*; refused, and nothing in the file was run"):
        read_npy(npy(tmp_path / "labels.npy", b"\x80\x02" + LAUGHS[name] + b"."))
    assert time.process_time() - began < 1.0


def test_a_part_named_very_often_is_refused(tmp_path):
    """A megabyte that a small file names a hundred thousand times would fill a disk."""
    many = np.empty(100_000, dtype=object)
    many[:] = [np.zeros(1000)] * len(many)
    with pytest.raises(ImportFault, match="far more data than its size can hold"):
        read_npy(npy(tmp_path / "features.npy", pickle.dumps(many, protocol=4), many.shape))


COPIED = {
    "text": (b"V" + b"x" * 100_000 + b"\nq\x000", b"c_codecs\nencode\n(h\x00tRa"),
    "scalar": (
        b"B"
        + (100_000).to_bytes(4, "little")
        + b"x" * 100_000
        + b"q\x000cnumpy\ndtype\n(X\x07\x00\x00\x00S100000tRq\x010",
        b"cnumpy.core.multiarray\nscalar\n(h\x01h\x00tRa",
    ),
}


@pytest.mark.parametrize("name", COPIED)
def test_calls_that_copy_one_part_very_often_are_refused(tmp_path, name):
    """20,000 of them, each a copy of 100 kB, are 2 GB; refused while they are made."""
    constant, call = COPIED[name]
    stream = b"\x80\x03" + constant + b"]" + 20_000 * call + b"."
    began = time.process_time()
    with pytest.raises(ImportFault, match="far more data than its size can hold"):
        read_npy(npy(tmp_path / "labels.npy", stream))
    assert time.process_time() - began < 1.0


def test_class_names_may_be_shared(tmp_path):
    name = b"a name of forty bytes, which is very long"
    labels = np.empty(1000, dtype=object)
    labels[:] = [[name] * 9 for _ in labels]
    read = read_npy(npy(tmp_path / "labels.npy", pickle.dumps(labels, protocol=4), labels.shape)).array
    assert read.tolist() == labels.tolist()


def test_an_array_larger_than_its_bytes_is_refused(tmp_path):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**9)}
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    (tmp_path / "a.npy").write_bytes(file.getvalue() + b"abcd")
    with pytest.raises(ImportFault, match=r"a\.npy: is not a readable"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"not numpy", zlib.compress(b"x"), b"\x93NUMPY\x09\x00"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ImportFault, match=r"a\.npy"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.99])
def test_truncated_files_are_refused(tmp_path, keep):
    np.save(tmp_path / "a.npy", ragged(), allow_pickle=True)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ImportFault, match=r"a\.npy"):
        read_npy(tmp_path / "a.npy")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImportFault, match=r"gone\.npy: cannot be read"):
        read_npy(tmp_path / "gone.npy")
