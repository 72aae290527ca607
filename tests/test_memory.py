"""The memory benchmark measures a real server's processes, knows a request that has no room from one that fails, and
finds the largest K.
"""

import json
import os
import shutil
import threading

import numpy as np
import pynvml
import pytest
import torch
from alpamayo_client import ServerError
from alpamayo_demo.errors import DemoError
from alpamayo_export.limits import Limits
from alpamayo_export.repository import DENOISER, REASONER, UNICYCLE, record_files
from contract import HandOverFailed
from denoiser.hand_over import check_hand_over
from memory import NO_ROOM, Attempt, attempt, largest, main, outcome, repository_of, table
from process_memory import (
    PROCESSES,
    SERVER,
    Peaks,
    Reading,
    by_name,
    memory_reader,
    read_host,
    served_processes,
    watched,
)
from readme import rendered

MOST = 2  # trajectories that the repository takes
BEYOND_MEMORY = 10**12  # trajectories: their KV cache has more bytes than a process has addresses
HERE = torch.cuda.is_available()


@pytest.fixture(scope="module")
def small_repository(checkpoint):
    with repository_of(checkpoint, Limits(max_trajectories=MOST, max_generation_length=8)) as repository:
        yield repository


@pytest.fixture(scope="module")
def result(small_repository, tmp_path_factory):
    output = tmp_path_factory.mktemp("memory") / "result.json"
    arguments = ["--samples", "1", "2", "--requests", "1", "--output", str(output)]
    assert main([str(small_repository), *arguments]) == 0
    return json.loads(output.read_text())


def test_the_largest_k_is_the_repositorys_limit_where_memory_has_room(result):
    assert result["largest_k"] == {"k": MOST, "stopped_by": f"the repository's --max-trajectories {MOST}"}
    assert result["settings"]["image_frames"] == [4, 4, 3, 1080, 1920]
    assert result["served"]["limits"]["max_trajectories"] == MOST
    assert set(result["per_k"]) == {"1", "2"}


@pytest.mark.skipif(HERE, reason="there is a GPU")
def test_without_a_gpu_it_is_every_process_of_the_host(result):
    assert (result["gpu"], result["memory"]) == (None, "host, proportional set size")
    assert result["whole_gpu"] == {}
    assert result["not_run"] == {}
    for k in ("1", "2"):
        used = result["per_k"][k]
        assert set(used) == set(PROCESSES)
        assert used[REASONER] > used[UNICYCLE] > 0
        assert used[SERVER] > 50e6  # the frames, 99.5 MB, pass through memory that it shares with the reasoner
        assert max(used.values()) < result["totals"][k] <= sum(used.values())


@pytest.mark.skipif(not HERE, reason="needs a GPU")
def test_on_a_gpu_it_is_the_gpus(result):
    for k in ("1", "2"):
        assert result["whole_gpu"][k]["peak"] > result["whole_gpu"][k]["before"] > 0
        assert {REASONER, DENOISER} <= set(result["per_k"][k]) or "by process" in result["not_run"]


def test_the_readme_can_show_it(result, tmp_path, monkeypatch):
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "some.json").write_text(json.dumps(result))
    monkeypatch.setattr("readme.ROOT", tmp_path)
    assert table(result) in rendered("<!-- some.json -->\n<!-- end -->")
    assert "| peak, MB | K = 1 | K = 2 |" in table(result)
    assert f"Largest K that fits: {MOST}; stopped by: the repository's --max-trajectories {MOST}." in table(result)


def test_a_table_of_what_a_gpu_could_not_tell_by_process(result):
    told = result | {
        "per_k": {"1": {}, "2": {}},
        "totals": {},
        "whole_gpu": {"1": {"before": 5 * 10**8, "peak": 24 * 10**9}, "2": {"before": 5 * 10**8, "peak": 25 * 10**9}},
        "not_run": {"by process": "for a reason", "K = 6": "it does not fit: CUDA out of memory"},
    }
    assert table(told).splitlines()[2:4] == [
        "| whole GPU | 24,000 | 25,000 |",
        "| whole GPU, before it was served | 500 | 500 |",
    ]
    assert "by process: not run: for a reason." in table(told)
    assert "K = 6: not run: it does not fit: CUDA out of memory." in table(told)


def test_more_than_the_repository_takes_is_refused(small_repository, capsys):
    assert main([str(small_repository), "--samples", "1", "3"]) == 1
    assert "--max-trajectories): got 3, wanted at most 2" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--samples", "--requests"])
def test_numbers_that_make_no_sense_are_refused(capsys, argument):
    assert main([argument, "0"]) == 1
    assert f"memory.py: {argument}: got 0, wanted at least 1" in capsys.readouterr().err


@pytest.fixture(scope="module")
def broken_repository(small_repository, tmp_path_factory):
    """It promises more trajectories than any memory has room for, and its last model fails."""
    repository = tmp_path_factory.mktemp("broken") / "repository"
    shutil.copytree(small_repository, repository)
    settings = repository / REASONER / "1" / "reasoner.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_trajectories": BEYOND_MEMORY}))
    with (repository / UNICYCLE / "1" / "model.py").open("a") as model:
        model.write("\n    def _answer(self, request):\n        raise RuntimeError('a fault of its own')\n")
    record_files(repository)  # or it would not be loaded
    return repository


def test_a_request_without_room_does_not_fit_and_one_that_fails_is_an_error(broken_repository):
    with memory_reader(HERE) as read:
        without_room = attempt(broken_repository, BEYOND_MEMORY, 1, read)
        assert "tried to allocate" in without_room.no_room.lower()
        with pytest.raises(ServerError, match="RuntimeError: a fault of its own"):
            attempt(broken_repository, 1, 1, read)


def test_what_is_served_has_all_its_processes():
    with pytest.raises(DemoError, match=r"found processes of \[\], wanted tritonserver, alpamayo_reasoner, "):
        served_processes([])


def test_the_outcome_where_memory_ends_before_the_repositorys_limit():
    def tried(k):
        return Attempt(Peaks({SERVER: 10 * k, REASONER: 100 * k}, 110 * k, 200 * k), 7, None if k < 5 else f"no {k}")

    assert outcome(tried, [1, 6], 32) == {
        "per_k": {"1": {SERVER: 10, REASONER: 100}},
        "totals": {"1": 110},
        "whole_gpu": {"1": {"before": 7, "peak": 200}},
        "largest_k": {"k": 4, "stopped_by": "no 5"},
        "not_run": {"K = 6": "it does not fit: no 6"},
    }


def test_the_outcome_where_nvml_cannot_tell_processes_apart():
    found = outcome(lambda k: Attempt(Peaks({}, 0, 200 * k), 7, None), [1], 2)
    assert (found["per_k"], found["totals"]) == ({"1": {}}, {})
    assert found["whole_gpu"] == {"1": {"before": 7, "peak": 200}}
    assert "docker run --pid=host" in found["not_run"]["by process"]


def refused_hand_over(device):
    kv_cache = torch.zeros(2, 2, 1, 3, 4)
    with pytest.raises(HandOverFailed) as refused:
        check_hand_over(kv_cache, np.ones((2, 2), np.int64), torch.device(device))
    return str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        refused_hand_over("cuda"),
        refused_hand_over("cpu"),
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeException: [ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer "
        "of size 10737418240",
    ],
)
def test_words_for_want_of_memory(words):
    assert NO_ROOM.search(words)


@pytest.mark.parametrize(
    "words",
    [
        "in ensemble 'alpamayo', Stub process 'alpamayo_reasoner_0_0' is not healthy.",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: TensorRT 10.13 could not run the denoising step",
    ],
)
def test_words_for_another_failure(words):
    assert not NO_ROOM.search(words)


@pytest.mark.parametrize("limit", [1, 2, 7, 32])
def test_the_largest_k_is_found_and_the_next_one_tried(limit):
    for first in range(1, limit + 1):
        for most in range(limit + 1):
            tried = []

            def fits(k, tried=tried, most=most):
                assert 1 <= k <= limit
                assert k not in tried
                tried.append(k)
                return k <= most

            assert largest(fits, first, limit) == most
            assert min(most + 1, limit) in tried
            assert len(tried) <= 10


def listed(pid, used):
    """As NVML's Python bindings list a process."""
    process = pynvml.c_nvmlProcessInfo_v2_t(pid=pid, usedGpuMemory=used)
    return pynvml.nvmlStructToFriendlyObject(process)


NAMES = {10: SERVER, 11: REASONER, 12: DENOISER, 13: UNICYCLE, 14: DENOISER}


def test_nvmls_list_by_name():
    processes = [listed(10, 5), listed(11, 70), listed(12, 8), listed(99, 1000), listed(14, 9)]
    assert by_name(processes, NAMES) == {SERVER: 5, REASONER: 70, DENOISER: 17}  # two instances; the unicycle has none


def test_nvmls_list_in_another_namespace_or_without_sizes_tells_nothing():
    untold = listed(11, 0)
    untold.usedGpuMemory = None  # what the bindings make of NVML's "not available"
    assert by_name([untold, listed(12, 8)], NAMES) == {}
    assert by_name([listed(4711, 70), listed(4712, 8), listed(10, 5)], NAMES) == {}
    assert by_name([], NAMES) == {}


def test_peaks_are_each_processs_own_and_the_totals_of_one_moment():
    peaks = Peaks()
    for a, b, whole in ((1, 10, 20), (5, 2, 30), (3, 3, 25)):
        peaks.add(Reading({SERVER: a, REASONER: b}, whole))
    peaks.add(Reading({}, 26))  # a moment where they could not be told
    assert peaks == Peaks({SERVER: 5, REASONER: 10}, 11, 30)
    without_gpu = Peaks()
    without_gpu.add(Reading({SERVER: 1}))
    assert without_gpu.whole_gpu is None


def test_what_is_taken_while_watched_is_in_the_peak():
    """By this process: 64 MB, written to, and given back before the block ends."""
    read = {os.getpid(): SERVER}
    before = read_host(read).processes[SERVER]
    has_read = threading.Event()

    def now():
        reading = read_host(read)
        has_read.set()
        return reading

    with watched(now) as peaks:
        taken = np.ones(64 << 20, np.uint8)
        for _ in range(2):  # the first may have begun before
            has_read.clear()
            assert has_read.wait(60)
        del taken
    assert peaks.processes[SERVER] >= before + (32 << 20)
    assert peaks.total == peaks.processes[SERVER]


def test_watching_reads_once_more_after_the_end_and_says_what_went_wrong():
    readings = iter([Reading({SERVER: 1})] * 1000)
    with watched(lambda: next(readings)) as peaks:
        pass
    assert peaks.processes == {SERVER: 1}
    with pytest.raises(DemoError, match="no such GPU"), watched(fails):
        pass


def fails():
    raise DemoError("no such GPU")


def test_a_process_that_has_died_is_not_counted():
    assert read_host({2**22 + 1: REASONER}) == Reading({})  # beyond the largest id that Linux gives


@pytest.mark.skipif(HERE, reason="NVML is here")
def test_without_nvml_it_is_said():
    with (
        pytest.raises(DemoError, match=r"NVML, which tells the GPU's memory: .* see that nvidia-smi works here"),
        memory_reader(gpu=True),
    ):
        pass
