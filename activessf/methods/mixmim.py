"""MixMIM, also MixMAE: mixed and masked autoencoders (Liu et al., CVPR 2023, arXiv 2205.13137)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from activessf.backbones.mixmim_transformer import MERGED, MixMIMTransformer, upsampled
from activessf.errors import InputError
from activessf.methods.decoder import PixelDecoder
from activessf.methods.distributed import drawn_for_all
from activessf.methods.initialisation import initialise_linear_and_norm
from activessf.methods.masking import hide_smallest
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.pixels import target_pixels
from activessf.methods.reconstruction import masked_and_predicted

_NORM_EPS = 1e-5  # of the decoder too, other than in MAE


class MixMIM(SelfSupervisedMethod):
    """Fills what is hidden of an image with another image, encodes the mixture, and predicts both.

    Image i is mixed with image N-1-i, by one mask for the whole batch, of all processes that share it; every pixel is
    predicted once, from the mixture in which it was hidden. Weights and names are those of the published code, with the
    encoder's under `encoder.` and the decoder's under `decoder.`.

    Args:
        backbone: Makes the encoder: called with `num_classes=0`.
        decoder: Makes the decoder: a `PixelDecoder` whose sizes are given.
        mask_ratio: Share of the cells that come from the other image.
        norm_pix_loss: Whether each target cell is normalised by its own mean and deviation.

    Raises:
        InputError: The backbone is no MixMIM transformer, or the ratio hides all or nothing.
    """

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        decoder: Callable[..., PixelDecoder],
        mask_ratio: float,
        norm_pix_loss: bool,
    ) -> None:
        super().__init__()
        self.batch_multiple, self.mirrors_batch = 2, True
        encoder = backbone(num_classes=0)
        if not isinstance(encoder, MixMIMTransformer):
            raise InputError(
                f"ssl=mixmim needs a MixMIM transformer, but the backbone is a {type(encoder).__name__}; "
                "use backbone=mixmim_base, mixmim_small, mixmim_tiny or mixmim_mini."
            )
        self.encoder: MixMIMTransformer = encoder
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        rows, columns = encoder.grid_size
        self.num_cells = rows * columns
        self.num_hidden = int(self.num_cells * mask_ratio)  # rounded down, as published
        if not 0 < self.num_hidden < self.num_cells:
            raise InputError(
                f"ssl_method.method.mask_ratio={mask_ratio} hides {self.num_hidden} of {self.num_cells} cells of "
                f"{encoder.cell_size} pixels; MixMIM needs some kept and some hidden."
            )
        self.decoder = decoder(
            encoder_dim=encoder.num_features,
            patch_size=encoder.cell_size,
            grid_size=encoder.grid_size,
            class_token=False,
            norm_eps=_NORM_EPS,
        )
        self._initialise()

    def check_batch(self, batch_size: int, processes: int = 1) -> None:
        """Images are mixed in pairs.

        Raises:
            InputError: The number of images is odd.
        """
        if batch_size < 2 or batch_size % 2:
            raise InputError(
                f"ssl=mixmim mixes the images of a batch in pairs, but a batch has {batch_size}; choose an even "
                "recipe.pretraining.batch_size, one that trainer.accumulate_grad_batches and trainer.devices leave so."
            )

    def forward(self, views: Tensor, progress: float = 0.0, noise: Tensor | None = None) -> Tensor:
        """Mean squared error of all pixels, a scalar.

        Args:
            views: Normalised images, (N, 3, H, W), N even.
            progress: Not used.
            noise: Decides which cells are hidden: those with the smallest values, (1, 1, L); None = drawn uniformly.

        Raises:
            InputError: N is odd.
        """
        self.check_batch(len(views))
        tokens, hidden = self.encode(views, noise)
        prediction = self.predict(tokens, hidden)
        target = target_pixels(views, self.encoder.cell_size, self.norm_pix_loss)
        return (prediction - target).square().mean()

    def reconstruct(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """See `Reconstructs`: grey where a mixture holds the other image, and what is predicted there."""
        self.check_batch(len(views))
        tokens, hidden = self.encode(views)
        prediction = self.predict(tokens, hidden)
        mask = hidden.float().expand(len(views), -1)
        return masked_and_predicted(views, prediction, mask, self.encoder.cell_size, self.norm_pix_loss)

    def encode(self, views: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode mixtures: kept cells of image i, hidden ones of image N-1-i.

        Returns:
            Tokens of the mixtures, (N, L, D), cells in raster order; and which cells are hidden, booleans, (L,).
        """
        noise = drawn_for_all(1, 1, self.num_cells, device=views.device) if noise is None else noise
        hidden = hide_smallest(noise, self.num_hidden).flatten()
        cells = hidden.view(self.encoder.grid_size)
        patches = self.encoder.patch_embed(views)  # (N, rows, columns, C)
        mixtures = torch.where(upsampled(cells, MERGED)[None, :, :, None], partners(patches), patches)
        return self.encoder.encode(mixtures, cells), hidden

    def predict(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Pixels of each image's every cell, (N, L, 3 p^2), from the mixture that did not hold it.

        Args:
            tokens: Of N mixtures, (N, L, D).
            hidden: See `encode`.
        """
        return self.decoder.pixels(self.unmixed(self.decode(tokens, hidden), hidden))

    def decode(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """What is decoded of both images of each mixture, (2N, L, d); arguments as of `predict`.

        Returns:
            First what is made from the kept cells, of image i; then from the others, of image N-1-i.
        """
        embedded = self.decoder.embed(tokens)
        mask_token = self.decoder.mask_token.to(embedded.dtype)
        kept = torch.where(hidden[:, None], mask_token, embedded)
        others = torch.where(hidden[:, None], embedded, mask_token)
        return self.decoder.decoded(torch.cat([kept, others]))

    def unmixed(self, decoded: Tensor, hidden: Tensor) -> Tensor:
        """Of each image's every cell what is decoded from the mixture that did not hold it, (N, L, d)."""
        from_kept, from_hidden = decoded.chunk(2)
        return torch.where(hidden[:, None], from_kept, partners(from_hidden))

    def _initialise(self) -> None:
        """As published: xavier-uniform linear layers, mask token N(0, 0.02); the encoder has done its own."""
        initialise_linear_and_norm(self.decoder)
        trunc_normal_(self.decoder.mask_token, std=0.02)


def partners(batch: Tensor) -> Tensor:
    """For item i of a batch, item N-1-i."""
    return batch.flip(0)
