"""Training of any bundle: the one loop, `ObjectiveTrainer`, and `stage`, which builds it from what is a stage's own."""

from synthzoo.training.stages import cosine_schedule, stage
from synthzoo.training.trainer import CHECKPOINT, ObjectiveTrainer, join_processes

__all__ = ["CHECKPOINT", "ObjectiveTrainer", "cosine_schedule", "join_processes", "stage"]
