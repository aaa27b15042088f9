"""Sizes of declared models: every shape is the published architecture's, every count follows from the shapes."""

import copy
import dataclasses
import functools
import math

import pytest

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.generate import builtin
from edgegen.tune.radio import sizes
from edgegen.tune.radio.sizes import HEADER_BYTES, MODES, Sizes, exchange, lora, read_shapes
from edgegen.tune.radio.unet import forward_flop, shapes

CONFIGS = {
    "sd-1.5": {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "sample_size": 64,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "sample_size": 128,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}  # of the published unet/config.json; what is not named is the default of the class


@functools.cache
def network(name):
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(**CONFIGS[name])


@pytest.mark.torch
@pytest.mark.parametrize("name", CONFIGS)
def test_every_name_and_shape_is_that_of_the_published_network(name):
    theirs = {key: tuple(value.shape) for key, value in network(name).named_parameters()}
    assert dict(sizes.declared(name).shapes) == theirs


@pytest.mark.torch
@pytest.mark.parametrize("name", CONFIGS)
def test_operations_are_those_that_torch_counts(name):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    unet, side = network(name), CONFIGS[name]["sample_size"]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)} if name == "sdxl" else None
        words = torch.empty(1, 77, CONFIGS[name]["cross_attention_dim"])
        unet(torch.empty(1, 4, side, side), torch.zeros(1), words, added_cond_kwargs=added)
    assert sizes.declared(name).flop == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_counts_of_the_declared_models_are_in_the_published_range():
    sd, xl = sizes.declared("sd-1.5"), sizes.declared("sdxl")
    assert sd.parameters == pytest.approx(0.86e9, rel=0.01)
    assert xl.parameters == pytest.approx(2.6e9, rel=0.02)
    assert sum(sd.lora(4)) == pytest.approx(0.8e6, rel=0.01)


def test_a_network_of_sixteen_transformer_blocks_has_128_adapted_layers():
    of = sizes.declared("sd-1.5").shapes
    adapted = [name for name in of if name.endswith(tuple(f".{target}.weight" for target in sizes.ATTENTION))]
    assert len(adapted) == 16 * 2 * 4
    a, b = lora(of, 4)
    assert (a, b) == (4 * sum(of[name][1] for name in adapted), 4 * sum(of[name][0] for name in adapted))


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_adapters_grow_in_proportion_to_their_rank(rank):
    of = sizes.declared("sd-1.5")
    assert of.lora(rank) == tuple(rank * one for one in of.lora(1))


def test_adapters_of_a_convolution_reach_over_its_window():
    assert lora({"c.to_q.weight": (8, 3, 5, 5), "c.to_q.bias": (8,)}, 2, ["to_q"]) == (2 * 3 * 25, 8 * 2)


def test_the_two_halves_of_a_network_are_the_whole():
    of = sizes.declared("sd-1.5")
    rest = {name: shape for name, shape in of.shapes.items() if not name.startswith(sizes.OUTPUT_HALF)}
    assert of.output_half + sizes.count(rest) == of.parameters
    assert 0.5 < of.output_half / of.parameters < 0.8


def test_exchanging_ffa_adapters_takes_at_most_a_hundredth_of_full_exchange():
    for name in CONFIGS:
        of = sizes.declared(name)
        for direction in ("up_bits", "down_bits"):
            adapters, whole = (getattr(exchange(of, mode, rank=4), direction)(32) for mode in ("ffa", "full"))
            assert adapters <= whole / 100


@pytest.mark.parametrize("name", CONFIGS)
def test_adapters_on_every_layer_keep_to_a_hundredth_too(name):
    of = dataclasses.replace(sizes.declared(name), adapted=sizes.EVERYWHERE)
    assert exchange(of, "ffa", rank=4).up > exchange(sizes.declared(name), "ffa", rank=4).up
    assert exchange(of, "ffa", rank=4).up_bits(32) <= exchange(of, "full").up_bits(32) / 100


@pytest.mark.torch
def test_adapters_are_as_large_as_those_that_peft_makes():
    from peft import LoraConfig, inject_adapter_in_model
    from torch import nn

    unet = copy.deepcopy(network("sd-1.5"))
    found = [name for name, layer in unet.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    inject_adapter_in_model(LoraConfig(r=4, target_modules=found, init_lora_weights=False), unet)
    theirs = [
        sum(value.numel() for name, value in unet.named_parameters() if f".lora_{factor}." in name) for factor in "AB"
    ]
    assert tuple(theirs) == lora(sizes.declared("sd-1.5").shapes, 4, sizes.EVERYWHERE)


def test_modes_are_ordered_by_what_a_site_sends():
    of = sizes.declared("sd-1.5")
    up = {mode: exchange(of, mode, rank=8, sites=5).up for mode in MODES}
    assert up["ffa"] < up["fedit"] == up["fedex"] < up["split"] < up["decoder"] < up["full"]
    assert exchange(of, "fedex", rank=8, sites=5).down == 5 * up["fedex"]


def test_fewer_bits_for_a_number_mean_fewer_bits_in_proportion_beside_the_header():
    sent = exchange(sizes.declared("sd-1.5"), "ffa")
    assert sent.up_bits(8) - 8 * HEADER_BYTES == pytest.approx((sent.up_bits(32) - 8 * HEADER_BYTES) / 4)


def test_the_sizes_of_our_own_models_are_read_without_torch():
    of = read_shapes(builtin.folder("shapes-s") / "unet" / "diffusion_pytorch_model.safetensors")
    ours = Sizes("shapes-s", of, 0.0, 600.0, "its file")  # a drawn picture as PNG
    assert 0 < sum(ours.lora(4)) < ours.parameters < builtin.card("shapes-s")["parameters"]  # text encoder, decoder
    # The trap: here a round of adapters weighs more than the pictures that it spares; see the module.
    assert exchange(ours, "ffa", rank=4).up_bits(32) / 8 > ours.picture_bytes


def test_a_change_of_resolution_changes_operations_and_no_shape():
    unet = sizes.DECLARED["sd-1.5"][0]
    small = type(unet)(**{**vars(unet), "side": 32})
    assert shapes(small) == shapes(unet)
    assert forward_flop(unet) / 4 > forward_flop(small) * 0.99  # attention makes it more than proportional
    assert math.isfinite(forward_flop(small))


def test_what_cannot_be_counted_is_refused(tmp_path):
    of = sizes.declared("sd-1.5")
    with pytest.raises(UnknownNameError, match="did you mean 'sdxl'"):
        sizes.declared("sdx")
    with pytest.raises(UnknownNameError, match="fedit"):
        exchange(of, "fedi")
    with pytest.raises(InputError, match="rank must be >= 1, got 0"):
        of.lora(0)
    with pytest.raises(InputError, match="no linear or convolutional layer has to_q"):
        lora({"a.weight": (2, 2)}, 4)
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 32)
    with pytest.raises(InputError, match="no safetensors file"):
        read_shapes(tmp_path / "a.safetensors")


@pytest.mark.torch
@pytest.mark.parametrize("name", builtin.names())
def test_what_is_counted_of_our_own_models_is_what_their_sites_exchange(name):
    adapters = pytest.importorskip("edgegen.tune.adapters")
    parts = pytest.importorskip("edgegen.tune.parts")
    from diffusers import UNet2DConditionModel

    folder = builtin.folder(name) / "unet"
    of = read_shapes(folder / "diffusion_pytorch_model.safetensors")
    ours = Sizes(name, of, 0.0, 600.0, "its file", adapted=sizes.EVERYWHERE)
    unet = UNet2DConditionModel.from_pretrained(folder)
    whole = {key: value.numel() for key, value in unet.named_parameters()}
    half = {key: many for key, many in whole.items() if not key.startswith(parts.INPUT_HALF)}
    assert (ours.parameters, ours.output_half) == (sum(whole.values()), sum(half.values()))
    adapters.wrap(unet, adapters.Lora(rank=4))
    for mode in ("ffa", "fedit"):
        assert exchange(ours, mode, rank=4).up == sum(array.size for array in adapters.get(unet, mode).values())
