"""Stores in a bucket: fetched once per machine, checked, gone on with, evicted when nobody uses them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dce_ray.errors import StorageError, StoreError
from dce_ray.places import Place, place
from dce_ray.store import Description, FeatureStore, VideoAnnotation, node_cache, open_store, write_store
from dce_ray.store.node_cache import adopt, fetched
from dce_ray.store.sending import send_store

USER = """
import sys, time
from dce_ray.places import place
place.CHUNK = 2**20
from dce_ray.store import open_store
store = open_store(sys.argv[1])
print(store.path, flush=True)
time.sleep(float(sys.argv[2]))
"""


def made_store(folder: Path, seed: int = 0, snippets: int = 2000) -> FeatureStore:
    """A store of 8 MB: large enough to be cut off in the middle."""
    random = np.random.default_rng(seed)
    description = Description("made", 1024, 512, 25.0, 16, ("one", "two"))
    videos = [
        (VideoAnnotation("a", "train", 10.0, [0]), random.random((snippets, 1024), np.float32)),
        (VideoAnnotation("b", "test", 10.0, [1]), random.random((8, 1024), np.float32)),
    ]
    write_store(folder, description, videos)
    return FeatureStore.open(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return made_store(tmp_path_factory.mktemp("made") / "store")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "fetched"
    for path in [path for path in node_cache._used if tmp_path in path.parents]:
        node_cache._used.pop(path).close()  # as if this process had ended


@pytest.fixture
def address(store: FeatureStore, bucket: str) -> str:
    send_store(store, f"{bucket}/stores/made")
    return f"{bucket}/stores/made"


def user(address: str, seconds: float = 0.0) -> subprocess.Popen[str]:
    """Another process of this machine that opens a store."""
    return subprocess.Popen([sys.executable, "-c", USER, address, str(seconds)], stdout=subprocess.PIPE, text=True)


def given(s3, address: str) -> int:
    return s3.tell("count", path=f"{address.removeprefix('s3:/')}/features.arrow")


def size_of(store: FeatureStore) -> int:
    return store.manifest.files["features.arrow"].size


def test_a_fetched_store_is_the_same_and_is_fetched_once(s3, store, address, cache):
    opened = open_store(address)
    assert opened.digest == store.digest
    assert opened.path == cache / store.digest
    assert np.array_equal(opened.features(0), store.features(0))
    assert fetched(address) == opened.path
    assert given(s3, address) == size_of(store)


def test_processes_that_start_together_share_one_download(s3, store, address, cache):
    s3.tell("slow", seconds=0.1)
    try:
        users = [user(address) for _ in range(3)]
        paths = {each.communicate(timeout=120)[0].strip() for each in users}
    finally:
        s3.tell("slow", seconds=0)
    assert paths == {str(cache / store.digest)}
    assert given(s3, address) == size_of(store)


def test_a_download_goes_on_after_a_kill_in_its_middle(s3, store, address, cache):
    s3.tell("slow", seconds=0.3)
    try:
        first, part = user(address), cache / f"{store.digest}.part" / "features.arrow"
        until = time.monotonic() + 120
        while not (part.exists() and part.stat().st_size >= 3 * 2**20):
            assert time.monotonic() < until
            time.sleep(0.02)
        first.kill()
        first.communicate()
    finally:
        s3.tell("slow", seconds=0)
    left = part.stat().st_size
    assert 0 < left < size_of(store)
    assert np.array_equal(FeatureStore.open(fetched(address), verify=True).features(0), store.features(0))
    assert given(s3, address) <= size_of(store) + 2 * 2**20  # one chunk was on its way
    assert not part.exists()


def test_what_a_download_left_is_not_trusted(store, address, cache):
    part = cache / f"{store.digest}.part"
    part.mkdir(parents=True)
    (part / "features.arrow").write_bytes(b"rubbish")
    assert FeatureStore.open(fetched(address), verify=True).digest == store.digest


def test_a_damaged_copy_is_fetched_again(store, address, cache):
    features = fetched(address) / "features.arrow"
    whole = features.read_bytes()
    features.write_bytes(whole[:-1])
    FeatureStore.open(fetched(address), verify=True)
    assert features.read_bytes() == whole


def test_a_store_that_is_damaged_where_it_lies_is_refused(store, address, cache):
    lying = Place.at(address)
    content = bytearray(lying.read("features.arrow"))
    content[5000] ^= 1
    lying.write("features.arrow", bytes(content))
    with pytest.raises(StoreError, match=r"features.arrow has a wrong SHA-256, also when fetched again"):
        fetched(address)
    lying.remove("features.arrow")
    with pytest.raises(StoreError, match=r"incomplete .*; write the store again"):
        fetched(address)


def test_the_one_used_longest_ago_is_evicted_and_never_one_in_use(tmp_path, bucket, cache, monkeypatch):
    stores = [made_store(tmp_path / str(seed), seed) for seed in range(4)]
    addresses = [f"{bucket}/{seed}" for seed in range(4)]
    for each, address in zip(stores, addresses, strict=True):
        send_store(each, address)
    size = sum(record.size for record in stores[0].manifest.files.values())
    monkeypatch.setenv(node_cache.LIMIT, str(2.5 * size / 1e9))
    longest = user(addresses[0], seconds=600)  # used longest ago, but in use
    assert longest.stdout.readline().strip() == str(cache / stores[0].digest)
    assert user(addresses[1]).wait(120) == 0
    try:
        fetched(addresses[2])
        assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == sorted(
            each.digest for each in (stores[0], stores[2])
        )
        with pytest.raises(StoreError, match=r"no room for a store of .* GB \(DCE_CACHE_GB\) are in use by other runs"):
            fetched(addresses[3])
    finally:
        longest.send_signal(signal.SIGKILL)
        longest.wait()
    fetched(addresses[3])
    assert not (cache / stores[0].digest).exists()


def test_a_store_that_is_larger_than_the_limit(address, cache, monkeypatch):
    monkeypatch.setenv(node_cache.LIMIT, "0.001")
    with pytest.raises(StoreError, match=r"the store has 0.00823 GB and DCE_CACHE_GB allows 0.001; raise DCE_CACHE_GB"):
        fetched(address)


def test_a_full_disk_is_told(address, cache, monkeypatch):
    monkeypatch.setattr(node_cache, "SPARE_BYTES", 2**60)
    with pytest.raises(StoreError, match=r"no room for a store of .*: .* GB are free on the disk"):
        fetched(address)


def test_a_disk_that_gets_full_in_a_download_is_told_with_where_else_to_fetch(address, cache):
    folder = cache / node_cache.remote_manifest(address).digest
    folder.with_suffix(".part").mkdir(parents=True)
    (folder.with_suffix(".part") / "features.arrow").symlink_to("/dev/full")
    told = f"^{folder}: cannot be written .No space left on device.; free some space, or set DCE_CACHE to a folder"
    with pytest.raises(StoreError, match=told):
        fetched(address)


def test_ten_seconds_of_503_in_a_download_are_survived(s3, store, address, cache, monkeypatch):
    monkeypatch.setattr(place, "CHUNK", 2**20)
    s3.tell("slow", seconds=0.1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fetched, address)
        while given(s3, address) < 2 * place.CHUNK:
            time.sleep(0.01)
        s3.tell("fail", status=503, seconds=10)
        began = time.monotonic()
        s3.tell("slow", seconds=0)
        assert not (cache / store.digest).exists()
        assert running.result(timeout=120) == cache / store.digest
    assert time.monotonic() - began > 9.0
    FeatureStore.open(cache / store.digest, verify=True)


def test_a_store_of_this_machine_stands_for_what_would_be_fetched(s3, store, address, cache, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(store.path, own)
    adopt(own, store.digest)
    adopt(own, store.digest)
    assert fetched(address).resolve() == own
    assert given(s3, address) == 0
    (own / "features.arrow").write_bytes(b"")  # it is another one by now
    FeatureStore.open(fetched(address), verify=True)
    assert (own / "features.arrow").read_bytes() == b""


def test_the_same_store_is_sent_once_and_another_one_is_refused(store, address, tmp_path):
    send_store(store, address)
    with pytest.raises(StoreError, match=r"holds a store with other data; choose another target"):
        send_store(made_store(tmp_path / "other", 1, 8), address)


def test_what_is_not_there_is_told(bucket, cache):
    with pytest.raises(StoreError, match=f"{bucket}/none: not a store, it has no manifest.json; write one there: "):
        open_store(f"{bucket}/none")
    with pytest.raises(StorageError, match=r"data=s3://no-such-bucket/none: the bucket does not exist"):
        open_store("s3://no-such-bucket/none")


def test_the_cache_must_be_writable(address, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DCE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"cannot be made \(Not a directory\); set DCE_CACHE"):
        fetched(address)


def test_import_copy_info_and_verify_take_addresses(bucket, cache, tmp_path, small):
    def command(*arguments: str) -> str:
        words = [sys.executable, "-m", "dce_ray.store", *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert done.returncode == 0, done.stderr
        return done.stdout

    target = f"{bucket}/imported"
    assert target in command("import", f"source={small()}", f"target={target}")
    digest = open_store(target).digest
    assert digest in command("verify", f"store={target}")
    assert "nothing was copied" not in command("copy", f"store={target}", f"target={tmp_path / 'copied'}")
    for source in (target, tmp_path / "copied"):  # onto itself, too
        assert "nothing was copied" in command("copy", f"store={source}", f"target={tmp_path / 'copied'}")
    assert FeatureStore.open(tmp_path / "copied", verify=True).digest == digest
    assert not list((tmp_path / "cache").glob("sending-*"))
