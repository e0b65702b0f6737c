"""The mapping network: z to w (StyleGAN2, arXiv 1912.04958, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stylemix.errors import StylemixError
from stylemix.networks.latents import truncate
from stylemix.networks.layers import FullyConnected, normalize_2nd_moment


class MappingNetwork(nn.Module):
    """Maps latents z, and labels c, to intermediate latents w.

    Attributes:
        label: the label [c_dim] of calls without labels; None where they need one.
    """

    label: Tensor | None = None

    def __init__(
        self, z_dim: int, c_dim: int, w_dim: int, num_layers: int, num_ws: int | None = None
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.num_ws, self.num_layers = z_dim, c_dim, num_ws, num_layers
        if c_dim > 0:
            self.embed = FullyConnected(c_dim, w_dim)
        features = z_dim + (w_dim if c_dim > 0 else 0)
        for i in range(num_layers):
            layer = FullyConnected(features if i == 0 else w_dim, w_dim, "lrelu", 0.01)
            self.add_module(f"fc{i}", layer)
        if num_ws is not None:
            self.register_buffer("w_avg", torch.zeros([w_dim]))

    w_avg: Tensor

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Maps z [N, z_dim] and c [N, c_dim] to ws [N, num_ws, w_dim].

        Truncation by `truncation_psi` applies to the first `truncation_cutoff` layers (None: all).
        A network without num_ws returns [N, w_dim].
        """
        parts = []
        if self.z_dim > 0:
            if z is None or z.ndim != 2 or z.shape[1] != self.z_dim:
                got = None if z is None else tuple(z.shape)
                raise StylemixError(f"got z of shape {got}; expected [N, {self.z_dim}]")
            parts.append(normalize_2nd_moment(z.float()))
        if self.c_dim > 0:
            if c is None:
                c = self._own_label(1 if z is None else len(z))
            if c.ndim != 2 or c.shape[1] != self.c_dim:
                got = tuple(c.shape)
                raise StylemixError(f"got label of shape {got}; expected [N, {self.c_dim}]")
            parts.append(normalize_2nd_moment(self.embed(c.float())))
        x = torch.cat(parts, dim=1)
        for i in range(self.num_layers):
            x = self.get_submodule(f"fc{i}")(x)
        if self.num_ws is None:
            return x
        ws = x.unsqueeze(1).repeat(1, self.num_ws, 1)
        return truncate(ws, self.w_avg, truncation_psi, truncation_cutoff)

    def _own_label(self, count: int) -> Tensor:
        """Returns the network's label for all of a batch, [N, c_dim]."""
        if self.label is None:
            raise StylemixError(
                f"got no label for a model of {self.c_dim} classes; expected one; pass --class N "
                f"(0 to {self.c_dim - 1}), or --label with {self.c_dim} values"
            )
        return self.label.to(self.embed.weight.device).expand(count, -1)
