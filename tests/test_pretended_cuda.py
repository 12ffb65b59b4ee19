"""The pretended device is as strict as a real one."""

from __future__ import annotations

import pytest
import torch
from pretended_cuda import pretended_cuda

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real one")


@pytest.fixture(autouse=True)
def device():
    with pretended_cuda():
        yield
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: there.copy_(there * here),
        lambda there, here: there.index_add_(0, torch.arange(3), there),
        lambda there, here: here[torch.arange(3, device="cuda")],
        lambda there, here: torch.nn.Linear(3, 2)(there),
        lambda there, here: torch.nn.Linear(3, 2).to("cuda")(here),
    ],
)
def test_devices_do_not_mix(mix):
    with pytest.raises(RuntimeError, match="device"):
        mix(torch.ones(3, device="cuda"), torch.ones(3))


def test_numbers_indices_and_copies_may_come_from_the_cpu():
    there = torch.ones(3, device="cuda")
    assert (there * torch.tensor(2.0))[torch.arange(2)].copy_(torch.zeros(2)).tolist() == [0, 0]


def test_there_is_no_numpy_array_of_what_lies_there():
    with pytest.raises(TypeError, match="numpy"):
        torch.ones(3, device="cuda").numpy()


@pytest.mark.parametrize(
    "wait",
    [
        lambda there: there.sum().item(),
        lambda there: there.cpu(),
        lambda there: there.tolist(),
        lambda there: there.nonzero(),
        lambda there: there[there > 0],
        lambda there: torch.ones(3).to("cuda"),
        lambda there: bool(there.any()),
        lambda there: torch.repeat_interleave(there.long()),
        lambda there: torch.bincount(there.long()),
    ],
)
def test_waiting_is_an_error_where_it_shall_be(wait):
    there = torch.ones(3, device="cuda")
    wait(there)
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchronizing"):
        wait(there)
    torch.ones(3).to("cuda", non_blocking=True)
    torch.repeat_interleave(there, there.long(), output_size=3)


def test_a_network_learns_there_what_it_learns_here():
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 1)).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            network(torch.arange(6.0).view(2, 3).to(device)).square().sum().backward()
            optimizer.step()
        assert {parameter.device.type for parameter in network.parameters()} == {device}
        found.append(torch.cat([parameter.detach().cpu().view(-1) for parameter in network.parameters()]))
    torch.testing.assert_close(found[1], found[0])
