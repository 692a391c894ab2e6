"""FVD's network, I3D, from a file that does not come with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from syncdraw.errors import UserError
from syncdraw.evaluation.distances import unit

I3D_SIZE = 224


class I3D:
    """The network whose features make a Frechet distance an FVD, as a TorchScript file: `i3d_torchscript.pt`, say.

    It is called with videos `[batch, 3, frame, 224, 224]` in [-1, 1], and, as far as it has such arguments, with
    rescale=False, resize=False and return_features=True (as StyleGAN-V, Skorokhodov et al. 2022, does).

    TorchScript can do whatever a program can: give it no file from somebody whom you do not trust.

    Args:
        path: the file.

    Attributes:
        checksum: the first 12 digits of the file's SHA-256, for there are several I3D.

    Raises:
        UserError: the file is missing, or is not TorchScript.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self.checksum = hashlib.file_digest(file, "sha256").hexdigest()[:12]
            self.network = torch.jit.load(str(path), map_location="cpu").eval()
            known = {argument.name for argument in self.network.forward.schema.arguments}
        except OSError as error:
            raise UserError(f"--i3d {path} cannot be read: {error.strerror or error}") from None
        except (RuntimeError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"--i3d {path} is not a network in TorchScript ({reason})") from None
        self.path = path
        wanted = {"rescale": False, "resize": False, "return_features": True}
        self.options = {name: value for name, value in wanted.items() if name in known}

    @torch.no_grad()
    def features(self, videos: Tensor) -> Tensor:
        """Features `[clip, feature]` of `[clip, frame, channel, height, width]`, uint8 or in [0, 1].

        Frames are resized to 224 x 224, bilinearly, and grey is repeated to three channels; frames are neither repeated
        nor left out.

        Raises:
            UserError: the network cannot be called so, or gives anything but finite numbers `[clip, feature]`.
        """
        batch, frames, channels, *size = videos.shape
        flat = unit(videos).reshape(batch * frames, channels, *size)
        resized = functional.interpolate(flat, (I3D_SIZE, I3D_SIZE), mode="bilinear", align_corners=False)
        seen = (2 * resized - 1).expand(-1, 3, -1, -1).unflatten(0, (batch, frames)).transpose(1, 2)
        try:
            features = self.network(seen, **self.options)
        except (RuntimeError, torch.jit.Error) as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"--i3d {self.path} cannot look at videos {list(seen.shape)} ({reason})") from None
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != batch:
            got = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UserError(f"--i3d {self.path} must give features [clip, feature] of {batch} clips, not {got}")
        if not features.isfinite().all():
            raise UserError(f"--i3d {self.path} gives features that are not finite")
        return features
