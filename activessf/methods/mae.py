"""MAE: masked autoencoders (He et al., CVPR 2022, arXiv 2111.06377; the paper's [13])."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from activessf.errors import InputError
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.positions import sincos_positions

_LAYER_NORM_EPS = 1e-6  # of every LayerNorm of the published network; torch's own default is 1e-5


class MAE(SelfSupervisedMethod):
    """Hides most patches of an image, encodes the rest, and predicts the pixels of the hidden ones.

    The encoder is a timm Vision Transformer with a class token, its position table fixed. Weights and names are those
    of the published code, with the encoder's under `encoder.`.

    Args:
        backbone: Makes the encoder: called with `num_classes=0`.
        mask_ratio: Share of the patches that is hidden.
        decoder_embed_dim: Width of the decoder.
        decoder_depth: Its number of blocks.
        decoder_num_heads: Its attention heads.
        norm_pix_loss: Whether each target patch is normalised by its own mean and deviation.

    Raises:
        InputError: The backbone is no Vision Transformer with a class token, or the ratio hides all or nothing.
    """

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        mask_ratio: float,
        decoder_embed_dim: int,
        decoder_depth: int,
        decoder_num_heads: int,
        norm_pix_loss: bool,
    ) -> None:
        super().__init__()
        encoder = backbone(num_classes=0)
        if not isinstance(encoder, VisionTransformer) or encoder.cls_token is None or encoder.global_pool != "token":
            raise InputError(
                f"ssl=mae needs a Vision Transformer, but the backbone is a {type(encoder).__name__}; "
                "use backbone=vit_base, vit_small or vit_tiny."
            )
        self.encoder: VisionTransformer = encoder
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        self.patch_size: int = encoder.patch_embed.patch_size[0]
        self.grid_size: tuple[int, int] = encoder.patch_embed.grid_size
        num_patches = encoder.patch_embed.num_patches
        self.num_kept = int(num_patches * (1 - mask_ratio))
        if not 0 < self.num_kept < num_patches:
            raise InputError(
                f"ssl_method.mask_ratio={mask_ratio} keeps {self.num_kept} of {num_patches} patches; MAE needs some "
                "kept and some hidden."
            )
        norm = partial(nn.LayerNorm, eps=_LAYER_NORM_EPS)
        self.decoder_embed = nn.Linear(encoder.embed_dim, decoder_embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, num_patches + 1, decoder_embed_dim), requires_grad=False)
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_embed_dim, decoder_num_heads, mlp_ratio=4, qkv_bias=True, norm_layer=norm)
            for _ in range(decoder_depth)
        )
        self.decoder_norm = norm(decoder_embed_dim)
        self.decoder_pred = nn.Linear(decoder_embed_dim, 3 * self.patch_size**2)
        self._initialise()

    def forward(self, views: Tensor, progress: float = 0.0, noise: Tensor | None = None) -> Tensor:
        """Mean squared error of the hidden patches, a scalar.

        Args:
            views: Normalised images, (N, 3, H, W).
            progress: Not used.
            noise: Decides which patches stay: those with the smallest values, (N, L); None = drawn uniformly.
        """
        tokens, mask, restore = self.encode(views, noise)
        prediction = self.decode(tokens, restore)
        error = (prediction - self.target(views)).square().mean(dim=-1)  # (N, L)
        return (error * mask).sum() / mask.sum()

    def encode(self, views: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Encode the patches that stay.

        Returns:
            Tokens, (N, 1 + kept, D): class token, then kept patches in the order of their noise; mask, (N, L), 1 where
            a patch is hidden; and the place of each patch in the noise order, (N, L).
        """
        patches = self.encoder.patch_embed(views)  # (N, L, D)
        N, L, D = patches.shape
        patches = patches + self.encoder.pos_embed[:, 1:]
        if noise is None:
            # 32 bits whatever the precision of the training: 16 bits would give equal values.
            noise = torch.rand(N, L, device=views.device, dtype=torch.float32)
        order = noise.argsort(dim=1)
        restore = order.argsort(dim=1)
        kept = order[:, : self.num_kept, None].expand(-1, -1, D)
        class_token = (self.encoder.cls_token + self.encoder.pos_embed[:, :1]).expand(N, -1, -1)
        tokens = torch.cat([class_token, patches.gather(1, kept)], dim=1)  # (N, 1 + kept, D)
        for block in self.encoder.blocks:
            tokens = block(tokens)
        return self.encoder.norm(tokens), (restore >= self.num_kept).to(views.dtype), restore

    def decode(self, tokens: Tensor, restore: Tensor) -> Tensor:
        """Predict the pixels of all patches, (N, L, 3 p^2), from the tokens that `encode` gives."""
        tokens = self.decoder_embed(tokens)
        N, L = restore.shape
        D = tokens.shape[-1]
        hidden = self.mask_token.expand(N, L - self.num_kept, D)
        shuffled = torch.cat([tokens[:, 1:], hidden], dim=1)  # (N, L, D)
        patches = shuffled.gather(1, restore[:, :, None].expand(-1, -1, D))
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            tokens = block(tokens)
        prediction: Tensor = self.decoder_pred(self.decoder_norm(tokens))
        return prediction[:, 1:]

    def target(self, views: Tensor) -> Tensor:
        """The pixels of every patch, (N, L, 3 p^2), ordered (row, column, channel)."""
        pixels = patchify(views, self.patch_size)
        if self.norm_pix_loss:
            mean = pixels.mean(dim=-1, keepdim=True)
            pixels = (pixels - mean) / (pixels.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        return pixels

    def _initialise(self) -> None:
        """As published: xavier-uniform linear layers, class and mask token N(0, 0.02), fixed sin-cos positions."""
        self.encoder.pos_embed = nn.Parameter(
            sincos_positions(self.encoder.embed_dim, self.grid_size, class_token=True), requires_grad=False
        )
        self.decoder_pos_embed.data = sincos_positions(self.decoder_embed.out_features, self.grid_size, True)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        # The patch embedding is a convolution, but initialised like the linear layer that it is; its bias keeps
        # PyTorch's default.
        projection = self.encoder.patch_embed.proj
        nn.init.xavier_uniform_(projection.weight.view(projection.weight.shape[0], -1))
        nn.init.normal_(self.encoder.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Images (N, 3, H, W) as patches (N, L, 3 p^2): L in raster order, pixels ordered (row, column, channel)."""
    N, C, H, W = images.shape
    rows, columns = H // patch_size, W // patch_size
    grid = images.reshape(N, C, rows, patch_size, columns, patch_size)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(N, rows * columns, patch_size**2 * C)
