"""MoCo v3: contrasting two views of an image (Chen, Xie and He, ICCV 2021, arXiv 2104.02057)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from activessf.errors import InputError
from activessf.methods.batch_norm import GlobalBatchNorm1d
from activessf.methods.distributed import gathered, num_processes, process_rank
from activessf.methods.encoders import class_token, vision_transformer
from activessf.methods.initialisation import initialise_linear_and_norm, initialise_patch_projection
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.positions import sincos_positions


class MoCoV3(SelfSupervisedMethod):
    """Makes the features of one view of an image predict those that a slow copy of the network has of the other view.

    The encoder is a timm Vision Transformer, of which the class token counts; its position table is fixed. Published
    names are kept with `encoder.` for `base_encoder.`, `projector.` for `base_encoder.head.`, and the slow copies under
    `momentum_encoder.` and `momentum_projector.`. With several processes the batch is that of all of them.

    Args:
        backbone: Makes the encoder: called with `num_classes=0`.
        hidden_dim: Width of the hidden layers of projector and predictor.
        output_dim: Width of the features that are compared.
        temperature: Divides the cosines of features.
        momentum: Share of the slow copy that stays in a step, at the start; it rises to 1 over the training.
        stop_grad_conv1: Whether the patch projection stays as it was drawn, which steadies the training.

    Raises:
        InputError: The backbone is no Vision Transformer with a class token, or a number is out of its range.
    """

    def __init__(
        self,
        backbone: Callable[..., nn.Module],
        hidden_dim: int,
        output_dim: int,
        temperature: float,
        momentum: float,
        stop_grad_conv1: bool,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError(f"ssl_method.method.temperature={temperature} must be above 0.")
        if not 0 <= momentum <= 1:
            raise InputError(f"ssl_method.method.momentum={momentum} must lie in [0, 1].")
        self.temperature = temperature
        self.momentum = momentum
        self.encoder: VisionTransformer = vision_transformer(backbone, "mocov3")
        _initialise(self.encoder)
        self.encoder.patch_embed.proj.requires_grad_(not stop_grad_conv1)
        # Drawn after the encoder, and as PyTorch draws linear layers; the slow copies start as what they copy.
        self.projector = _perceptron((self.encoder.embed_dim, hidden_dim, hidden_dim, output_dim))
        self.predictor = _perceptron((output_dim, hidden_dim, output_dim))
        self.momentum_encoder: VisionTransformer = copy.deepcopy(self.encoder).requires_grad_(False)
        self.momentum_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self._moves, self._moved_in_step = True, -1

    def forward(self, views: Tensor, progress: float = 0.0) -> Tensor:
        """Sum of the losses of both views, a scalar; the slow copies move a step.

        Where the gradients of several batches are accumulated, each is contrasted within itself, and the first one
        moves the slow copies (the published code accumulates none).

        Args:
            views: Two normalised views of each image, (N, 2, 3, H, W).
            progress: Share of the training that is done, 0-1.

        Raises:
            InputError: There are no two views of an image, or fewer than two images.
        """
        if views.ndim != 5 or views.shape[1] != 2:
            raise InputError(
                f"ssl=mocov3 compares two views of each image, but its batch has the shape {tuple(views.shape)}; "
                "ssl_method.view must make two (activessf.data.two_views.TwoViews)."
            )
        self.check_batch(len(views), num_processes())
        # A forward each: the statistics of batch normalisation are of one view.
        queries = [self.query(view) for view in views.unbind(dim=1)]
        if self._moves:
            self.move_slow_copies(momentum_at(progress, self.momentum))
        keys = [self.key(view) for view in views.unbind(dim=1)]
        return contrastive_loss(queries[0], keys[1], self.temperature) + contrastive_loss(
            queries[1], keys[0], self.temperature
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """As of every method; the slow copies move once in an optimiser step, of however many batches it is."""
        self._moves, self._moved_in_step = self.global_step != self._moved_in_step, self.global_step
        loss = super().training_step(batch, batch_index)
        self._moves = True
        return loss

    def check_batch(self, batch_size: int, processes: int = 1) -> None:
        """Check that there is another image to tell an image from, in whichever process."""
        if batch_size * processes < 2:
            raise InputError(
                f"ssl=mocov3 tells the images of a batch apart, but a batch has {batch_size}; give it at least 2 "
                "(recipe.pretraining.batch_size, trainer.accumulate_grad_batches)."
            )

    def encoder_replaced(self) -> None:
        """The slow copies start again as what they copy."""
        self.momentum_encoder.load_state_dict(self.encoder.state_dict())
        self.momentum_projector.load_state_dict(self.projector.state_dict())

    def query(self, images: Tensor) -> Tensor:
        """What is predicted of the other view, (N, output_dim), from normalised images, (N, 3, H, W)."""
        features: Tensor = self.predictor(self.projector(class_token(self.encoder, images)))
        return features

    @torch.no_grad()
    def key(self, images: Tensor) -> Tensor:
        """Features of the slow copies, (N, output_dim), of normalised images, (N, 3, H, W)."""
        features: Tensor = self.momentum_projector(class_token(self.momentum_encoder, images))
        return features

    @torch.no_grad()
    def move_slow_copies(self, momentum: float) -> None:
        """Move the slow copies towards encoder and projector: all parameters, none of the running statistics.

        Args:
            momentum: Share of the slow copies that stays.
        """
        for slow, fast in ((self.momentum_encoder, self.encoder), (self.momentum_projector, self.projector)):
            for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                old.mul_(momentum).add_(new, alpha=1 - momentum)


def momentum_at(progress: float, start: float) -> float:
    """Share of the slow copies that stays in a step: from `start` to 1 along half a cosine.

    Args:
        progress: Share of the training that is done, 0-1.
        start: The share at the start.
    """
    return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * progress))


def contrastive_loss(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """How badly each query tells the key of its own image from those of all others, a scalar.

    Cross-entropy of cosines over the temperature, times twice the temperature; the mean over this process's queries.

    Args:
        queries: Predicted features, (N, d).
        keys: Features of the same images, (N, d); those of other processes are added here, and have no gradient.
        temperature: T.
    """
    all_keys = gathered(F.normalize(keys, dim=1))  # (processes x N, d)
    logits = F.normalize(queries, dim=1) @ all_keys.T / temperature
    own = torch.arange(len(queries), device=queries.device) + len(queries) * process_rank()
    return 2 * temperature * F.cross_entropy(logits, own)


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers without bias, each followed by batch normalisation and all but the last by a ReLU.

    The last normalisation has no weights.
    """
    layers: list[nn.Module] = []
    for width, next_width in pairwise(widths[:-1]):
        layers += [nn.Linear(width, next_width, bias=False), GlobalBatchNorm1d(next_width), nn.ReLU(inplace=True)]
    layers += [nn.Linear(widths[-2], widths[-1], bias=False), GlobalBatchNorm1d(widths[-1], affine=False)]
    return nn.Sequential(*layers)


@torch.no_grad()
def _initialise(encoder: VisionTransformer) -> None:
    """As published: xavier-uniform layers, biases 0, a class token of nearly nothing, fixed sin-cos positions."""
    initialise_linear_and_norm(encoder)
    for block in encoder.blocks:  # queries, keys and values are a matrix each
        for matrix in block.attn.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(matrix)
    initialise_patch_projection(encoder.patch_embed.proj)
    nn.init.zeros_(encoder.patch_embed.proj.bias)
    nn.init.normal_(encoder.cls_token, std=1e-6)
    positions = sincos_positions(encoder.embed_dim, encoder.patch_embed.grid_size, class_token=True, order="moco")
    encoder.pos_embed = nn.Parameter(positions, requires_grad=False)
