"""MixedAE: mixed autoencoders (Chen et al., CVPR 2023, arXiv 2303.17152; the paper's [12]).

There is no published code to compare with: this is built from what is known of the paper, and what that leaves open is
an argument. In the degenerate case where each token sees its own image alone it equals MAE, which is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from activessf.errors import InputError
from activessf.methods.decoder import PixelDecoder
from activessf.methods.encoders import vision_transformer
from activessf.methods.homologous_attention import SameSource, TopKeys, Visibility, restricted_block
from activessf.methods.homologous_contrast import HomologousContrast
from activessf.methods.initialisation import initialise_linear_and_norm, initialise_patch_projection
from activessf.methods.masking import uniform_noise
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.mixing import Mixing, mix_evenly, mixed_images, unmixed_tokens
from activessf.methods.pixels import hidden_error, target_pixels
from activessf.methods.positions import sincos_positions
from activessf.methods.reconstruction import masked_and_predicted

_NORM_EPS = 1e-6  # of every LayerNorm, as in MAE
_ATTENTION = ("homologous", "all", "true_sources")
_CLASS_TOKEN = ("mixture", "source", "none")
_SEGMENT_EMBEDDING = ("learned", "frozen", "none")


class Encoded(NamedTuple):
    """Mixtures after the encoder.

    Attributes:
        tokens: After the last norm, (G, C + L, D): class tokens, then cells in raster order.
        block_outputs: The same after each block.
        mixing: How the images were mixed.
    """

    tokens: Tensor
    block_outputs: list[Tensor]
    mixing: Mixing


class MixedAE(SelfSupervisedMethod):
    """Mixes the images of a group cell by cell, encodes the mixture, and predicts the rest of each image.

    n = 1 / r images that follow one another in a batch are a group, of which there is one mixture: each image has
    r L cells in it. In the encoder's attention each token sees the r L keys that look most like its own image's
    (homologous attention), and a contrastive loss makes the cells of an image alike. Then each image gets its own
    tokens back, and is predicted as by MAE from them.

    The encoder is a timm Vision Transformer whose position table is fixed; names are those of MAE and `segment_embed`.

    Args:
        backbone: Makes the encoder: called with `num_classes=0`.
        decoder: Makes the decoder: a `PixelDecoder` whose sizes are given.
        mixing_ratio: r, share of a mixture that is of one image; 1 / r is a whole number.
        attention: What a token sees: "homologous" = the r L keys with the largest logits, "all" = all keys,
            "true_sources" = the keys of its own image, which no encoder could know of a new image.
        plain_blocks: First blocks in which every token sees all, whatever `attention` is.
        top_keys: Makes the rule of homologous attention: a `TopKeys` whose two choices are given.
        class_token: "mixture" = one that sees all and is seen by all, "source" = one for each image of the mixture,
            "none" = none.
        segment_embedding: A vector for each place in the group, added to the cells of the image there: "learned",
            "frozen" (as it was drawn) or "none".
        contrast: Makes the contrastive loss: a `HomologousContrast` whose numbers are given.
        norm_pix_loss: Whether each target patch is normalised by its own mean and deviation.

    Raises:
        InputError: The backbone is no Vision Transformer with a class token, or a choice or number can't be used.
    """

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        decoder: Callable[..., PixelDecoder],
        mixing_ratio: float,
        attention: str,
        plain_blocks: int,
        top_keys: Callable[..., TopKeys],
        class_token: str,
        segment_embedding: str,
        contrast: Callable[..., HomologousContrast],
        norm_pix_loss: bool,
    ) -> None:
        super().__init__()
        _check_choice("attention", attention, _ATTENTION)
        _check_choice("class_token", class_token, _CLASS_TOKEN)
        _check_choice("segment_embedding", segment_embedding, _SEGMENT_EMBEDDING)
        self.encoder: VisionTransformer = vision_transformer(backbone, "mixedae")
        self.patch_size: int = self.encoder.patch_embed.patch_size[0]
        self.num_sources = _num_sources(mixing_ratio, self.encoder.patch_embed.num_patches)
        self.batch_multiple = self.num_sources
        self.attention = attention
        self.plain_blocks = plain_blocks
        self.class_token = class_token
        self.num_class_tokens = {"mixture": 1, "source": self.num_sources, "none": 0}[class_token]
        self.norm_pix_loss = norm_pix_loss
        self.restricted_block = restricted_block  # may be replaced by a compiled one
        num_kept = self.encoder.patch_embed.num_patches // self.num_sources
        self.top_keys = top_keys(num_keys=num_kept, num_class_tokens=self.num_class_tokens)
        self.contrast = contrast(self.encoder.embed_dim)
        self._check_numbers(num_kept)
        self.decoder = decoder(
            encoder_dim=self.encoder.embed_dim,
            patch_size=self.patch_size,
            grid_size=self.encoder.patch_embed.grid_size,
            class_token=self.num_class_tokens > 0,
            norm_eps=_NORM_EPS,
        )
        self._initialise(segment_embedding)

    def forward(self, views: Tensor, progress: float = 0.0, noise: Tensor | None = None) -> Tensor:
        """Mean squared error of the hidden patches of every image, and the weighted contrast, a scalar.

        Args:
            views: Normalised images, (N, 3, H, W); N is a multiple of 1 / r.
            progress: Not used.
            noise: Deals the cells of each group to its images, see `mixing.mix_evenly`, (N r, L); None = drawn
                uniformly.

        Raises:
            InputError: N is no multiple of 1 / r.
        """
        encoded = self.encode(views, noise)
        loss = self._reconstruction_loss(views, encoded)
        if self.contrast.weight > 0:
            block = self.contrast.block
            compared = encoded.tokens if block is None else encoded.block_outputs[block]
            cells = compared[:, self.num_class_tokens :]
            loss = loss + self.contrast.weight * self.contrast(cells, encoded.mixing.sources)
        return loss

    def reconstruct(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """See `Reconstructs`: grey where a mixture holds other images, and what is predicted there."""
        encoded = self.encode(views)
        mask = encoded.mixing.masking.mask
        return masked_and_predicted(views, self.predict(encoded), mask, self.patch_size, self.norm_pix_loss)

    def check_batch(self, batch_size: int, processes: int = 1) -> None:
        """Check that a batch is made of whole groups."""
        if batch_size % self.num_sources:
            raise InputError(
                f"ssl=mixedae mixes {self.num_sources} images (1 / mixing_ratio) into one, but a batch has "
                f"{batch_size}; give it a multiple of {self.num_sources} (recipe.pretraining.batch_size, "
                "trainer.accumulate_grad_batches, trainer.devices)."
            )

    def encode(self, views: Tensor, noise: Tensor | None = None) -> Encoded:
        """Mix the images, and encode the mixtures; see `forward` for the arguments."""
        self.check_batch(len(views))
        G, L = len(views) // self.num_sources, self.encoder.patch_embed.num_patches
        mixing = mix_evenly(uniform_noise(G, L, device=views.device) if noise is None else noise, self.num_sources)
        mixtures = mixed_images(views, mixing.sources, self.patch_size)
        cells = self.encoder.patch_embed(mixtures) + self.encoder.pos_embed[:, 1:]  # (G, L, D)
        if self.segment_embed is not None:
            cells = cells + self.segment_embed[mixing.sources]
        tokens = torch.cat([self._class_tokens(G), cells], dim=1)  # (G, C + L, D)
        visible, outputs = self._visibility(mixing.sources), []
        for number, block in enumerate(self.encoder.blocks):
            if visible is None or number < self.plain_blocks:
                tokens = block(tokens)
            else:
                tokens = self.restricted_block(block, tokens, visible)
            outputs.append(tokens)
        return Encoded(self.encoder.norm(tokens), outputs, mixing)

    def predict(self, encoded: Encoded) -> Tensor:
        """The pixels of all patches of every image, (N, L, 3 p^2), from its own tokens alone."""
        own = unmixed_tokens(encoded.tokens, encoded.mixing, self.num_class_tokens)
        prediction: Tensor = self.decoder(self.decoder.restored(own, encoded.mixing.masking.restore))
        return prediction

    def _reconstruction_loss(self, views: Tensor, encoded: Encoded) -> Tensor:
        target = target_pixels(views, self.patch_size, self.norm_pix_loss)
        return hidden_error(self.predict(encoded), target, encoded.mixing.masking.mask)

    def _class_tokens(self, num_groups: int) -> Tensor:
        token = self.encoder.cls_token + self.encoder.pos_embed[:, :1]  # (1, 1, D)
        tokens: Tensor = token.expand(num_groups, self.num_class_tokens, -1)
        if self.class_token == "source" and self.segment_embed is not None:
            tokens = tokens + self.segment_embed
        return tokens

    def _visibility(self, sources: Tensor) -> Visibility | None:
        """What tokens see after the plain blocks; None = all."""
        if self.attention == "homologous":
            return self.top_keys
        if self.attention == "true_sources":
            own = torch.arange(self.num_class_tokens, device=sources.device)
            of_class_tokens = own if self.class_token == "source" else torch.full_like(own, -1)
            return SameSource(torch.cat([of_class_tokens.expand(len(sources), -1), sources], dim=1))
        return None

    def _check_numbers(self, num_kept: int) -> None:
        depth = len(self.encoder.blocks)
        if not 0 <= self.plain_blocks <= depth:
            raise InputError(f"ssl_method.method.plain_blocks={self.plain_blocks} must be 0 to {depth} (all blocks).")
        block = self.contrast.block
        if block is not None and not 0 <= block < depth:
            raise InputError(f"ssl_method.method.contrast.block={block} must be null or 0 to {depth - 1}.")
        if self.contrast.weight > 0 and num_kept < 2:
            raise InputError(
                "ssl=mixedae contrasts the cells of an image, but an image has a single one in its mixture; raise "
                "recipe.image_size, or set ssl_method.method.contrast.weight=0."
            )

    def _initialise(self, segment_embedding: str) -> None:
        """As MAE; segment embeddings N(0, 0.02) too."""
        encoder = self.encoder
        positions = sincos_positions(encoder.embed_dim, encoder.patch_embed.grid_size, class_token=True)
        encoder.pos_embed = nn.Parameter(positions, requires_grad=False)
        initialise_linear_and_norm(self)
        initialise_patch_projection(encoder.patch_embed.proj)
        nn.init.normal_(encoder.cls_token, std=0.02)
        encoder.cls_token.requires_grad_(self.num_class_tokens > 0)
        nn.init.normal_(self.decoder.mask_token, std=0.02)
        self.segment_embed: nn.Parameter | None = None
        if segment_embedding != "none":
            drawn = nn.init.normal_(torch.empty(self.num_sources, encoder.embed_dim), std=0.02)
            self.segment_embed = nn.Parameter(drawn, requires_grad=segment_embedding == "learned")


def _num_sources(mixing_ratio: float, num_patches: int) -> int:
    """Images in a group."""
    number = round(1 / mixing_ratio) if mixing_ratio > 0 else 0
    if number < 2 or not math.isclose(number * mixing_ratio, 1, rel_tol=1e-3):
        raise InputError(
            f"ssl_method.method.mixing_ratio={mixing_ratio} must be 1 over a whole number of images, 2 or more: 0.5, "
            "0.25, 0.2, ..."
        )
    if num_patches % number:
        raise InputError(
            f"ssl_method.method.mixing_ratio={mixing_ratio} deals the {num_patches} patches of an image to {number} "
            "images, which doesn't come out even; choose another ratio, or another recipe.image_size."
        )
    return number


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"ssl_method.method.{name}={value} must be {', '.join(choices[:-1])} or {choices[-1]}.")
