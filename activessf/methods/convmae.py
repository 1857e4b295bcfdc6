"""ConvMAE: masked autoencoders with convolutions (Gao et al., NeurIPS 2022, arXiv 2205.03892)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from activessf.backbones.convvit import ConvViT
from activessf.errors import InputError
from activessf.methods.decoder import PixelDecoder
from activessf.methods.initialisation import initialise_linear_and_norm, initialise_patch_projection
from activessf.methods.masking import Masking, keep_smallest, some_kept, uniform_noise
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.pixels import hidden_error, target_pixels
from activessf.methods.positions import sincos_positions
from activessf.methods.reconstruction import masked_and_predicted

_NORM_EPS = 1e-6  # of the decoder; the encoder has two of its own


class ConvMAE(SelfSupervisedMethod):
    """MAE with an encoder that begins with convolutions, whose features help the decoder too.

    Masked tokens are computed nowhere in the encoder: the depthwise convolutions see zeros at their places, so that a
    prediction depends on no pixel of theirs. Weights and names are those of the published code, with the encoder's
    under `encoder.` and the decoder's under `decoder.`; `stage1_output_decode` and `stage2_output_decode` are not
    handed on.

    Args:
        backbone: Makes the encoder, a `ConvViT`: called with `num_classes=0`.
        decoder: Makes the decoder: a `PixelDecoder` whose sizes are given.
        mask_ratio: Share of the tokens that is hidden.
        norm_pix_loss: Whether each target patch is normalised by its own mean and deviation.

    Raises:
        InputError: The backbone is no ConvViT, or the ratio hides all or nothing.
    """

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        decoder: Callable[..., PixelDecoder],
        mask_ratio: float,
        norm_pix_loss: bool,
    ) -> None:
        super().__init__()
        encoder = backbone(num_classes=0)
        if not isinstance(encoder, ConvViT) or encoder.global_pool:
            raise InputError(
                f"ssl=convmae needs a ConvViT that does not pool, but the backbone is a {type(encoder).__name__}; use "
                "backbone=convvit_base, convvit_small, convvit_tiny or convvit_mini."
            )
        self.encoder: ConvViT = encoder
        self.mask_ratio = mask_ratio
        self.norm_pix_loss = norm_pix_loss
        self.num_kept = some_kept(encoder.num_patches, mask_ratio, "ConvMAE")
        first, second, last = encoder.embed_dims
        self.stage1_output_decode = nn.Conv2d(first, last, 4, stride=4)
        self.stage2_output_decode = nn.Conv2d(second, last, 2, stride=2)
        self.decoder = decoder(
            encoder_dim=last,
            patch_size=encoder.patch_size,
            grid_size=encoder.grid_size,
            class_token=False,
            norm_eps=_NORM_EPS,
        )
        self._initialise()

    def forward(self, views: Tensor, progress: float = 0.0, noise: Tensor | None = None) -> Tensor:
        """Mean squared error of the hidden patches, a scalar.

        Args:
            views: Normalised images, (N, 3, H, W).
            progress: Not used.
            noise: Decides which tokens stay: those with the smallest values, (N, L); None = drawn uniformly.
        """
        prediction, masking = self.predict(views, noise)
        target = target_pixels(views, self.encoder.patch_size, self.norm_pix_loss)
        return hidden_error(prediction, target, masking.mask)

    def reconstruct(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """See `Reconstructs`: hidden patches grey, and hidden patches predicted."""
        prediction, masking = self.predict(views)
        return masked_and_predicted(views, prediction, masking.mask, self.encoder.patch_size, self.norm_pix_loss)

    def predict(self, views: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Masking]:
        """The pixels of all patches, (N, L, 3 p^2), as `norm_pix_loss` has them; and which patches were hidden."""
        tokens, masking = self.encode(views, noise)
        prediction: Tensor = self.decoder(self.decoder.restored(tokens, masking.restore))
        return prediction, masking

    def encode(self, views: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Masking]:
        """Encode the tokens that stay.

        Returns:
            Tokens, (N, kept, D), in the order of their noise; and which these are.
        """
        encoder, N = self.encoder, len(views)
        if noise is None:
            noise = uniform_noise(N, encoder.num_patches, device=views.device)
        masking = keep_smallest(noise, self.num_kept)
        first, second, patches = encoder.forward_convolutions(views, masking.kept)
        tokens = encoder.forward_transformer(patches)  # (N, kept, D)
        for features, decode in ((first, self.stage1_output_decode), (second, self.stage2_output_decode)):
            tokens = tokens + decode(features).flatten(2).transpose(1, 2)
        return encoder.norm(tokens), masking

    def _initialise(self) -> None:
        """As published: xavier-uniform linear layers, mask token N(0, 0.02), fixed sin-cos positions.

        Of the convolutions only the last patch embedding is drawn; the others keep PyTorch's weights.
        """
        encoder = self.encoder
        positions = sincos_positions(encoder.embed_dim, encoder.grid_size, class_token=False)
        encoder.pos_embed = nn.Parameter(positions, requires_grad=False)
        initialise_linear_and_norm(self)
        initialise_patch_projection(encoder.patch_embed3.proj)
        nn.init.normal_(self.decoder.mask_token, std=0.02)
