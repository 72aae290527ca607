"""A KV cache that was damaged on its way, or that left the GPU, is refused."""

from types import SimpleNamespace

import pytest
import torch
from contract import HandOverFailed, InvalidRequest
from denoiser.hand_over import check_hand_over
from kv_checksum import kv_checksum

CPU = torch.device("cpu")


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def kv_cache(request):
    return torch.randn(3, 2, 2, 9, 8, generator=torch.Generator().manual_seed(0)).to(request.param)


def test_what_arrives_as_it_was_sent_is_taken(kv_cache):
    checksum = kv_checksum(kv_cache)
    assert (checksum.dtype, tuple(checksum.shape)) == (torch.int64, (3, 2))
    check_hand_over(kv_cache.clone(), checksum.numpy(), CPU)
    check_hand_over(kv_cache.transpose(3, 4).contiguous().transpose(3, 4), checksum.numpy(), CPU)  # lying otherwise


@pytest.mark.parametrize("damage", ["a bit", "a row of zeros", "rows exchanged", "another request's"])
def test_a_damaged_one_is_refused(kv_cache, damage):
    checksum = kv_checksum(kv_cache).numpy()
    arrived = kv_cache.clone()
    if damage == "a bit":
        bits = arrived.view({2: torch.int16, 4: torch.int32}[arrived.itemsize])
        bits[1, 0, 1, 3, 5] ^= 1
    elif damage == "a row of zeros":
        arrived[2, 1, :, 4] = 0
    elif damage == "rows exchanged":
        arrived[0, 0] = arrived[0, 0, :, [1, 0, *range(2, 9)]]
    else:
        arrived += 1
    with pytest.raises(HandOverFailed, match="raise --cuda-memory-pool-byte-size") as refused:
        check_hand_over(arrived, checksum, CPU)
    assert refused.value.reason == "damaged"


def test_the_checksum_of_another_network_s_cache_is_the_caller_s_fault(kv_cache):
    with pytest.raises(InvalidRequest, match=r"kv_checksum must have shape"):
        check_hand_over(kv_cache, kv_checksum(kv_cache).numpy()[1:], CPU)


def test_on_a_gpu_host_memory_is_refused_from_the_reasoner_and_taken_from_a_client(kv_cache):
    gpu = SimpleNamespace(type="cuda")  # a device that nothing is moved to
    with pytest.raises(HandOverFailed, match=r"\(\d+ bytes\) came through host memory .* --cuda-memory-pool-byte-size"):
        check_hand_over(kv_cache, kv_checksum(kv_cache).numpy(), gpu)
    check_hand_over(kv_cache, None, gpu)
