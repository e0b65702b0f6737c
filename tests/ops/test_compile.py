"""The native ops with torch.compile, torch.export, autocast and torch.library's own checks."""

import pytest
import torch

from stylemix.devices import free_memory
from stylemix.ops import bias_act, epilogue, setup_filter, upfirdn2d, upsample2d, use
from tests.support.native import expect_native

pytestmark = [
    pytest.mark.usefixtures("native_forced"),
    # PyTorch's own compiler and its checks warn about themselves.
    pytest.mark.filterwarnings("ignore:::torch"),
]


@pytest.fixture
def native_forced():
    expect_native("epilogue", torch.device("cpu"))
    with use("native"):
        yield


def _layer(x, demod, b, strength, noise, f):
    """A bit of everything that the ops do in a network."""
    y = epilogue(x, f, 1, 4.0, demod, noise, strength, b, act="lrelu", clamp=2.0, post=demod)
    y = upsample2d(bias_act(y, b, act="swish", clamp=1.5), f)
    return upfirdn2d(y, f, down=2, padding=1).square().mean()


def _inputs(device, last=False):
    torch.manual_seed(0)
    x = torch.randn([2, 5, 6, 6], device=device)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    demod, b = torch.rand([2, 5], device=device), torch.randn([5], device=device)
    strength = torch.tensor(0.5, device=device)
    given = [t.requires_grad_() for t in (x, demod, b, strength)]
    noise = torch.randn([2, 1, 5, 5], device=device)
    return given, (noise, setup_filter([1, 3, 3, 1]).to(device))


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True])
def test_compile_equals_eager_without_graph_breaks(device, last):
    given, rest = _inputs(device, last)
    eager = _layer(*given, *rest)
    expected = torch.autograd.grad(eager, given)
    torch._dynamo.reset()
    compiled = torch.compile(_layer, fullgraph=True, backend="aot_eager")
    y = compiled(*given, *rest)
    torch.testing.assert_close(y, eager)
    for got, wanted in zip(torch.autograd.grad(y, given), expected, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.slow
def test_inductor_equals_eager(device, tmp_path, monkeypatch):
    # Code that another run compiled for a lesser processor may still be in the usual cache; on this
    # one its stores would be wider than it thinks, beyond the end of what it writes to.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    given, rest = _inputs(device)
    eager = _layer(*given, *rest)
    expected = torch.autograd.grad(eager, given)
    torch._dynamo.reset()
    y = torch.compile(_layer, fullgraph=True)(*given, *rest)
    torch.testing.assert_close(y, eager)
    for got, wanted in zip(torch.autograd.grad(y, given), expected, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.slow
def test_export(device):
    given, rest = _inputs(device)
    given = [t.detach() for t in given]

    class Module(torch.nn.Module):
        def forward(self, *args):
            return _layer(*args)

    program = torch.export.export(Module(), (*given, *rest))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {
        "stylemix.epilogue.default", "stylemix.bias_act.default", "stylemix.upfirdn2d.default"
    } <= names  # fmt: skip
    torch.testing.assert_close(program.module()(*given, *rest), _layer(*given, *rest))


def test_autocast(device):
    """The ops keep the type of what they get, so a bfloat16 convolution stays bfloat16."""
    (x, demod, b, strength), (noise, f) = _inputs(device)
    weight = torch.randn([5, 5, 3, 3], device=device, requires_grad=True)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        y = torch.nn.functional.conv2d(x, weight, padding=1)
        y = epilogue(y, f, 1, 4.0, demod, noise, strength, b, act="lrelu", post=demod)
        assert y.dtype == torch.bfloat16
        y = upsample2d(bias_act(y, b, act="lrelu"), f)
        assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    assert [t.grad.dtype for t in (x, demod, b, weight)] == [torch.float32] * 4
    assert b.grad.abs().sum() > 0


@pytest.mark.slow
def test_opcheck(device):
    """Schemas, fake kernels, autograd registration and traces, by torch.library's own checks."""
    tests = (
        "test_schema",
        "test_autograd_registration",
        "test_faketensor",
        "test_aot_dispatch_static",
    )
    x = torch.randn([2, 4, 5, 6], device=device, requires_grad=True)
    b = torch.randn([4], device=device, requires_grad=True)
    f = setup_filter([1, 3, 3, 1]).to(device)
    ones = torch.ones([2, 4], device=device, requires_grad=True)
    ops = torch.ops.stylemix
    for act in (2, 8):
        torch.library.opcheck(ops.bias_act.default, (x, b, 1, act, 0.2, 1.4, 1.0), test_utils=tests)
    options = (x, f, 2, 2, 1, 1, 2, 1, 2, 1, False, 4.0)
    torch.library.opcheck(ops.upfirdn2d.default, options, test_utils=tests)
    noise, strength = torch.randn([30], device=device), torch.tensor(0.3, device=device)
    options = (x, f, 2, 1, 2, 1, False, 1.0, ones, noise, strength, b, 0.2, 1.4, 2.0, ones)
    torch.library.opcheck(ops.epilogue.default, options, test_utils=tests)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_fake_results_have_the_layout_of_real_ones(device, dim):
    """Compiled code relies on it; the kernels know channels_last if the bias is by channel."""
    x = torch.randn([2, 4, 5, 6], device=device).contiguous(memory_format=torch.channels_last)
    b = torch.randn([x.shape[dim]], device=device)
    ops, options = torch.ops.stylemix, (dim, 8, 0.2, 1.4, 1.0)
    for op, given in (
        (ops.bias_act.default, (x, b, *options)),
        (ops.bias_act_grad.default, (x, x, b, *options, False, True)),
        (ops.bias_act_grad2.default, (x, x, x, b, *options)),
    ):
        torch.library.opcheck(op, given, test_utils=("test_faketensor",))


@pytest.mark.gpu
def test_cuda_graph():
    """Captured once, replayed with other numbers."""
    given, rest = _inputs(torch.device("cuda"))
    with torch.no_grad():
        _layer(*given, *rest)  # compiles and warms up outside of the graph
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = _layer(*given, *rest)
        given[0].normal_()
        graph.replay()
        torch.testing.assert_close(y, _layer(*given, *rest))


@pytest.mark.slow
def test_more_than_2_to_the_31_elements(device):
    """Indices do not overflow: the far end is right."""
    if device.type == "cpu":
        free = free_memory(device)
        if free is None or free < 11 * 2**30:
            pytest.skip("needs 11 GiB of free memory")
    shape = [2, 16, 8200, 8200]
    x = torch.zeros(shape, device=device, dtype=torch.bfloat16)
    assert x.numel() > 2**31
    x[-1, -1, -1, -3:] = 1
    y = bias_act(x, torch.full([16], 0.5, device=device), act="lrelu", gain=1.0)
    assert y[-1, -1, -1, -4:].tolist() == [0.5, 1.5, 1.5, 1.5]
    assert y[0, 0, 0, 0].item() == 0.5
    del y
    f = torch.tensor([[1.0, 2.0]], device=device)
    y = upfirdn2d(x, f, padding=(1, 0, 0, 0))
    assert y[-1, -1, -1, -4:].tolist() == [0, 1, 3, 3]
