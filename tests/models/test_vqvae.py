"""What every autoencoder promises, whatever its layers."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from vqkit.data import ImageSpec
from vqkit.errors import ArgumentError, ArgumentTypeError, CodeIndexError
from vqkit.models import MLPVQVAE, ConvVQVAE, ConvVQVAEConfig, MLPVQVAEConfig, build_model, config_from_dict
from vqkit.quantizers import VectorQuantize


def test_forward_gives_reconstruction_indices_and_loss(model, images):
    out = model(images)
    assert out.reconstruction.shape == images.shape
    assert out.indices.shape == (5, *model.latent_shape)
    assert out.indices.dtype == torch.int64
    assert out.loss.shape == ()


def test_decode_equals_the_eval_forward_bit_for_bit(model, images):
    model.eval()
    out = model(images)
    assert torch.equal(model.encode(images), out.indices)
    assert torch.equal(model.decode(out.indices), out.reconstruction)


def test_decode_of_channels_last_input_is_the_same_too(model, images):
    model.eval()
    out = model(images.to(memory_format=torch.channels_last))
    assert torch.equal(model.decode(out.indices), out.reconstruction)


def test_encode_and_eval_forwards_change_no_state(model, images):
    before = copy.deepcopy(model.state_dict())
    model.encode(images)
    model.eval()
    model(images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_every_weight_gets_a_gradient(model, images):
    out = model(images)
    (F.mse_loss(out.reconstruction, images) + out.loss).backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []


def test_takes_a_quantizer_module_and_keeps_its_config(model, images):
    quantizer = VectorQuantize(dim=5, codebook_size=7, heads=1)
    other = type(model)(model.config, quantizer)
    assert other.quantizer is quantizer
    assert other.config.quantizer == quantizer.config
    assert other(images).indices.max() < 7


def test_takes_any_module_with_the_interface(model, images, plain):
    other = type(model)(model.config, plain).eval()
    out = other(images)
    assert other.config.quantizer == {"type": "PlainQuantizer"}
    assert torch.equal(other.decode(out.indices), out.reconstruction)


def test_latent_shape_includes_the_heads(model, images):
    other = type(model)(model.config, VectorQuantize(dim=8, codebook_size=7, codebook_dim=4, heads=2)).eval()
    out = other(images)
    assert other.latent_shape == (*model.latent_shape, 2)
    assert torch.equal(other.decode(out.indices), out.reconstruction)


def test_an_empty_batch_goes_through(model, images):
    out = model.eval()(images[:0])
    assert out.reconstruction.shape == (0, *model.spec.shape)


def test_config_goes_through_json_dicts(model):
    assert config_from_dict(model.config.to_dict()) == model.config
    assert type(build_model(model.config)) is type(model)


def test_model_can_be_copied_and_pickled(model, images):
    model.eval()
    expected = model(images).reconstruction
    assert torch.equal(copy.deepcopy(model)(images).reconstruction, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images).reconstruction, expected)


@pytest.mark.parametrize("bad", ["rank", "channels", "size"])
def test_wrong_image_shape_is_named(model, images, bad):
    x = {"rank": images[0], "channels": images.repeat(1, 2, 1, 1), "size": images[..., :-1]}[bad]
    for call in (model, model.encode):
        with pytest.raises(ArgumentError, match=r"x: expected shape \(B, .*got shape"):
            call(x)


def test_images_that_are_no_floats_are_refused(model, images):
    with pytest.raises(ArgumentTypeError, match="x: expected a floating-point tensor"):
        model(images.to(torch.uint8))
    with pytest.raises(ArgumentTypeError, match=r"x: expected a torch\.Tensor"):
        model([1.0])


def test_bad_indices_are_refused(model, images):
    indices = model.encode(images)
    with pytest.raises(ArgumentError, match="indices: expected shape"):
        model.decode(indices[..., :-1])
    with pytest.raises(ArgumentTypeError, match="indices: expected an integer tensor"):
        model.decode(indices.float())
    indices.view(-1)[3] = 16
    with pytest.raises(CodeIndexError, match="16"):
        model.decode(indices)


def test_a_model_without_spec_or_quantizer_is_refused(model):
    with pytest.raises(ArgumentError, match=r"config\.spec: expected an ImageSpec"):
        type(model)(type(model.config)(quantizer=model.config.quantizer))
    with pytest.raises(ArgumentError, match=r"quantizer\.type: expected one of .*VectorQuantize"):
        type(model)(type(model.config)(spec=model.spec))
    with pytest.raises(ArgumentTypeError, match="config: expected a"):
        type(model)({"hidden": 4})


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (MLPVQVAEConfig, {"codes": 0}, "codes: expected an int >= 1"),
        (MLPVQVAEConfig, {"hidden": "8"}, "hidden: expected an int >= 1"),
        (ConvVQVAEConfig, {"hidden": 7}, "hidden: expected an even number"),
        (ConvVQVAEConfig, {"downsamplings": 0}, "downsamplings: expected an int >= 1"),
        (ConvVQVAEConfig, {"residual_blocks": -1}, "residual_blocks: expected an int >= 0"),
        (ConvVQVAEConfig, {"quantizer": 3}, "quantizer: expected a mapping"),
        (ConvVQVAEConfig, {"spec": (1, 8, 8)}, "spec: expected an ImageSpec"),
    ],
)
def test_bad_config_values_are_named(config, values, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        config(**values)


def test_unknown_config_keys_are_named_with_the_known_ones():
    with pytest.raises(ArgumentError, match=r"keys among quantizer, spec, hidden, downsamplings.*'width'"):
        config_from_dict({"type": "ConvVQVAE", "width": 3})
    with pytest.raises(ArgumentError, match=r"model\.type: expected one of ConvVQVAE, MLPVQVAE, got 'VAE'"):
        config_from_dict({"type": "VAE"})


def test_mlp_is_document_004s():
    quantizer = {"type": "VectorQuantize", "dim": 32, "codebook_size": 512}
    model = MLPVQVAE(MLPVQVAEConfig(quantizer=quantizer, spec=ImageSpec(1, 28, 28), codes=16))
    widths = [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert widths == [(784, 300), (300, 300), (300, 512), (512, 300), (300, 300), (300, 784)]
    assert model.latent_shape == (16,)


def test_mlp_stays_in_the_value_range():
    quantizer = {"type": "VectorQuantize", "dim": 4, "codebook_size": 8}
    model = MLPVQVAE(MLPVQVAEConfig(quantizer=quantizer, spec=ImageSpec(1, 4, 4, -2.0, 3.0), codes=2))
    with torch.no_grad():
        model.decoder[-2].weight.mul_(1e3)
        out = model(torch.randn(16, 1, 4, 4) * 100).reconstruction
    assert out.min() >= -2
    assert out.max() <= 3
    assert out.max() - out.min() > 4


@pytest.mark.parametrize("downsamplings", [1, 2, 3])
def test_conv_takes_any_number_of_downsamplings(downsamplings):
    quantizer = {"type": "VectorQuantize", "dim": 4, "codebook_size": 8}
    config = ConvVQVAEConfig(
        quantizer=quantizer, spec=ImageSpec(1, 16, 24), hidden=8, downsamplings=downsamplings, residual_hidden=4
    )
    model = ConvVQVAE(config).eval()
    assert model.latent_shape == (16 >> downsamplings, 24 >> downsamplings)
    assert model(torch.rand(1, 1, 16, 24)).reconstruction.shape == (1, 1, 16, 24)


def test_conv_layers_are_sonnets():
    quantizer = {"type": "VectorQuantize", "dim": 64, "codebook_size": 512}
    model = ConvVQVAE(ConvVQVAEConfig(quantizer=quantizer, spec=ImageSpec(3, 32, 32)))

    def layers(part):
        kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
        return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in part.modules() if isinstance(m, kinds)]

    block = [(128, 32, 3), (32, 128, 1)]
    assert layers(model.encoder) == [(3, 64, 4), (64, 128, 4), (128, 128, 3), *block, *block, (128, 64, 1)]
    assert layers(model.decoder) == [(64, 128, 3), *block, *block, (128, 64, 4), (64, 3, 4)]


def test_conv_starts_from_a_truncated_normal_of_fan_in():
    torch.manual_seed(0)
    quantizer = {"type": "VectorQuantize", "dim": 64, "codebook_size": 512}
    model = ConvVQVAE(ConvVQVAEConfig(quantizer=quantizer, spec=ImageSpec(3, 32, 32)))
    truncated = 0.87962566  # the deviation of a unit normal cut at two
    for layer, fan_in in ((model.encoder[2], 64 * 16), (model.decoder[2], 128 * 16)):
        assert layer.weight.std().item() == pytest.approx(truncated / fan_in**0.5, rel=0.02)
        assert layer.weight.abs().max() <= 2 / fan_in**0.5
        assert not layer.bias.any()


def test_conv_refuses_sizes_it_cannot_halve():
    quantizer = {"type": "VectorQuantize", "dim": 4, "codebook_size": 8}
    config = ConvVQVAEConfig(quantizer=quantizer, spec=ImageSpec(1, 28, 30))
    with pytest.raises(ArgumentError, match=r"multiples of 4 \(2 downsamplings\), got 28x30"):
        ConvVQVAE(config)


@pytest.mark.parametrize(
    "quantizer",
    [
        {"type": "FSQ", "levels": [5, 4, 3], "dim": 8},
        {"type": "LFQ", "codebook_size": 16, "dim": 8},
        {"type": "ResidualVQ", "dim": 8, "num_quantizers": 3, "codebook_size": 16},
        {"type": "GroupedResidualVQ", "dim": 8, "groups": 2, "num_quantizers": 2, "codebook_size": 16},
        {"type": "GroupedResidualFSQ", "dim": 8, "groups": 2, "num_quantizers": 2, "levels": [3, 3]},
        {"type": "SimVQ", "dim": 8, "codebook_size": 16},
    ],
    ids=lambda q: q["type"],
)
def test_any_quantizer_serves(quantizer: dict):
    torch.manual_seed(0)
    model = ConvVQVAE(ConvVQVAEConfig(spec=ImageSpec(1, 8, 8), hidden=8, residual_hidden=4, quantizer=quantizer))
    x = torch.rand(3, 1, 8, 8)
    out = model(x)
    (out.reconstruction.square().mean() + out.loss).backward()
    assert out.loss.shape == ()
    out = model.eval()(x)
    assert out.indices.shape == (3, *model.latent_shape)
    assert torch.equal(model.encode(x), out.indices)
    assert torch.equal(model.decode(out.indices), out.reconstruction)
