"""MAE: masked autoencoders (He et al., CVPR 2022, arXiv 2111.06377; the paper's [13])."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from activessf.methods.decoder import PixelDecoder
from activessf.methods.encoders import vision_transformer
from activessf.methods.initialisation import initialise_linear_and_norm, initialise_patch_projection
from activessf.methods.masking import Masking, gather, keep_smallest, some_kept, uniform_noise
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.pixels import hidden_error, target_pixels
from activessf.methods.positions import sincos_positions
from activessf.methods.reconstruction import masked_and_predicted

_NORM_EPS = 1e-6  # of every LayerNorm of the published network; torch's own default is 1e-5


class MAE(SelfSupervisedMethod):
    """Hides most patches of an image, encodes the rest, and predicts the pixels of the hidden ones.

    The encoder is a timm Vision Transformer with a class token, its position table fixed. Weights and names are those
    of the published code, with the encoder's under `encoder.` and the decoder's under `decoder.`.

    Args:
        backbone: Makes the encoder: called with `num_classes=0`.
        decoder: Makes the decoder: a `PixelDecoder` whose sizes are given.
        mask_ratio: Share of the patches that is hidden.
        norm_pix_loss: Whether each target patch is normalised by its own mean and deviation.

    Raises:
        InputError: The backbone is no Vision Transformer with a class token, or the ratio hides all or nothing.
    """

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        decoder: Callable[..., PixelDecoder],
        mask_ratio: float,
        norm_pix_loss: bool,
    ) -> None:
        super().__init__()
        self.encoder: VisionTransformer = vision_transformer(backbone, "mae")
        encoder = self.encoder
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        self.patch_size: int = encoder.patch_embed.patch_size[0]
        self.num_kept = some_kept(encoder.patch_embed.num_patches, mask_ratio, "MAE")
        self.decoder = decoder(
            encoder_dim=encoder.embed_dim,
            patch_size=self.patch_size,
            grid_size=encoder.patch_embed.grid_size,
            class_token=True,
            norm_eps=_NORM_EPS,
        )
        self._initialise()

    def forward(self, views: Tensor, progress: float = 0.0, noise: Tensor | None = None) -> Tensor:
        """Mean squared error of the hidden patches, a scalar.

        Args:
            views: Normalised images, (N, 3, H, W).
            progress: Not used.
            noise: Decides which patches stay: those with the smallest values, (N, L); None = drawn uniformly.
        """
        prediction, masking = self.predict(views, noise)
        target = target_pixels(views, self.patch_size, self.norm_pix_loss)
        return hidden_error(prediction, target, masking.mask)

    def reconstruct(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """See `Reconstructs`: hidden patches grey, and hidden patches predicted."""
        prediction, masking = self.predict(views)
        return masked_and_predicted(views, prediction, masking.mask, self.patch_size, self.norm_pix_loss)

    def predict(self, views: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Masking]:
        """The pixels of all patches, (N, L, 3 p^2), as `norm_pix_loss` has them; and which patches were hidden."""
        tokens, masking = self.encode(views, noise)
        prediction: Tensor = self.decoder(self.decoder.restored(tokens, masking.restore))
        return prediction, masking

    def encode(self, views: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Masking]:
        """Encode the patches that stay.

        Returns:
            Tokens, (N, 1 + kept, D): class token, then kept patches in the order of their noise; and which these are.
        """
        patches = self.encoder.patch_embed(views) + self.encoder.pos_embed[:, 1:]  # (N, L, D)
        N, L, _ = patches.shape
        masking = keep_smallest(uniform_noise(N, L, device=views.device) if noise is None else noise, self.num_kept)
        class_token = (self.encoder.cls_token + self.encoder.pos_embed[:, :1]).expand(N, -1, -1)
        tokens = torch.cat([class_token, gather(patches, masking.kept)], dim=1)  # (N, 1 + kept, D)
        for block in self.encoder.blocks:
            tokens = block(tokens)
        return self.encoder.norm(tokens), masking

    def _initialise(self) -> None:
        """As published: xavier-uniform linear layers, class and mask token N(0, 0.02), fixed sin-cos positions."""
        encoder = self.encoder
        positions = sincos_positions(encoder.embed_dim, encoder.patch_embed.grid_size, class_token=True)
        encoder.pos_embed = nn.Parameter(positions, requires_grad=False)
        initialise_linear_and_norm(self)
        initialise_patch_projection(encoder.patch_embed.proj)
        nn.init.normal_(encoder.cls_token, std=0.02)
        nn.init.normal_(self.decoder.mask_token, std=0.02)
