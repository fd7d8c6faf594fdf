"""Figure 4: shapes, scene layers, the normaliser, the fast policy."""

from __future__ import annotations

import pytest
import torch

from visagent.envs.navigation import NavigationObservation, SceneTables
from visagent.errors import ConfigError
from visagent.networks.distributions import sample_categorical
from visagent.networks.navigation import NavigationNetwork, NavigationPolicy, SafetyHead, SceneLinear


@pytest.fixture
def network(tables):
    torch.manual_seed(0)
    return NavigationNetwork(tables, embedding=32, fusion=24, scene_layer=16, projection=20)


def observations(tables, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(tables.count, (count,), generator=rng)
    return NavigationObservation(
        torch.randint(tables.count, (count, 4), generator=rng), target, tables.scene_of[target]
    )


def reference(network, tables, observation, i):
    """One observation, layer by layer, as Figure 4 draws it."""
    x = network.table[0]
    seen = torch.relu(network.siamese(x[observation.history[i]].flatten()))
    wanted = torch.relu(network.siamese(x[observation.target[i]].repeat(4)))
    joint = torch.relu(network.fusion(torch.cat([seen, wanted])))
    s = int(observation.scene[i])
    hidden = torch.relu(network.scene_layer.weight[s] @ joint + network.scene_layer.bias[s])
    return network.policy_head.weight[s] @ hidden + network.policy_head.bias[s], network.value_head.weight[
        s
    ] @ hidden + network.value_head.bias[s]


def test_forward_is_figure_4(network, tables, device):
    observation = observations(tables, 17)
    moved = NavigationObservation(*(t.to(device) for t in (observation.history, observation.target, observation.scene)))
    output = network.to(device)(moved)
    network.cpu()
    for i in range(17):
        logits, value = reference(network, tables, observation, i)
        torch.testing.assert_close(output.logits[i].cpu(), logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.value[i].cpu(), value[0], rtol=1e-4, atol=1e-5)


def test_paper_widths(tables):
    network = NavigationNetwork(tables)
    assert network.siamese.in_features == 8192 and network.siamese.out_features == 512
    assert (
        network.fusion.in_features == 1024
        and network.scene_layer.weight.shape == (2, 512, 512)
        and network.policy_head.weight.shape == (2, 4, 512)
    )


def test_the_policy_equals_the_network(network, tables, device):
    observation = observations(tables, 40)
    moved = NavigationObservation(*(t.to(device) for t in (observation.history, observation.target, observation.scene)))
    network.to(device).eval()
    fast, slow = NavigationPolicy(network).evaluate(moved), network(moved)
    torch.testing.assert_close(fast.logits, slow.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast.value, slow.value, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns_and_scenes_are_apart(network, tables):
    observation = observations(tables, 64)
    only = observation.select(observation.scene == 0)
    network(only).logits.square().sum().backward()
    assert network.scene_layer.weight.grad[0].abs().sum() > 0 and network.scene_layer.weight.grad[1].abs().sum() == 0
    output = network(observation)
    (output.logits.square().sum() + output.value.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_standardisation_travels_in_the_checkpoint(network, tables):
    raw = torch.cat([torch.from_numpy(s.features[:, 0]) for s in tables.scenes])
    torch.testing.assert_close(network.mean, raw.mean(dim=0))
    assert (
        {"mean", "std", "basis"} <= set(network.state_dict())
        and "raw" not in network.state_dict()
        and "table" not in network.state_dict()
    )
    other = NavigationNetwork(tables, 32, 24, 16, 20)
    other.mean.add_(1.0)
    other.load_state_dict(network.state_dict())
    other.refresh_table()
    torch.testing.assert_close(other.table, network.table)


def test_projection_keeps_the_leading_directions(tables):
    network = NavigationNetwork(tables, projection=tables.count - 1)
    scaled = (network.raw[0] - network.mean) / network.std
    # N states span at most N - 1 directions
    torch.testing.assert_close(scaled @ network.basis @ network.basis.T, scaled, rtol=1e-3, atol=1e-3)
    with pytest.raises(ConfigError, match=r"expected 1\.\.2048 or null, got 3000"):
        NavigationNetwork(tables, projection=3000)


def test_random_feature_samples_only_while_training(tmp_path):
    from visagent.testing.scenes import grid_scene

    tables = SceneTables([grid_scene(tmp_path, "kitchen_01", ("...",), samples=5)])
    network = NavigationNetwork(tables, 32, 24, 16, 8, random_feature_sample=True)
    observation = observations(tables, 6)
    assert network.table.shape[0] == 5
    assert not torch.equal(network(observation).logits, network(observation).logits)
    network.eval()
    assert torch.equal(network(observation).logits, network(observation).logits)


def test_scene_linear_rows_use_their_scene():
    layer = SceneLinear(3, 4, 2)
    x = torch.randn(5, 4)
    out = layer(x, [2, 0, 3])
    torch.testing.assert_close(out[1], layer.weight[0] @ x[1] + layer.bias[0])
    torch.testing.assert_close(out[4], layer.weight[2] @ x[4] + layer.bias[2])


def test_safety_head_warns_above_its_threshold(network, tables):
    head = SafetyHead(2, 16)
    observation = observations(tables, 30)
    for threshold, share in ((0.0, 1.0), (1.0, 0.0)):
        head.threshold.fill_(threshold)
        assert (
            NavigationPolicy(network, head).act(observation, generator=torch.Generator()).unsafe.float().mean() == share
        )
    assert NavigationPolicy(network).act(observation, generator=torch.Generator()).unsafe is None


def test_sampling_follows_the_probabilities_and_the_generator():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().repeat(20_000, 1)
    action = sample_categorical(logits, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        torch.bincount(action, minlength=4) / 20_000, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.02, rtol=0
    )
    assert torch.equal(action, sample_categorical(logits, torch.Generator().manual_seed(0)))


def test_what_is_done_has_its_probability_and_ties_go_to_the_lowest_action(network, tables):
    policy, observation = NavigationPolicy(network.eval()), observations(tables, 50)
    step = policy.act(observation, generator=torch.Generator().manual_seed(0))
    log_probs = policy.evaluate(observation).logits.log_softmax(dim=-1)
    torch.testing.assert_close(step.log_prob, log_probs.gather(1, step.action[:, None])[:, 0])
    for parameter in network.policy_head.parameters():
        parameter.data.zero_()
    network.refresh_table()
    assert NavigationPolicy(network).act(observation, deterministic=True).action.unique().tolist() == [0]
