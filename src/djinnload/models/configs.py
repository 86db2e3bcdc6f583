"""Complete configurations, one a family, and the sizes of the models in the catalog.

Numbers as published for each architecture. What only training reads is left out;
embeddings are untied, for every tensor of the state dict is sent and hashed by itself.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = (
    "BERT",
    "BLIP",
    "CLIP",
    "CONVNEXT",
    "EFFICIENTNET",
    "GPT2",
    "GPTJ",
    "LLAMA",
    "RESNET",
    "SYNTHETIC_CNN",
    "SYNTHETIC_HYBRID",
    "SYNTHETIC_TRANSFORMER",
    "VIT",
    "WAV2VEC2",
    "WHISPER",
)

_Config = Mapping[str, Any]

GPT2: Final[_Config] = MappingProxyType(
    {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "layer_norm_epsilon": 1e-05,
        "initializer_range": 0.02,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "summary_activation": None,
        "summary_proj_to_labels": True,
        "summary_first_dropout": 0.1,
        "scale_attn_weights": True,
        "use_cache": True,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "pad_token_id": None,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
        "tie_word_embeddings": False,
    }
)
GPTJ: Final[_Config] = MappingProxyType(
    {
        "model_type": "gptj",
        "vocab_size": 50400,
        "n_positions": 2048,
        "n_embd": 4096,
        "n_layer": 28,
        "n_head": 16,
        "rotary_dim": 64,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-05,
        "initializer_range": 0.02,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "tie_word_embeddings": False,
    }
)
LLAMA: Final[_Config] = MappingProxyType(
    {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        "tie_word_embeddings": False,
    }
)
BERT: Final[_Config] = MappingProxyType(
    {
        "model_type": "bert",
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
)
WHISPER: Final[_Config] = MappingProxyType(
    {
        "model_type": "whisper",
        "vocab_size": 51865,
        "num_mel_bins": 80,
        "d_model": 1280,
        "encoder_layers": 32,
        "encoder_attention_heads": 20,
        "encoder_ffn_dim": 5120,
        "decoder_layers": 32,
        "decoder_attention_heads": 20,
        "decoder_ffn_dim": 5120,
        "activation_function": "gelu",
        "init_std": 0.02,
        "scale_embedding": False,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "decoder_start_token_id": 50258,
        "pad_token_id": 50257,
        "bos_token_id": 50257,
        "eos_token_id": 50257,
        "tie_word_embeddings": False,
    }
)
RESNET: Final[_Config] = MappingProxyType(
    {
        "model_type": "resnet",
        "num_channels": 3,
        "image_size": 224,
        "num_labels": 1000,
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }
)
VIT: Final[_Config] = MappingProxyType(
    {
        "model_type": "vit",
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 16,
        "num_labels": 1000,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "qkv_bias": True,
    }
)
CONVNEXT: Final[_Config] = MappingProxyType(
    {
        "model_type": "convnext",
        "num_channels": 3,
        "image_size": 384,
        "patch_size": 4,
        "num_stages": 4,
        "num_labels": 1000,
        "hidden_sizes": [128, 256, 512, 1024],
        "depths": [3, 3, 27, 3],
        "hidden_act": "gelu",
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "layer_scale_init_value": 1e-6,
    }
)
EFFICIENTNET: Final[_Config] = MappingProxyType(
    {
        "model_type": "efficientnet",
        "num_channels": 3,
        "image_size": 224,
        "num_labels": 1000,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "depth_divisor": 8,
        "kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "in_channels": [32, 16, 24, 40, 80, 112, 192],
        "out_channels": [16, 24, 40, 80, 112, 192, 320],
        "depthwise_padding": [],
        "strides": [1, 2, 2, 2, 1, 2, 1],
        "num_block_repeats": [1, 2, 2, 3, 3, 4, 1],
        "expand_ratios": [1, 6, 6, 6, 6, 6, 6],
        "squeeze_expansion_ratio": 0.25,
        "hidden_act": "swish",
        "hidden_dim": 1280,
        "pooling_type": "mean",
        "batch_norm_eps": 0.001,
    }
)
CLIP: Final[_Config] = MappingProxyType(
    {
        "model_type": "clip",
        "projection_dim": 512,
        "logit_scale_init_value": 2.6592,
        "initializer_range": 0.02,
        "text_config": {
            "vocab_size": 49408,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "projection_dim": 512,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-05,
            "pad_token_id": 1,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
        },
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "projection_dim": 512,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "num_channels": 3,
            "image_size": 224,
            "patch_size": 32,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-05,
        },
    }
)
BLIP: Final[_Config] = MappingProxyType(
    {
        "model_type": "blip",
        "projection_dim": 512,
        "image_text_hidden_size": 256,
        "initializer_range": 0.02,
        "tie_word_embeddings": False,
        "text_config": {
            "vocab_size": 30524,
            "hidden_size": 768,
            "encoder_hidden_size": 768,
            "intermediate_size": 3072,
            "projection_dim": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 512,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "bos_token_id": 30522,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "sep_token_id": 102,
            "tie_word_embeddings": False,
        },
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "projection_dim": 512,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 384,
            "patch_size": 16,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-05,
        },
    }
)
WAV2VEC2: Final[_Config] = MappingProxyType(
    {
        "model_type": "wav2vec2",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-05,
        "feat_extract_norm": "group",
        "feat_extract_activation": "gelu",
        "conv_dim": [512, 512, 512, 512, 512, 512, 512],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_bias": False,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
        "do_stable_layer_norm": False,
    }
)
SYNTHETIC_TRANSFORMER: Final[_Config] = MappingProxyType(
    {"hidden": 256, "layers": 4, "heads": 4, "ff": 1024, "sequence": 64}
)
SYNTHETIC_CNN: Final[_Config] = MappingProxyType(
    {"channels": 32, "layers": 4, "image_size": 64, "classes": 1000}
)
SYNTHETIC_HYBRID: Final[_Config] = MappingProxyType(
    {
        "channels": 32,
        "image_size": 64,
        "hidden": 128,
        "layers": 2,
        "heads": 4,
        "ff": 512,
        "classes": 1000,
    }
)
