"""The modes of the program, and the groups of modes that read a setting."""

from __future__ import annotations

TRAIN_MODES = ("pretrain", "finetune")
WORKFLOW_MODES = (
    *TRAIN_MODES,
    "eval",
    "predict",
    "embed",
    "export",
    "scan",
    "plan",
)
MODES = (*WORKFLOW_MODES, "train", "train_then_eval")  # these two run --train_mode

PRETRAIN = frozenset({"pretrain"})
FINETUNE = frozenset({"finetune"})
EVAL = frozenset({"eval"})
PREDICT = frozenset({"predict"})
EMBED = frozenset({"embed"})
READING = PREDICT | EMBED  # modes that open --input
EXPORT = frozenset({"export"})
SCAN = frozenset({"scan"})
PLAN = frozenset({"plan"})
EVERY_MODE = frozenset(WORKFLOW_MODES)
TRAINING = PRETRAIN | FINETUNE
PLANNED = TRAINING | PLAN  # what a step of training costs depends on it
MEASURING = TRAINING | EVAL  # modes that write results.json
OPENING = MEASURING | SCAN  # modes that open the splits of a data set
VIEWING = PRETRAIN | SCAN  # modes that draw augmented views
