"""Every command-line flag, grouped like ``Config``; defaults are quoted from there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from simclr_tf2 import config as config_lib

_DEFAULTS = config_lib.field_defaults()
_NAMES: list[str] = []


def _define(kind: Any, name: str, text: str, *choices: Sequence[str]) -> None:
    default = _DEFAULTS[name]
    default = list(map(str, default)) if isinstance(default, tuple) else default
    if kind is flags.DEFINE_string and default is not None:
        default = str(default)
    kind(name, default, *choices, text)
    _NAMES.append(name)


def _integer(name: str, text: str) -> None:
    _define(flags.DEFINE_integer, name, text)


def _float(name: str, text: str) -> None:
    _define(flags.DEFINE_float, name, text)


def _string(name: str, text: str) -> None:
    _define(flags.DEFINE_string, name, text)


def _bool(name: str, text: str) -> None:
    _define(flags.DEFINE_bool, name, text)


def _list(name: str, text: str) -> None:
    _define(flags.DEFINE_list, name, text)


def _enum(name: str, choices: Sequence[str], text: str) -> None:
    _define(flags.DEFINE_enum, name, text, choices)


# The run
_enum(
    "mode",
    config_lib.MODES,
    "What to do. pretrain: learn an encoder without labels, then evaluate, export and "
    "report. eval: measure a finished --model_dir again. embed: write the "
    "representation of images to a file. export: write encoder.keras and a SavedModel. "
    "scan: look through the images, name the broken ones, suggest settings. "
    "train, train_then_eval: the reference code's words, completed by --train_mode.",
)
_enum(
    "train_mode",
    config_lib.TRAIN_MODES,
    "With --mode=train or train_then_eval: pretrain without labels, or finetune.",
)
_string(
    "model_dir",
    "Folder of the run: checkpoints, logs, results, exports. A run that "
    "was stopped goes on when it is started again with the same folder.",
)
_integer(
    "seed",
    "Seed of weights, order, augmentation and protocols. The same seed gives the same "
    "batches on any number of replicas and after any restart.",
)
# Data
_string(
    "dataset",
    "Name of a tensorflow-datasets set (cifar10, stl10, imagenet2012, "
    "fashion_mnist, ...) or of the embedded one: simclr_shapes, simclr_shapes/64, "
    "simclr_shapes/96, simclr_shapes/tiny; or an .npz or .npy file of arrays. With "
    "--mode=eval: measured in place of the run's images, as with the next three.",
)
_string(
    "image_dir",
    "Folder of your own images, in place of --dataset: flat or nested without labels, "
    "DIR/class/image or DIR/split/class/image.",
)
_string(
    "manifest",
    "CSV or Parquet file with columns path,label[,split], in place of --dataset; paths "
    "are relative to --image_dir or to the file; a label of -1 or nothing is no label.",
)
_string(
    "tfrecords",
    "Pattern of TFRecord files of tf.Example, in place of --dataset; {split} in it "
    "stands for the split's name (gs://bucket/{split}-*.tfrecord).",
)
_enum(
    "image_layout",
    config_lib.IMAGE_LAYOUTS,
    "What the folders in --image_dir mean. auto: splits by name (train, val2017), "
    "classes if every image lies in the folder of one, else nothing; what was not "
    "understood is said; flat: nothing.",
)
_list(
    "label_columns",
    "Columns of the --manifest that hold one yes-or-no label each (1, 0, or -1 for "
    "not known), comma-separated.",
)
_string("image_key", "Feature of the data set, or of tf.Example, with the image.")
_string(
    "label_key",
    "Feature of the data set, or of tf.Example, with the label; one with several "
    "classes an image (`labels` of voc) gives yes-or-no labels, for svm and low_shot.",
)
_string("data_dir", "Folder of prepared tensorflow-datasets.")
_bool(
    "download",
    "Download and prepare --dataset if it is not in --data_dir. Never done unasked.",
)
_string("train_split", "Split to train on; slices such as train[:80%] work.")
_float(
    "label_fraction",
    "Finetune and --protocols=semi: use the labels of so large a part of each class of "
    "--train_split, drawn by --seed (0.01 and 0.1 in the paper).",
)
_integer("labels_per_class", "The same, as a number of images per class.")
_string("image_size", "Side of the training images in pixels, or HEIGHTxWIDTH.")
_integer(
    "image_channels",
    "Channels of the images: 3, or 1 or 4 of image files, or any number of arrays. "
    "Colour operations that need RGB are left out of other images.",
)
_bool("cache_dataset", "Keep the encoded images of the split in memory, at any size.")
_enum(
    "cache",
    config_lib.CACHES,
    "What of the training images is kept in memory. auto: decoded or encoded, "
    "whichever fits into 2 GiB, else nothing.",
)
_enum(
    "check_files",
    config_lib.FILE_CHECKS,
    "How files of --image_dir are checked before training, once: by decoding them, or "
    "by their headers only.",
)
_float(
    "max_bad_fraction",
    "Stop if a larger part of the image files is broken; below that broken ones are "
    "named and left out.",
)
_integer(
    "max_image_pixels",
    "Files of more pixels than this count as broken and are never decoded.",
)
_string(
    "data_service",
    "Address of a tf.data service dispatcher (grpc://host:port) whose workers make the "
    "batches.",
)
# Augmentation
_float(
    "color_jitter_strength",
    "Strength s of colour jitter; 1.0 for ImageNet, 0.5 for CIFAR-10, 0 for no jitter "
    "(grayscale stays).",
)
_bool(
    "use_blur",
    "Blur half of the views with a Gaussian; the paper does so for "
    "ImageNet and not for CIFAR-10.",
)
_enum(
    "augment_backend",
    config_lib.AUGMENT_BACKENDS,
    "What makes the views; they differ by rounding only. numba: compiled loops in this "
    "process, faster (README). tf: TensorFlow operations, which a --data_service "
    "and remote TPU hosts need. auto: numba where it can be used.",
)
_enum(
    "augment_on",
    config_lib.AUGMENT_PLACES,
    "Where views get flip, colours and blur; they differ by rounding only. host: "
    "in the input pipeline. device: in the training step, when the host's cores cannot "
    "feed the accelerator; decoding and crops stay on the host.",
)
_integer("num_views", "Views of each image in a batch; the paper has 2.")
_integer(
    "num_local_views",
    "Multi-crop: so many small views of each image beside them, of small parts of it.",
)
_string(
    "local_image_size",
    "Multi-crop: side of a small view, or HEIGHTxWIDTH; by default 3/7 of a view's.",
)
# Model
_integer("resnet_depth", "Layers of the ResNet: 10, 18, 34, 50, 101, 152 or 200.")
_float("width_multiplier", "Multiplies every channel count; fractions give small nets.")
_float(
    "sk_ratio", "Selective kernels (and ResNet-D) when above 0; SimCLRv2 uses 0.0625."
)
_float("se_ratio", "Squeeze-and-excitation when above 0.")
_enum(
    "stem",
    config_lib.STEMS,
    "First layers. imagenet: 7x7/2 conv and max pool. cifar: one 3x3/1 conv. stride2: "
    "one 3x3/2 conv, for small machines. auto: cifar up to 32 pixels, else imagenet.",
)
_float("batch_norm_decay", "Momentum of batch-norm moving statistics.")
_bool("global_bn", "Batch-norm statistics over all replicas instead of each its own.")
_enum(
    "proj_head_mode",
    config_lib.PROJ_HEAD_MODES,
    "Projection head: none, linear or nonlinear (an MLP).",
)
_integer("proj_out_dim", "Width of the projection z.")
_integer("num_proj_layers", "Layers of the nonlinear projection head.")
_integer(
    "ft_proj_selector",
    "Finetune: the classifier reads the input of this layer of "
    "the projection head (0: h, the backbone's output; -1: z).",
)
_bool("zero_init_logits_layer", "Finetune: start the classifier's kernel at zero.")
_integer(
    "fine_tune_after_block",
    "Finetune: train only what comes after this block "
    "group (-1: everything, 4: only the classifier).",
)
# Loss
_enum(
    "loss",
    config_lib.LOSSES,
    "Contrastive loss: NT-Xent, or NT-Logistic and the margin triplet loss of the "
    "paper's table 4.",
)
_float("temperature", "Temperature tau of NT-Xent and NT-Logistic.")
_float("margin", "Margin of --loss=margin.")
_string(
    "loss_block_size",
    "NT-Xent: rows of similarities held at once. auto: blocks where batches are large; "
    "off: all at once.",
)
_bool("semi_hard", "NT-Logistic and margin: only semi-hard negatives count.")
_bool("hidden_norm", "L2-normalise projections, so that similarity is the cosine.")
# Optimizer
_enum(
    "optimizer",
    config_lib.OPTIMIZERS,
    "lars, momentum (Nesterov SGD), adam, adamw or lamb.",
)
_float("learning_rate", "Base learning rate, before --learning_rate_scaling.")
_enum(
    "learning_rate_scaling",
    config_lib.LEARNING_RATE_SCALINGS,
    "linear: base * batch / 256. sqrt: base * sqrt(batch), better below 2048. "
    "none: base as it is.",
)
_float("warmup_epochs", "Epochs of linear warm-up from 0; a cosine to 0 follows.")
_float("weight_decay", "L2 strength; batch norm and biases are left out.")
_float("momentum", "Momentum of lars and momentum.")
_float(
    "head_lr_multiplier",
    "Finetune: the classifier's learning rate is so many times --learning_rate.",
)
_float(
    "backbone_lr_multiplier",
    "Finetune: the same for everything below the classifier.",
)
# Training
_integer("train_batch_size", "Images per step over all replicas.")
_float("train_epochs", "Passes over the training split.")
_integer("train_steps", "Exact number of steps; overrides --train_epochs when above 0.")
_bool(
    "lineareval_while_pretraining",
    "Train a linear classifier on h beside, behind a "
    "stop-gradient, when the split has labels; it does not touch the encoder.",
)
_enum(
    "mixed_precision",
    config_lib.MIXED_PRECISION,
    "bfloat16, float16: layers compute in it; weights, norms and losses stay float32, "
    "float16 scales the loss and skips steps that overflow. auto: bfloat16 where the "
    "device has it and three steps are faster with it, else off; a run keeps what was "
    "chosen.",
)
_integer(
    "micro_batch_size",
    "Images per replica that are in the network at once: --train_batch_size is then "
    "processed in parts, with the gradient of the whole (cached gradients); 0: all.",
)
_enum(
    "micro_batch_norm",
    config_lib.MICRO_BATCH_NORMS,
    "With --micro_batch_size batch norm sees: micro, the images of one part; frozen, "
    "its moving statistics only.",
)
_bool(
    "deterministic",
    "Make every TensorFlow operation deterministic: two runs are bit-equal on a GPU "
    "too (slower; on a CPU they are without it).",
)
_bool("jit_compile", "Compile the step with XLA (one device or TPU; slower on CPU).")
_string(
    "steps_per_loop",
    "Steps that run without returning to Python; log lines and checkpoints stay where "
    "they are, a signal is heard after them. auto: 1 on a CPU, else what takes about a "
    "second, up to 100.",
)
_enum(
    "remat",
    config_lib.REMAT,
    "Recompute activations in the backward pass instead of keeping them, for memory: "
    "of each residual block (blocks) or of each of the four groups at once (groups).",
)
_string("checkpoint", "Start from the weights of this checkpoint or run folder.")
_float("checkpoint_epochs", "Epochs between checkpoints.")
_integer(
    "checkpoint_steps",
    "Steps between checkpoints; overrides --checkpoint_epochs when above 0.",
)
_integer("keep_checkpoint_max", "Newest checkpoints to keep.")
_integer("log_steps", "Steps between lines of the log, metrics.jsonl and TensorBoard.")
_float(
    "monitor_epochs",
    "Epochs between looks without a trained probe: online kNN, "
    "spread, alignment, uniformity and rank of the embeddings; 0 for never.",
)
_enum(
    "progress",
    config_lib.PROGRESS,
    "How progress is shown. auto: a bar on a terminal, plain lines in a file.",
)
# Evaluation
_string("eval_split", "Labelled split that the results are reported on.")
_integer("eval_batch_size", "Images per evaluation step over all replicas.")
_integer("eval_steps", "Evaluation steps; 0 for the whole split.")
_string(
    "eval_name",
    "Name of this evaluation in results and TensorBoard; default: that of the run "
    "(mostly none) on its own images, else the data set.",
)
_list(
    "protocols",
    "Evaluations of the frozen representation, comma-separated: logreg, knn (on "
    "standardised h), weighted_knn (see --knn_k), logreg_sweep (penalty chosen "
    "on held-out images), logreg_adam (weight decay so chosen), linear (SGD), svm, "
    "low_shot, features (five depths), label_free, transfer (other data sets), semi "
    "(fine-tuned with few labels). Empty for none; see docs/evaluation.md.",
)
_list(
    "transfer_datasets",
    "With --protocols=transfer: names of the paper's twelve sets, other "
    "tensorflow-datasets names or NAME=FOLDER, comma-separated; all: the twelve.",
)
_list(
    "transfer_methods",
    "With --protocols=transfer, comma-separated: linear (on frozen features), finetune "
    "(the whole network, from the run's weights), random_init (the same network from "
    "random weights, twice the steps).",
)
_integer(
    "transfer_steps",
    "Steps of each trial of --transfer_methods=finetune; random_init takes twice as "
    "many.",
)
_integer("transfer_batch_size", "Images per step of these trials.")
_string(
    "transfer_grid",
    "Learning rates x weight decays that are tried on validation images for each set, "
    "spread over the paper's ranges.",
)
_float(
    "semi_epochs",
    "With --protocols=semi: epochs of fine-tuning; 0: 60 below a tenth of the labels, "
    "else 30, as in the paper.",
)
_integer(
    "semi_batch_size",
    "With --protocols=semi: images per step; 0: the part of all labelled images that "
    "4096 is of ImageNet's, as in the paper, but 32 at least, and no more than "
    "pretraining had views in a step or than there are labels.",
)
_list(
    "finetune_baselines",
    "Beside --mode=finetune and --protocols=semi, on the same images, comma-separated: "
    "random_init (same settings from random weights), supervised (all layers from "
    "random weights, twice the epochs).",
)
_list(
    "knn_k",
    "With --protocols=weighted_knn: numbers of neighbours, comma-separated; the last "
    "one is shown in the table.",
)
_float("knn_temperature", "With --knn_weighting=exp: a vote is exp(similarity / this).")
_enum(
    "knn_metric",
    config_lib.KNN_METRICS,
    "With --protocols=weighted_knn: what is near. euclidean: minus the distance is the "
    "similarity.",
)
_enum(
    "knn_weighting",
    config_lib.KNN_WEIGHTINGS,
    "With --protocols=weighted_knn: exp, or uniform: one vote each.",
)
_float(
    "features_epochs",
    "With --protocols=features: epochs of its classifiers. The benchmark's: 90 on "
    "ImageNet, 28 on Places205, 84 on iNaturalist18.",
)
_list(
    "features_milestones",
    "With --protocols=features: epochs after which the rate of the five depths is "
    "divided by 10, comma-separated. The benchmark's: 30,60 on ImageNet, 7,14,21 on "
    "Places205, 24,48,72 on iNaturalist18.",
)
_string(
    "probe_split", "Labelled split that the probes learn from; default: --train_split."
)
_integer("probe_examples", "At most so many images of it.")
_bool("baselines", "Also measure a random encoder and PCA of the pixels.")
_bool("report", "Write report.html: curves, pictures and tables of the run.")
_string(
    "compare_with",
    "With --mode=eval: another run folder, evaluated on the same images; McNemar's "
    "test says whether the difference is luck.",
)
_bool(
    "watch",
    "With --mode=eval: when the run is not at its last step, measure each new "
    "checkpoint until it is. --nowatch measures the newest one and ends.",
)
_string(
    "best_metric",
    "With --mode=eval: keep the checkpoint with the highest value of this in "
    "MODEL_DIR/best, whatever the run deletes: a name of --protocols, supervised (the "
    "run's own classifier) or rankme (of label_free).",
)
_float(
    "watch_timeout",
    "With --watch: stop after so many minutes without a new checkpoint; 0 waits on.",
)
# Distribution
_enum(
    "strategy",
    config_lib.STRATEGIES,
    "tf.distribute strategy. auto: TPU if asked for, several GPUs mirrored, else one "
    "device.",
)
_integer(
    "num_virtual_devices",
    "Split the CPU into so many logical devices, to try replicas on any machine.",
)
_integer(
    "gradient_pack_mib",
    "With several workers: MiB of gradients that are summed over them at once; 0: all "
    "of a kind.",
)
_bool("use_tpu", "Run on a TPU. Unset: only if --tpu_name or --master is given.")
_string("tpu_name", "Name or grpc:// address of the TPU; 'local' on a TPU VM.")
_string("tpu_zone", "Google Cloud zone of the TPU.")
_string("gcp_project", "Google Cloud project of the TPU.")
_string("master", "Address of the TPU master, when --tpu_name is not used.")
# Export
_list(
    "export_formats",
    "What to export, comma-separated: keras (encoder.keras), "
    "saved_model (TF Hub form). Empty for none.",
)
_integer("keep_hub_module_max", "Newest SavedModels to keep; 0 keeps all.")
_string("input", "Embed: a folder of images, or name:split of a data set.")
_string("output", "Embed: file to write, .npz, .csv or .parquet.")
_string("preview", "Scan: write a picture (.png) of originals beside their views.")


# Words of the reference's README that its program no longer reads.
_LEFTOVERS = ("train_summary_steps", "variable_schema")
for _name in _LEFTOVERS:
    flags.DEFINE_string(
        _name,
        None,
        "Accepted because commands of google-research/simclr carry it; no effect.",
    )


def leftovers(values: flags.FlagValues) -> list[str]:
    """Names of flags that were given and have no effect."""
    return [name for name in _LEFTOVERS if values[name].present]


def flag_names() -> tuple[str, ...]:
    """Names of the flags defined here, in order."""
    return tuple(_NAMES)


def config_from_flags(values: flags.FlagValues) -> config_lib.Config:
    """Read the parsed flags into a validated ``Config``.

    Raises:
        ConfigError: A value cannot be.
    """
    flat = {name: getattr(values, name) for name in _NAMES}
    for name in (
        "protocols",
        "export_formats",
        "label_columns",
        "transfer_datasets",
        "transfer_methods",
        "finetune_baselines",
    ):
        flat[name] = tuple(item for item in flat[name] if item)
    given = frozenset(name for name in _NAMES if values[name].present)
    return dataclasses.replace(config_lib.from_flat(flat), given=given)


def flagfile_text(config: config_lib.Config) -> str:
    """The run as a flag file: ``--flagfile=flags.txt`` starts it again.

    What nobody asked for stands as a comment: in a flag file it would be asked for.
    """
    lines = []
    defaults, given = config_lib.field_defaults(), config_lib.given_settings(config)
    for name, value in config_lib.to_flat(config).items():
        if value is None:
            continue
        joint = "x" if name.endswith("image_size") else ","
        text = joint.join(map(str, value)) if isinstance(value, tuple) else value
        text = json.dumps(text) if text is True or text is False else text
        silent = value == defaults[name] and name not in given
        lines.append(f"{'# ' if silent else ''}--{name}={text}")
    return "\n".join(lines) + "\n"
