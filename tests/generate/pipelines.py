"""Tiny pipelines of diffusers with random weights, one per supported family, made in a second or two."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from edgegen.train.tokens import END, MAX_TOKENS, build_tokenizer, word_ids

WIDTH, SIDE = 32, 8


def autoencoder(channels=4, **more):
    return AutoencoderKL(
        block_out_channels=[16, 32], in_channels=3, out_channels=3, latent_channels=channels, norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, **more,
    )  # fmt: skip


def text_encoder(kind=CLIPTextModel):
    ids = word_ids()
    config = CLIPTextConfig(
        vocab_size=max(ids.values()) + 1, hidden_size=WIDTH, intermediate_size=2 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=MAX_TOKENS,
        eos_token_id=ids[END], bos_token_id=0, pad_token_id=ids[END],
    )  # fmt: skip
    return kind(config)


def unet(width=WIDTH, **more):
    return UNet2DConditionModel(
        sample_size=SIDE, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width, attention_head_dim=8, norm_num_groups=8, **more,
    )  # fmt: skip


def scheduler(prediction="epsilon"):
    """Stable Diffusion's betas, with the spacing that the engine has."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        timestep_spacing="trailing", prediction_type=prediction, steps_offset=1,
    )  # fmt: skip


def stable_diffusion(scratch, prediction="epsilon"):
    torch.manual_seed(1)
    return StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=text_encoder(), tokenizer=build_tokenizer(scratch), unet=unet(),
        scheduler=scheduler(prediction), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def stable_diffusion_xl(scratch):
    torch.manual_seed(2)
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8,
             "projection_class_embeddings_input_dim": 6 * 8 + WIDTH, "transformer_layers_per_block": (1, 1)}  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=autoencoder(), text_encoder=text_encoder(), tokenizer=build_tokenizer(scratch / "one"),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection), tokenizer_2=build_tokenizer(scratch / "two"),
        unet=unet(2 * WIDTH, **added), scheduler=scheduler(),
    )  # fmt: skip


def stable_diffusion_3(scratch):
    torch.manual_seed(3)
    transformer = SD3Transformer2DModel(
        sample_size=SIDE, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=2 * WIDTH, caption_projection_dim=WIDTH, pooled_projection_dim=2 * WIDTH, out_channels=4,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=text_encoder(CLIPTextModelWithProjection), tokenizer=build_tokenizer(scratch / "one"),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection), tokenizer_2=build_tokenizer(scratch / "two"),
        text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


FAMILIES = {
    "sd1": stable_diffusion,
    "sd2": lambda scratch: stable_diffusion(scratch, "v_prediction"),
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
}
