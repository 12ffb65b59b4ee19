"""The hypergradient against closed forms and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seqregen.personalization import hypergradient, implicit_gradient, second_order_kernels


class Quadratic:
    """L_train = θᵀAθ/2 - φᵀBθ and L_dev = |θ - c|²/2, in double precision, with θ anywhere."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        root = torch.randn(5, 5, generator=random, dtype=torch.float64)
        self.curvature = root @ root.T / 5 + 0.5 * torch.eye(5, dtype=torch.float64)
        self.mixed = torch.randn(3, 5, generator=random, dtype=torch.float64)
        self.centre = torch.randn(5, generator=random, dtype=torch.float64)
        self.theta = torch.randn(5, generator=random, dtype=torch.float64).requires_grad_()
        self.phi = torch.randn(3, generator=random, dtype=torch.float64).requires_grad_()

    def gradient(self, n_terms, step, **settings) -> torch.Tensor:
        train = self.theta @ self.curvature @ self.theta / 2 - self.phi @ self.mixed @ self.theta
        dev = ((self.theta - self.centre) ** 2).sum() / 2
        (found,) = implicit_gradient(dev, train, [self.theta], [self.phi], n_terms, step, **settings)
        return found

    @property
    def dev_gradient(self) -> torch.Tensor:
        return (self.theta - self.centre).detach()


@pytest.mark.parametrize("step", [1e-3, 0.3])
@pytest.mark.parametrize("n_terms", [0, 1, 2, 3, 7])
def test_each_number_of_terms_equals_the_closed_form(n_terms, step):
    problem = Quadratic()
    bracket = torch.eye(5, dtype=torch.float64) - step * problem.curvature
    series = sum(torch.linalg.matrix_power(bracket, power) for power in range(n_terms + 1))
    expected = problem.mixed @ series @ problem.dev_gradient
    torch.testing.assert_close(problem.gradient(n_terms, step), expected, rtol=1e-9, atol=1e-9)
    scaled = problem.gradient(n_terms, step, scaled=True)
    torch.testing.assert_close(scaled, step * expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_terms", [1, 2, 3, 6])
def test_a_tolerance_spares_products_and_hardly_changes_the_result(n_terms, monkeypatch):
    problem, calls = Quadratic(), []
    along = hypergradient._Slopes.along

    def counted(*arguments, **settings):
        calls.append(settings)
        return along(*arguments, **settings)

    monkeypatch.setattr(hypergradient._Slopes, "along", counted)
    exact = problem.gradient(n_terms, 1e-3)
    assert len(calls) == n_terms + 1
    spared = problem.gradient(n_terms, 1e-3, tolerance=2e-2)
    assert len(calls) == n_terms + 3
    torch.testing.assert_close(spared, exact, rtol=1e-4, atol=1e-6)
    # Of the first order it is right: without the Hessian the result is further away.
    assert (spared - exact).norm() < 0.02 * (problem.gradient(0, 1.0) * (n_terms + 1) - exact).norm()
    # A step that bends the series more than the tolerance allows is made in full.
    torch.testing.assert_close(problem.gradient(n_terms, 0.3, tolerance=2e-2), problem.gradient(n_terms, 0.3))


@pytest.mark.parametrize("n_terms", [30, 300, 2000])
def test_a_tolerance_hardly_changes_a_long_series(n_terms):
    # A straight line through a power that shrinks by a thousandth turns its sign a thousand powers on.
    problem = Quadratic()
    exact = problem.gradient(n_terms, 1e-3, scaled=True)
    spared = problem.gradient(n_terms, 1e-3, scaled=True, tolerance=1e-2)
    assert (spared - exact).norm() < 1e-3 * exact.norm()


def test_many_scaled_terms_are_the_exact_inverse():
    problem = Quadratic()
    expected = problem.mixed @ torch.linalg.solve(problem.curvature, problem.dev_gradient)
    torch.testing.assert_close(problem.gradient(400, 0.3, scaled=True), expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(problem.gradient(5, 0.3, scaled=True), expected, rtol=1e-3)


def test_a_measured_step_suits_the_curvature():
    # Of a multiple of the identity one term is the inverse already.
    theta = torch.tensor([1.0, 2.0], requires_grad=True)
    phi = torch.tensor([1.0, 0.0], requires_grad=True)
    (found,) = implicit_gradient(
        theta.sum(), 50 * (theta**2).sum() - phi @ theta, [theta], [phi], n_terms=1, step=None, scaled=True
    )
    torch.testing.assert_close(found, torch.tensor([0.01, 0.01]))


def test_a_flat_loss_ends_the_series():
    theta, phi = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    (found,) = implicit_gradient(theta.sum(), -(phi * theta).sum(), [theta], [phi], n_terms=3, step=None)
    torch.testing.assert_close(found, 4 * torch.ones(2))


def test_what_has_no_influence_on_a_flat_loss_has_no_gradient():
    theta, phi = torch.ones(2, requires_grad=True), torch.ones(4, requires_grad=True)
    (found,) = implicit_gradient(
        theta.sum(), -(phi[:2] * theta).sum(), [theta], [phi], n_terms=1, step=None, scaled=True
    )
    assert found.tolist() == [np.inf, np.inf, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_terms": -1}, "n_terms must be an integer of at least 0; got -1"),
        ({"n_terms": 1.0}, "n_terms must be an integer of at least 0; got 1.0"),
        ({"step": 0}, "step must be above 0 and finite, or None .*; got 0"),
        ({"step": -1}, "step must be above 0 and finite, or None .*; got -1"),
        ({"step": float("inf")}, "step must be above 0 and finite, or None .*; got inf"),
        ({"tolerance": -1.0}, "tolerance must be at least 0 and finite; got -1.0"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0 and finite; got nan"),
    ],
)
def test_what_is_no_series_is_refused(settings, message):
    theta, phi = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=message):
        implicit_gradient(theta.sum(), (phi * theta).sum(), [theta], [phi], **settings)


def test_parameters_that_a_loss_does_not_see_count_with_zero():
    theta, unseen, linear = (torch.ones(2, requires_grad=True) for _ in range(3))
    phi, free = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    train = (theta**2).sum() - (phi * theta).sum() + linear.sum()
    dev = theta.sum() + linear.sum()
    found = implicit_gradient(dev, train, [theta, unseen, linear], [phi, free], n_terms=1, step=0.1)
    torch.testing.assert_close(found, [1.8 * torch.ones(2), torch.zeros(3)])
    # Nothing of the training loss is curved.
    found = implicit_gradient(dev, linear.sum(), [theta, linear], [phi], n_terms=2, step=0.1)
    torch.testing.assert_close(found, [torch.zeros(2)])


def test_nothing_is_left_in_grad():
    problem = Quadratic()
    problem.gradient(3, 0.1)
    assert problem.theta.grad is None
    assert problem.phi.grad is None


class Toy:
    """A small network with weighted training samples, trained to its minimum by Newton's method."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.inputs, self.dev_inputs = (torch.from_numpy(random.normal(size=(n, 2))) for n in (12, 9))
        self.targets, self.dev_targets = (torch.from_numpy(random.normal(size=n)) for n in (12, 9))
        self.start = torch.from_numpy(random.normal(size=9) / 3)

    def outputs(self, theta, inputs) -> torch.Tensor:
        hidden = torch.tanh(inputs @ theta[:6].view(2, 3))
        return hidden @ theta[6:]

    def train_loss(self, theta, phi) -> torch.Tensor:
        losses = (self.outputs(theta, self.inputs) - self.targets) ** 2
        return (torch.sigmoid(phi) * losses).mean() + 0.05 * (theta**2).sum()

    def dev_loss(self, theta) -> torch.Tensor:
        return ((self.outputs(theta, self.dev_inputs) - self.dev_targets) ** 2).mean()

    def minimum(self, phi, start) -> torch.Tensor:
        theta = start
        for _ in range(300):
            slope = torch.autograd.functional.jacobian(lambda place: self.train_loss(place, phi), theta)
            curvature = torch.autograd.functional.hessian(lambda place: self.train_loss(place, phi), theta)
            if slope.norm() < 1e-12:
                break
            damped = curvature + (0.5 if slope.norm() > 1e-2 else 0.0) * torch.eye(9, dtype=theta.dtype)
            theta = theta - torch.linalg.solve(damped, slope)
        assert slope.norm() < 1e-10
        assert torch.linalg.eigvalsh(curvature).min() > 0
        return theta


def test_finite_differences_through_training_agree():
    toy, phi = Toy(), torch.zeros(12, dtype=torch.float64)
    minimum = toy.minimum(phi, toy.start)
    theta, hyper = minimum.clone().requires_grad_(), phi.clone().requires_grad_()
    (found,) = implicit_gradient(
        toy.dev_loss(theta), toy.train_loss(theta, hyper), [theta], [hyper], n_terms=1000, step=0.2, scaled=True
    )
    shift = 1e-4 * torch.eye(12, dtype=torch.float64)
    expected = torch.stack(
        [
            toy.dev_loss(toy.minimum(phi + row, minimum)) - toy.dev_loss(toy.minimum(phi - row, minimum))
            for row in shift
        ]
    ) / 2e-4  # fmt: skip
    assert torch.equal(found.sign(), expected.sign())
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-6)
    # Without the Hessian the direction is another one.
    (first_order,) = implicit_gradient(toy.dev_loss(theta), toy.train_loss(theta, hyper), [theta], [hyper], n_terms=0)
    assert not torch.allclose(first_order / first_order.norm(), expected / expected.norm(), atol=0.05)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_of_torch_can_be_differentiated_twice(kind):
    layer, scale = kind(3, 4, batch_first=True), torch.ones((), requires_grad=True)
    with second_order_kernels():
        loss = scale * layer(torch.ones(2, 5, 3))[0].square().sum()
    dev_loss = layer(torch.zeros(2, 5, 3))[0].sum()
    (found,) = implicit_gradient(dev_loss, loss, list(layer.parameters()), [scale])
    assert found.isfinite()
    assert found != 0


def test_fused_attention_of_torch_can_be_differentiated_twice():
    layer, scale = nn.MultiheadAttention(4, 2, batch_first=True), torch.ones((), requires_grad=True)
    values = torch.linspace(-1, 1, 24).view(2, 3, 4)
    with second_order_kernels():
        loss = scale * layer(values, values, values, need_weights=False)[0].square().sum()
    dev_loss = layer(values, values, values, need_weights=False)[0].sum()
    (found,) = implicit_gradient(dev_loss, loss, list(layer.parameters()), [scale])
    assert found.isfinite()
    assert found != 0


@pytest.mark.parametrize("name", ["parameters", "hyperparameters"])
def test_one_tensor_is_no_sequence_of_tensors(name):
    value, weight = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    given = {"parameters": [value], "hyperparameters": [weight]}
    given[name] = given[name][0]
    with pytest.raises(TypeError, match=rf"^{name} must be a sequence of tensors; got one tensor\. Give \[{name}\]\."):
        implicit_gradient(value.square().sum(), (value.square() * weight).sum(), **given)


@pytest.mark.parametrize(
    ("changes", "error", "fault"),
    [
        ({"step": True}, ValueError, "step must be above 0 and finite, or None to measure the curvature; got True"),
        ({"step": "a"}, ValueError, "step must be above 0"),
        ({"tolerance": None}, ValueError, "tolerance must be at least 0 and finite; got None"),
        ({"parameters": []}, ValueError, "parameters must have one tensor at least; got none"),
        ({"hyperparameters": {}}, ValueError, "hyperparameters must have one tensor at least; got none"),
        ({"parameters": [None]}, TypeError, "parameters must be a sequence of tensors; number 0 is a NoneType"),
        ({"hyperparameters": {"a": 1}}, TypeError, "hyperparameters must be a sequence of tensors; number 0 is a str"),
    ],
)
def test_bad_arguments_are_named(changes, error, fault):
    value, weight = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    given = {"parameters": [value], "hyperparameters": [weight]} | changes
    with pytest.raises(error, match=fault):
        implicit_gradient(value.square().sum(), (value.square() * weight).sum(), **given)


def test_a_constant_loss_has_gradients_of_0():
    value, weight = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    constant, other = torch.tensor(2.0), (value.square() * weight).sum()
    for losses in ((constant, other), (other, constant), (constant, constant)):
        (found,) = implicit_gradient(*losses, [value], [weight])
        assert torch.equal(found.abs(), torch.zeros(3))


def test_without_curvature_a_measured_step_has_no_end():
    value, weight = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    losses = (value - 2).square().sum() / 2, (value * weight).sum()
    given = {"parameters": [value], "hyperparameters": [weight], "n_terms": 2, "step": None}
    (found,) = implicit_gradient(*losses, **given)
    # Three powers, each the gradient of the dev loss, -1.
    assert torch.equal(found, torch.full((3,), 3.0))
    losses = (value - 2).square().sum() / 2, (value * weight).sum()
    (found,) = implicit_gradient(*losses, **given, scaled=True)
    assert torch.equal(found, torch.full((3,), torch.inf))
