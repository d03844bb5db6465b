"""The one training loop: in each iteration every (objective, optimiser) pair takes one step, in the order given.

    loss_k = objective_k(network, batch)["loss"];   theta_k <- optimiser_k(theta_k, d loss_k / d theta_k)
    ema    <- d * ema + (1 - d) * theta,            d = min(ema_decay, (1 + i) / (10 + i))

A generative adversarial stage is two pairs, a diffusion stage is one. Iteration i draws its randomness from (seed, i),
so that a run killed at any moment and started again ends with the weights of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import Trainer
from torch import distributed
from tqdm import tqdm

from synthzoo.datasets.loader import mix_seed, seed_everything
from synthzoo.errors import UserError
from synthzoo.networks.saving import save_atomically, save_weights
from synthzoo.networks.weights import load_weights

CHECKPOINT = "checkpoint.pt"


class ObjectiveTrainer(Trainer):
    """Trains (parts of) one network with one optimiser per objective.

    An objective is a callable `(network, batch) -> {"loss": scalar, "name": scalar, ...}`; "loss" is minimised, all
    are logged. If it is a `torch.nn.Module` (it holds a discriminator, say) its state is checkpointed too. If it has
    `images(network, batch, inferer) -> {name: float (1, H, W) or (3, H, W) in [0, 1]}`, these go to TensorBoard at the
    end of every epoch.

    Args:
        device: where batches are moved.
        max_epochs: epochs in total, those before a resume included.
        train_data_loader: a `SeededLoader` for exact resume; any loader of dictionaries works.
        network: the bundle's composite network, already on `device`.
        steps: list of {"objective", "optimizer", "scheduler": None, "from_iteration": 0}; a scheduler steps once per
            iteration, and a pair rests until `from_iteration`.
        epoch_length: iterations per epoch; None takes one pass over the loader.
        seed: of all randomness inside the objectives.
        inferer: handed to `images` of the objectives, for samples drawn during training.
        ema_decay: of the averaged copy that is saved; None saves the trained weights themselves.
        amp: compute the objectives in `amp_dtype` ("bfloat16" or "float16") by torch.autocast.
        clip_grad: largest L2 norm of the gradient of each pair; None does not clip.
        checkpoint_dir: folder of `checkpoint.pt`; None writes none.
        checkpoint_every: iterations between checkpoints.
        save_to: file that receives the state dict of the whole network (averaged, if requested), at every checkpoint
            and at the end; None writes none.
        save_half: store `save_to` in half precision (a strict load casts it up again).
        init_from: state dict that is loaded strictly before the first iteration, e.g. of the stage before.
        resume: continue from the checkpoint in `checkpoint_dir` if there is one.
        log_dir: TensorBoard folder; None writes none.
        log_every: iterations between logged scalars.
        batch_shapes: expected shape of entries of the batch without the batch axis, None for a free axis, e.g.
            {"image": [1, 48, 56, 48]}; a first batch that differs is refused before the network sees it.
        train_handlers: further ignite handlers.
        progress: show a progress bar with the time left.

    Raises:
        UserError: a batch of the wrong shape, a loss that is not finite, a checkpoint of another network.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable,
        network: torch.nn.Module,
        steps: Sequence[Mapping[str, Any]],
        epoch_length: int | None = None,
        seed: int = 0,
        inferer: Callable | None = None,
        ema_decay: float | None = None,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        clip_grad: float | None = 1.0,
        checkpoint_dir: str | Path | None = None,
        checkpoint_every: int = 200,
        save_to: str | Path | None = None,
        save_half: bool = False,
        init_from: str | Path | None = None,
        resume: bool = True,
        log_dir: str | Path | None = None,
        log_every: int = 10,
        batch_shapes: Mapping[str, Sequence[int | None]] | None = None,
        train_handlers: Sequence | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            handlers=train_handlers,
            decollate=False,
        )
        if not steps:
            raise UserError("train#trainer#steps: empty; give at least one {objective, optimizer}.")
        self.network, self.seed, self.inferer, self.clip_grad = network, seed, inferer, clip_grad
        self.steps = [{"scheduler": None, "from_iteration": 0, **step} for step in steps]
        self.ema_decay = ema_decay
        self.autocast = (amp, getattr(torch, amp_dtype))
        self.loss_scaler = torch.amp.GradScaler(self.state.device.type, enabled=amp and amp_dtype == "float16")
        self.checkpoint_path = Path(checkpoint_dir) / CHECKPOINT if checkpoint_dir else None
        self.checkpoint_every, self.log_every = checkpoint_every, log_every
        self.save_to, self.save_half = Path(save_to) if save_to else None, save_half
        self.batch_shapes = dict(batch_shapes or {})
        self.log_dir, self.writer, self.progress, self.bar = log_dir, None, progress, None
        self.rank, self.world_size = 0, 1
        if distributed.is_available() and distributed.is_initialized():
            self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()

        if init_from:
            load_weights(network, init_from)
        self.ema = copy.deepcopy(network).eval().requires_grad_(False) if ema_decay else None
        if resume and self.checkpoint_path and self.checkpoint_path.is_file():
            self.load_checkpoint(self.checkpoint_path)
        self.broadcast_weights()

        self.add_event_handler(Events.STARTED, ObjectiveTrainer.open_logs)
        self.add_event_handler(Events.ITERATION_COMPLETED, ObjectiveTrainer.report)
        self.add_event_handler(Events.ITERATION_COMPLETED(every=checkpoint_every), ObjectiveTrainer.save)
        self.add_event_handler(Events.EPOCH_COMPLETED, ObjectiveTrainer.write_images)
        self.add_event_handler(Events.COMPLETED, ObjectiveTrainer.save)
        self.add_event_handler(Events.COMPLETED, ObjectiveTrainer.close_logs)

    # --- one iteration -------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train up to `max_epochs`, from the checkpoint if there was one."""
        if self.state.iteration >= self.state.max_epochs * self.state.epoch_length:
            self.tell(f"already trained for {self.state.iteration} iterations; raise max_epochs to train on.")
            self.save()
            return
        if hasattr(self.data_loader, "start_at"):
            self.data_loader.start_at(self.state.iteration)
        try:
            super(Trainer, self).run()  # monai's own run makes a CUDA-only loss scaler first
        finally:
            self.close_logs()

    def _iteration(self, engine: Any, batchdata: Mapping[str, Any]) -> dict[str, float]:
        iteration = self.state.iteration - 1
        self.check_shapes(batchdata)
        batch = {
            name: value.to(self.state.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batchdata.items()
        }
        seed_everything(mix_seed(self.seed, iteration, self.rank))
        self.network.train()
        values: dict[str, torch.Tensor] = {}
        for step in self.steps:
            if iteration >= step["from_iteration"]:
                values.update(self.take_step(step, batch))
        self.average_statistics()
        self.update_ema(iteration)
        numbers = {name: float(value) for name, value in values.items()}
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise UserError(
                    f"train#trainer: {name} became {number} at iteration {iteration + 1}; lower the learning rate, "
                    f"or start again from {self.checkpoint_path}."
                )
        return numbers

    def take_step(self, step: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """One optimiser step on one objective; returns the detached scalars of the objective."""
        optimizer, objective = step["optimizer"], step["objective"]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        enabled, dtype = self.autocast
        with self.only_trainable(parameters), torch.autocast(self.state.device.type, dtype=dtype, enabled=enabled):
            values = objective(self.network, batch)
            self.loss_scaler.scale(values["loss"]).backward()
        self.loss_scaler.unscale_(optimizer)
        self.average_gradients(parameters)
        values = {name: value.detach() for name, value in values.items()}
        if self.clip_grad is not None:
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip_grad)
            values["gradient_norm"] = norm.detach()
        self.loss_scaler.step(optimizer)
        self.loss_scaler.update()
        if step["scheduler"] is not None:
            step["scheduler"].step()
        if len(self.steps) == 1:
            return values
        return {f"{getattr(objective, 'name', type(objective).__name__)}/{key}": item for key, item in values.items()}

    @contextlib.contextmanager
    def only_trainable(self, parameters: list[torch.nn.Parameter]) -> Iterator[None]:
        """While one pair steps, the parameters of the other pairs need no gradient."""
        mine = {id(parameter) for parameter in parameters}
        others = {
            id(parameter): parameter
            for step in self.steps
            for group in step["optimizer"].param_groups
            for parameter in group["params"]
            if id(parameter) not in mine and parameter.requires_grad
        }
        for parameter in others.values():
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others.values():
                parameter.requires_grad_(True)

    @torch.no_grad()
    def update_ema(self, iteration: int) -> None:
        """ema <- d * ema + (1 - d) * network, for floating tensors; other buffers are copied."""
        if self.ema is None:
            return
        decay = min(self.ema_decay, (1 + iteration) / (10 + iteration))
        averages = self.ema.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point() and not torch.equal(averages[name], value):
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def check_shapes(self, batch: Mapping[str, Any]) -> None:
        """Refuse a batch that the network cannot take, before it fails somewhere deep inside."""
        for name, shape in self.batch_shapes.items():
            if name not in batch:
                raise UserError(f"train#dataset: its rows have no '{name}', only {sorted(batch)}; add it to the rows.")
            found = list(batch[name].shape[1:])
            if len(found) != len(shape) or any(want not in (None, size) for want, size in zip(shape, found)):
                raise UserError(
                    f"train#dataset: '{name}' has shape {found}, the network needs {list(shape)} (channels first); "
                    "resample the data to that grid or change the network's size in the config."
                )

    # --- several processes: gradients are averaged, weights start equal ---------------------------------------------

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Mean of each gradient over the processes, in one message."""
        if self.world_size == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.world_size
        for parameter, part, gradient in zip(parameters, flat.split([g.numel() for g in gradients]), gradients):
            parameter.grad = part.view_as(gradient).clone()

    @torch.no_grad()
    def average_statistics(self) -> None:
        """Mean of the running statistics of normalisation layers over the processes, which each see other rows."""
        if self.world_size == 1:
            return
        layers = [layer for layer in self.network.modules() if isinstance(layer, torch.nn.modules.batchnorm._NormBase)]
        found = [value for layer in layers for value in (layer.running_mean, layer.running_var) if value is not None]
        if not found:
            return
        flat = torch.cat([value.reshape(-1) for value in found])
        distributed.all_reduce(flat)
        flat /= self.world_size
        for value, part in zip(found, flat.split([value.numel() for value in found])):
            value.copy_(part.view_as(value))

    def broadcast_weights(self) -> None:
        """All processes take the weights of the first."""
        if self.world_size == 1:
            return
        modules = [self.network, self.ema] + [step["objective"] for step in self.steps]
        for module in modules:
            if isinstance(module, torch.nn.Module):
                for tensor in module.state_dict().values():
                    distributed.broadcast(tensor, src=0)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoint(self) -> dict[str, Any]:
        """Everything that the next iteration depends on, as plain tensors and numbers."""
        objectives = [step["objective"] for step in self.steps]
        return {
            "iteration": self.state.iteration,
            "epoch_length": self.state.epoch_length,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizers": [step["optimizer"].state_dict() for step in self.steps],
            "schedulers": [step["scheduler"].state_dict() if step["scheduler"] else None for step in self.steps],
            "objectives": [o.state_dict() if isinstance(o, torch.nn.Module) else None for o in objectives],
            "loss_scaler": self.loss_scaler.state_dict(),
        }

    def save(self) -> None:
        """Write checkpoint and weights, each to a temporary name that is then renamed."""
        if self.rank != 0:
            return
        if self.checkpoint_path:
            save_atomically(self.checkpoint(), self.checkpoint_path)
        if self.save_to:
            save_weights(self.ema if self.ema is not None else self.network, self.save_to, half=self.save_half)

    def load_checkpoint(self, path: Path) -> None:
        """Continue at the iteration of `path`."""
        try:
            saved = torch.load(path, map_location=self.state.device, weights_only=True)
            self.network.load_state_dict(saved["network"])
            if self.ema is not None:
                self.ema.load_state_dict(saved["ema"] or saved["network"])
            for step, optimizer, scheduler, objective in zip(
                self.steps, saved["optimizers"], saved["schedulers"], saved["objectives"], strict=True
            ):
                step["optimizer"].load_state_dict(optimizer)
                if step["scheduler"] is not None and scheduler is not None:
                    step["scheduler"].load_state_dict(scheduler)
                if objective is not None:
                    step["objective"].load_state_dict(objective)
            self.loss_scaler.load_state_dict(saved["loss_scaler"])
        except (RuntimeError, ValueError, KeyError, EOFError) as error:
            raise UserError(
                f"{path}: does not belong to this network and these optimisers ({str(error).splitlines()[0][:120]}); "
                "train with the settings that it was made with, or remove it to start again."
            ) from error
        self.state.iteration = saved["iteration"]
        self.state.epoch = saved["iteration"] // self.state.epoch_length
        self.tell(f"resumed {path} at iteration {self.state.iteration}.")

    # --- what a person sees -----------------------------------------------------------------------------------------

    def tell(self, sentence: str) -> None:
        """One line on standard error, from the first process."""
        if self.rank == 0:
            print(sentence, file=sys.stderr, flush=True)

    def open_logs(self) -> None:
        """Start the progress bar and the TensorBoard writer."""
        if self.rank != 0:
            return
        total = self.state.max_epochs * self.state.epoch_length
        self.bar = tqdm(
            total=total, initial=self.state.iteration, desc="train", disable=not self.progress, mininterval=2.0
        )
        if self.log_dir:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run logs

            self.writer = SummaryWriter(str(self.log_dir))

    def close_logs(self) -> None:
        """End the progress bar and the TensorBoard writer."""
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self.writer.close()
        self.bar = self.writer = None

    def report(self) -> None:
        """Progress bar with time left, and scalars to TensorBoard."""
        if self.bar is None:
            return
        self.bar.update(1)
        if self.state.iteration % self.log_every:
            return
        shown = {name: f"{value:.3g}" for name, value in self.state.output.items() if "gradient" not in name}
        self.bar.set_postfix(shown, refresh=False)
        if self.writer is not None:
            for name, value in self.state.output.items():
                self.writer.add_scalar(f"train/{name}", value, self.state.iteration)
            for k, step in enumerate(self.steps):
                rate = step["optimizer"].param_groups[0]["lr"]
                self.writer.add_scalar(f"learning_rate/{k}", rate, self.state.iteration)

    @torch.no_grad()
    def write_images(self) -> None:
        """Pictures of the averaged network on the last batch, to TensorBoard."""
        if self.writer is None:
            return
        network = self.ema if self.ema is not None else self.network
        network.eval()
        batch = {
            name: value.to(self.state.device) if isinstance(value, torch.Tensor) else value
            for name, value in self.state.batch.items()
        }
        for step in self.steps:
            if hasattr(step["objective"], "images"):
                for name, image in step["objective"].images(network, batch, self.inferer).items():
                    self.writer.add_image(name, image.detach().float().clamp(0, 1).cpu(), self.state.iteration)


def join_processes(backend: str | None = None) -> int:
    """Enter the process group that torchrun has prepared (gloo without GPU, nccl with) and return the local rank.

    Outside of torchrun nothing happens and 0 is returned.
    """
    if "WORLD_SIZE" not in os.environ:
        return 0
    if not distributed.is_initialized():
        distributed.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"))
    return int(os.environ.get("LOCAL_RANK", "0"))
