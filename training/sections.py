"""The sections of the settings, as the help lists them."""

from __future__ import annotations

SECTIONS = {
    "Recipe": ("preset", "resolution", "channels", "kimg", "batch", "batch_gpu", "seed",
               "precision"),
    "Data": ("mirror", "conditional"),
    "Networks": ("z_dim", "w_dim", "mapping_layers", "channel_base", "d_channel_base",
                 "channel_max", "channel_min", "head", "d_head", "d_fromrgb_at", "g_architecture",
                 "d_architecture", "mbstd_group", "conv_clamp", "noise"),
    "Optimisation": ("loss", "feature_weight", "lr", "d_lr", "beta2", "r1_gamma", "r2_gamma",
                     "d_reg_interval", "path_length_weight", "g_reg_interval", "style_mixing",
                     "ema_kimg", "ema_rampup"),
    "Starting from a model": ("transfer", "freeze_d", "transfer_lr"),
    "Augmentation": ("augment", "augment_pipe", "augment_filter", "augment_p", "ada_target",
                     "ada_kimg"),
    "Files and figures": ("tick_kimg", "state_minutes", "snapshot_kimg", "keep_snapshots",
                          "metrics", "metrics_data", "metrics_count", "early_stop", "rollbacks",
                          "tensorboard", "workers", "timeout"),
}  # fmt: skip
