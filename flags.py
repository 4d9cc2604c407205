"""All command-line flags, grouped like ``Config``, which holds their defaults.

The help of a flag is read alone. Its first sentence says what the flag is, with the
unit, and is the text of ``--help``. The other sentences say what its values mean.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from simclr_tf2 import command_help, protocols, suggestions
from simclr_tf2 import config as config_lib
from simclr_tf2.command_line import recipe_files
from simclr_tf2.runs import flag_file

AUTO, REFERENCE = "auto", "reference"  # recipes that are no files
_DEFAULTS = config_lib.field_defaults()
_NAMES: list[str] = []
_SECTIONS: list[tuple[str, list[str]]] = []  # (title, names of its flags)


class _Parser(flags.ArgumentParser):
    """Parser that reads a flag's text by ``convert``; errors are ``ConfigError``."""

    def __init__(
        self,
        name: str,
        convert: Callable[[str, Any], Any],
        kind: str,
        choices: Sequence[str] = (),
    ):
        super().__init__()
        self.name, self.convert, self.kind = name, convert, kind
        self.choices = tuple(choices)

    def parse(self, argument: Any) -> Any:
        """Read a text; values of the right type are returned as they are."""
        return self.convert(self.name, argument)

    def flag_type(self) -> str:
        """Return what the help shows for the value, such as NUMBER."""
        return self.kind


def _whole_number(name: str, value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        meant = " or ".join(suggestions.whole_numbers(value))
        raise config_lib.refusal(name, "a whole number", value, meant=meant) from None


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except ValueError:
        meant = suggestions.number(value)
        raise config_lib.refusal(name, "a number", value, meant=meant) from None
    if not math.isfinite(number):
        raise config_lib.refusal(name, "a finite number", value)
    return number


def _truth(name: str, value: Any) -> bool:
    words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if str(value).lower() in words:
        return words[str(value).lower()]
    meant = suggestions.truth(str(value))
    raise config_lib.refusal(name, "true or false", value, meant=meant)


def _items(name: str, value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return list(map(str, value))
    try:
        rows = list(csv.reader([value], strict=True))
    except csv.Error:
        raise config_lib.refusal(name, "values with commas between", value) from None
    return [item.strip() for row in rows for item in row]


def _names(name: str, value: Any) -> list[str]:
    """Read values with commas between, without the empty ones."""
    return [item for item in _items(name, value) if item]


def _section(title: str) -> None:
    """Begin a section of the help: the flags defined from here on."""
    _SECTIONS.append((title, []))


def _note(name: str) -> None:
    _NAMES.append(name)
    _SECTIONS[-1][1].append(name)


def _define(parser: _Parser, text: str, **more: Any) -> None:
    default = _DEFAULTS[parser.name]
    serializer: flags.ArgumentSerializer = flags.ArgumentSerializer()
    flags.DEFINE(parser, parser.name, default, text, serializer=serializer, **more)
    _note(parser.name)


def _integer(name: str, text: str) -> None:
    _define(_Parser(name, _whole_number, "NUMBER"), text)


def _float(name: str, text: str) -> None:
    _define(_Parser(name, _number, "NUMBER"), text)


def _string(name: str, text: str) -> None:
    default = _DEFAULTS[name]
    flags.DEFINE_string(name, None if default is None else str(default), text)
    _note(name)


def _bool(name: str, text: str) -> None:
    _define(_Parser(name, _truth, "BOOL"), text, boolean=True)


def _list(
    name: str, text: str, convert: Callable[[str, Any], list[str]] = _items
) -> None:
    _define(_Parser(name, convert, "A,B,..."), text)


def _enum(name: str, choices: Sequence[str], text: str) -> None:
    def convert(name: str, value: str) -> str:
        if value in choices:
            return value
        must, meant = (
            f"one of {', '.join(choices)}",
            suggestions.nearest(value, choices),
        )
        raise config_lib.refusal(name, must, value, meant=meant)

    _define(_Parser(name, convert, "CHOICE", choices), text)


_section("The run")
_enum(
    "mode",
    config_lib.MODES,
    "Task to run. pretrain: learn an encoder without labels, then evaluate, export and "
    "report. finetune: train a classifier on a pretrained encoder. eval: evaluate an "
    "existing run. predict: label new images. embed: write the representation of "
    "images to a file. export: write encoder.keras and a SavedModel. scan: check the "
    "images, list broken ones and suggest settings. plan: estimate memory, "
    "communication and time of a run on given hardware. train, train_then_eval: names "
    "used by google-research/simclr; --train_mode selects pretrain or finetune.",
)
_enum(
    "train_mode",
    config_lib.TRAIN_MODES,
    "Task of --mode=train and --mode=train_then_eval, and the run that --mode=plan "
    "estimates. pretrain: learn an encoder without labels. finetune: train a "
    "classifier. Default of --mode=plan: finetune if --fine_tune_after_block is given.",
)
_string(
    "model_dir",
    "Folder of the run: checkpoints, logs, results, exports. A run that was stopped "
    "goes on when its command is repeated with this folder. A remote folder "
    "(gs://bucket/run) is copied to --spool_dir at the start; new files are uploaded "
    "with each checkpoint, each minute and at the end.",
)
_string(
    "spool_dir",
    "Local folder for the copies of remote folders (--model_dir, --checkpoint, "
    "--compare_with). It needs room for a whole run. Default: "
    "~/.cache/simclr_tf2/remote.",
)
_string(
    "recipe",
    "How --mode=pretrain learns where no flag says it. auto: network, views, loss, "
    "optimizer and length are chosen from the number and size of the images and the "
    "device. reference: the defaults of google-research/simclr. NAME: network, "
    "augmentation, loss, optimizer, length and image size of the recipe of that name. "
    "Flags that are given take priority, and what depends on them follows. Default: "
    "auto for your own images; reference for data sets by name, and for flags of a "
    "recipe file.",
)
_integer(
    "seed",
    "Random seed of weights, image order, augmentation and protocols, a whole number. "
    "A seed gives identical batches on any number of replicas and after any restart.",
)
_section("Images")
_string(
    "dataset",
    "Data set to read: a tensorflow-datasets name (cifar10, stl10, imagenet2012, ...), "
    "the embedded simclr_shapes, or an .npz or .npy file of arrays. Sizes of the "
    "embedded data set: simclr_shapes/64, simclr_shapes/96 and simclr_shapes/tiny. "
    "With --mode=eval: data set to evaluate on instead of that of the run.",
)
_string(
    "image_dir",
    "Folder of your own images, or several folders (a,b), instead of --dataset. "
    "Images without labels lie flat or in any subfolders; images with labels lie in "
    "DIR/class/image or DIR/split/class/image.",
)
_string(
    "manifest",
    "CSV or Parquet file with columns path[,label][,split], instead of --dataset. "
    "Paths are relative to --image_dir or, if that is not given, to the folder of the "
    "file. "
    "A label that is -1 or empty means no label.",
)
_string(
    "tfrecords",
    "File pattern of TFRecord files with tf.Example records, instead of --dataset. "
    "{split} in the pattern stands for the name of the split "
    "(gs://bucket/{split}-*.tfrecord).",
)
_enum(
    "image_layout",
    config_lib.IMAGE_LAYOUTS,
    "Meaning of the subfolders of --image_dir. auto: subfolders with names of splits "
    "(train, val2017) are splits, and folders are classes if every image lies in a "
    "class folder, else the layout is flat; the log reports what was not understood. "
    "flat: subfolders mean nothing and images have no labels. class: DIR/class/image. "
    "split_class: DIR/split/class/image.",
)
_list(
    "label_columns",
    "Columns of --manifest that hold one yes-or-no label each, comma-separated. Values "
    "in a column: 1 (yes), 0 (no), -1 or empty (unknown). Empty: labels come from the "
    "column label.",
    convert=_names,
)
_string(
    "image_key",
    "Name of the feature that holds the image, in a data set or in tf.Example records.",
)
_string(
    "label_key",
    "Name of the feature that holds the label, in a data set or in tf.Example records. "
    "A feature with several classes per image (labels in voc) gives yes-or-no labels, "
    "for --protocols=svm,low_shot.",
)
_string(
    "data_dir",
    "Folder in which tensorflow-datasets data sets are stored. Default: data at the "
    "top of a checkout; elsewhere $TFDS_DATA_DIR or ~/tensorflow_datasets.",
)
_bool(
    "download",
    "Download and prepare --dataset if it is not in --data_dir. Without this flag "
    "nothing is downloaded.",
)
_string(
    "train_split",
    "Name of the split to train on. Slices such as train[:80%] work.",
)
_float(
    "valid_size",
    "Fraction of the training images, from 0 to below 1, that --mode=pretrain holds "
    "out. Their contrastive loss, with fixed views, is logged as valid_loss every "
    "--monitor_epochs. A hash chooses the images: of the path of a file, or of the "
    "index of an image in arrays and other data sets. So the choice stays when files, "
    "or images at the end of an array, are added. 0: no image is held out. Default: "
    "0.05 of your own images without labels if there are 400 or more, else 0.",
)
_float(
    "label_fraction",
    "Fraction of the labelled images of each class, above 0 and at most 1, that "
    "--mode=finetune and --protocols=semi use. The images are drawn by --seed. If it "
    "is not given, --mode=finetune uses all of them and --protocols=semi measures with "
    "0.01 and with 0.1, as the paper does.",
)
_integer(
    "labels_per_class",
    "Number of labelled images of each class that --mode=finetune and --protocols=semi "
    "use, an alternative to --label_fraction. 0: --label_fraction applies.",
)
_string(
    "image_size",
    "Side of the training images in pixels, from 8 to 1024, or HEIGHTxWIDTH. Default "
    "in pretraining with your own images: the largest of 32, 64, 96 and 224 that does "
    "not enlarge a typical image, 32 for smaller images (which are enlarged), and 224 "
    "for TFRecords. With --recipe=auto on a CPU it is at most 96. Default in "
    "fine-tuning: the image size of the checkpoint.",
)
_integer(
    "image_channels",
    "Number of channels of the images. Image files: 1, 3 or 4; arrays: any number. "
    "Colour operations that need RGB are skipped unless it is 3.",
)
_string(
    "pixel_range",
    "Pixel values of black and white in images of more than 8 bits: LO,HI, full or "
    "auto. LO,HI: two numbers, such as 0,4095 for 12-bit scans or -1000,3000 for CT. "
    "full: the whole range of the type, 0 to 1 for floats. auto: found from the type "
    "and the values of the whole data set, logged and kept with the run. Images of 8 "
    "bits have the range 0 to 255, unless LO,HI lies within it.",
)
_bool(
    "cache_dataset",
    "Keep the encoded images of the split in memory, whatever their size. This is a "
    "flag of google-research/simclr; --cache offers more choices.",
)
_enum(
    "cache",
    config_lib.CACHES,
    "Form in which the training images are kept in memory. encoded: as in the files. "
    "decoded: as pixels. off: they are not kept. auto: decoded or encoded, whichever "
    "fits into 2 GiB, else off.",
)
_enum(
    "check_files",
    config_lib.FILE_CHECKS,
    "How the files of --image_dir are checked, once, before training. decode: decode "
    "every image. header: read only the headers, which is faster and misses damage "
    "after the header.",
)
_float(
    "max_bad_fraction",
    "Fraction of broken image files, from 0 to 1, above which the run is refused. Up "
    "to this fraction, broken files are logged and left out.",
)
_integer(
    "max_image_pixels",
    "Largest image that is decoded, in pixels (height * width). Larger files count as "
    "broken.",
)
_string(
    "data_service",
    "Address of a tf.data service dispatcher (grpc://host:port) whose workers prepare "
    "the batches. If it is not given, this program prepares them. See docs/data.md.",
)
_section("Augmentation")
_float(
    "color_jitter_strength",
    "Strength of the colour jitter, 0 or greater. The paper uses 1.0 for ImageNet and "
    "0.5 for CIFAR-10. 0: no jitter (random grayscale stays).",
)
_bool(
    "use_blur",
    "Blur half of the views with a Gaussian filter. The paper does so for ImageNet and "
    "not for CIFAR-10. Default in pretraining with your own images: true for views of "
    "more than 32 pixels, else false.",
)
_enum(
    "color_jitter_impl",
    config_lib.COLOR_JITTER_IMPLS,
    "How the colour jitter changes brightness. simclrv2: multiply, as in "
    "google-research/simclr. simclrv1: add, as for the results of the first paper.",
)
_float(
    "color_jitter_probability",
    "Probability of the colour jitter, from 0 to 1. The paper uses 0.8. 0: no jitter.",
)
_float(
    "grayscale_probability",
    "Probability that a view loses its colours, from 0 to 1. The paper uses 0.2. 0: "
    "all views keep them.",
)
_float(
    "blur_probability",
    "Probability of the blur, from 0 to 1, if --use_blur is on. The paper uses 0.5. "
    "0: no blur.",
)
_list(
    "blur_sigma",
    "Least and greatest sigma of the blur in pixels of a view, LEAST,GREATEST, above 0 "
    "and at most 100. The kernel is 10 % of the height of a view, whatever the sigma.",
)
_float(
    "solarize_probability",
    "Probability of solarization, from 0 to 1: after all other changes, values x of at "
    "least --solarize_threshold become 1 - x. The paper uses 0, BYOL 0.2 for one of "
    "two views. 0: no solarization.",
)
_float(
    "solarize_threshold",
    "Least value that solarization inverts, from 0 to 1. 0: it inverts all values.",
)
_list(
    "crop_area",
    "Least and greatest part of an image that a crop covers, LEAST,GREATEST, above 0 "
    "and at most 1. 1,1: the whole image. Additional small views (--num_local_views) "
    "cover 0.05 to 0.14.",
)
_list(
    "crop_aspect",
    "Lowest and highest width over height of a crop, LEAST,GREATEST, above 0 and at "
    "most 10, as a factor of that of a view.",
)
_float(
    "flip_probability",
    "Probability that left and right are exchanged, from 0 to 1. 0: never.",
)
_float(
    "vertical_flip_probability",
    "Probability that top and bottom are exchanged, from 0 to 1. 0: never.",
)
_bool(
    "quarter_turns",
    "Turn views by 0, 90, 180 or 270 degrees, all equally likely. Views must be "
    "square. Needed where images have no up and down.",
)
_enum(
    "augment_backend",
    config_lib.AUGMENT_BACKENDS,
    "Code that computes the views; results differ only by rounding. numba: compiled "
    "loops in this process, the fastest. tf: TensorFlow operations, which "
    "--data_service and remote TPU hosts need. auto: numba where it can be used, else "
    "tf.",
)
_enum(
    "augment_on",
    config_lib.AUGMENT_PLACES,
    "Where flips, colour changes and blur are computed; results differ only by "
    "rounding. host: in the input pipeline. device: in the training step, for hosts "
    "whose cores cannot feed the accelerator; decoding and crops stay on the host.",
)
_integer(
    "num_views",
    "Number of views of each image in a batch, from 2 to 16. The paper uses 2.",
)
_integer(
    "num_local_views",
    "Multi-crop: number of additional small views of each image, from 0 to 16. Each "
    "shows a small part of the image. 0: no multi-crop.",
)
_string(
    "local_image_size",
    "Multi-crop: side of an additional small view in pixels, or HEIGHTxWIDTH. Default: "
    "3/7 of --image_size, rounded to a multiple of 4.",
)
_list(
    "early_image_sizes",
    "Growing resolution: sides of the views in the first part of pretraining, in "
    "pixels, comma-separated and ascending, each smaller than a square --image_size. "
    "Each size is used for an equal number of steps. Later steps, evaluation and "
    "exports use --image_size. Empty: all steps do.",
    convert=_names,
)
_float(
    "early_share",
    "Growing resolution: fraction of the steps that use --early_image_sizes, above 0 "
    "and below 1.",
)
_section("Network")
_integer(
    "resnet_depth",
    "Number of layers of the ResNet: 10, 18, 34, 50, 101, 152 or 200.",
)
_float(
    "width_multiplier",
    "Factor of every channel count, above 0 and at most 16. Fractions (0.25) give "
    "small networks.",
)
_float(
    "sk_ratio",
    "Selective kernels: bottleneck ratio, from 0 to 1. 0: no selective kernels; "
    "SimCLRv2 uses 0.0625. Above 0 the network also gets the ResNet-D changes "
    "(--resnet_d).",
)
_float(
    "se_ratio",
    "Squeeze-and-excitation: bottleneck ratio, from 0 to 1. 0: no "
    "squeeze-and-excitation.",
)
_list(
    "normalize_mean",
    "Mean of each channel that the network subtracts from its images, from 0 to 1, "
    "comma-separated, or one number for all channels. It is a layer of the network, so "
    "exports contain it and take images in [0, 1]. Empty: images are not normalized, "
    "as in the paper.",
    convert=_names,
)
_list(
    "normalize_std",
    "Standard deviation of each channel, by which the network divides its images, "
    "above 0 and at most 1. Comma-separated, or one number for all channels; "
    "--normalize_mean is subtracted before. Empty: images are not normalized.",
    convert=_names,
)
_enum(
    "resnet_d",
    config_lib.RESNET_D,
    "ResNet-D: the imagenet stem has three 3x3 convolutions, and shortcuts pool before "
    "they convolve. true or false: with or without. auto: with selective kernels "
    "(--sk_ratio above 0) only, as in the reference code.",
)
_bool(
    "zero_init_residual",
    "Start each residual block as its shortcut: the last batch-norm gamma of the block "
    "is initialised with 0. --nozero_init_residual: with 1, so that the network passes "
    "on what its convolutions see from the first step.",
)
_enum(
    "stem",
    config_lib.STEMS,
    "First layers of the network (stem). imagenet: 7x7 convolution of stride 2, max "
    "pooling. cifar: one 3x3 convolution of stride 1. stride2: one 3x3 convolution of "
    "stride 2, for small machines. auto: cifar for images of up to 32 pixels, else "
    "imagenet.",
)
_float(
    "batch_norm_decay",
    "Momentum of the moving statistics of batch norm, above 0 and below 1.",
)
_bool(
    "global_bn",
    "Compute batch-norm statistics over all replicas. --noglobal_bn: over each replica "
    "separately.",
)
_enum(
    "proj_head_mode",
    config_lib.PROJ_HEAD_MODES,
    "Kind of projection head. none: the loss is computed on h, the backbone's output. "
    "linear: one layer. nonlinear: an MLP of --num_proj_layers layers.",
)
_integer(
    "proj_out_dim",
    "Number of features of the projection z, the output of the projection head.",
)
_integer(
    "num_proj_layers",
    "Number of layers of the nonlinear projection head, 1 or more.",
)
_integer(
    "ft_proj_selector",
    "Fine-tuning: layer of the projection head whose input the classifier reads, from "
    "-1 to the number of layers. 0: h, the backbone's output; -1: z, the head's "
    "output. SimCLRv2 uses 1. --mode=export reads this flag with --checkpoint, because "
    "a google-research/simclr checkpoint does not record the layer.",
)
_bool(
    "zero_init_logits_layer",
    "Fine-tuning: initialise the classifier's weights with zeros instead of random "
    "values.",
)
_integer(
    "fine_tune_after_block",
    "Fine-tuning: last frozen block group of the ResNet, from -1 to 4; all layers "
    "after it are trained. -1: everything is trained; 0: only the stem is frozen; 4: "
    "only the classifier is trained (linear evaluation).",
)
_section("Contrastive loss")
_enum(
    "loss",
    config_lib.LOSSES,
    "Contrastive loss. nt_xent: NT-Xent, the loss of SimCLR. nt_logistic: NT-Logistic "
    "of the paper's table 4. margin: the margin triplet loss of that table.",
)
_float("temperature", "Temperature tau of NT-Xent and NT-Logistic, above 0.")
_float("margin", "Margin of --loss=margin, 0 or greater.")
_string(
    "loss_block_size",
    "NT-Xent: number of rows of the similarity matrix that are in memory at once. "
    "Values: a number of 1 or more, auto (blocks where batches are large) or off (all "
    "rows).",
)
_bool("semi_hard", "With --loss=nt_logistic or margin: use only semi-hard negatives.")
_bool(
    "hidden_norm",
    "L2-normalise projections, so that their similarity is cosine similarity.",
)
_section("Optimizer and learning rate")
_enum(
    "optimizer",
    config_lib.OPTIMIZERS,
    "Optimizer: lars, momentum (SGD with Nesterov momentum), adam, adamw, lamb or muon "
    "(orthogonal updates of all kernels, Adam for the rest).",
)
_float(
    "learning_rate",
    "Base learning rate, above 0. --learning_rate_scaling computes the peak learning "
    "rate from the base.",
)
_enum(
    "learning_rate_scaling",
    config_lib.LEARNING_RATE_SCALINGS,
    "How the peak learning rate is computed from --learning_rate (base) and "
    "--train_batch_size (batch). linear: base * batch / 256. sqrt: base * sqrt(batch), "
    "better for batches below 2048. none: base, unscaled.",
)
_float(
    "warmup_epochs",
    "Number of epochs in which the learning rate rises linearly from 0. After them it "
    "falls to 0 by a cosine schedule. 0: no warm-up.",
)
_float(
    "weight_decay",
    "Strength of the L2 penalty, 0 or greater. Batch norm and biases are exempt. 0: no "
    "penalty.",
)
_float(
    "momentum", "Momentum of --optimizer=lars, momentum and muon, from 0 to below 1."
)
_float(
    "head_lr_multiplier",
    "Fine-tuning: factor of the learning rate of the classifier, above 0.",
)
_float(
    "backbone_lr_multiplier",
    "Fine-tuning: factor of the learning rate of all layers below the classifier, "
    "above 0.",
)
_section("Training")
_integer(
    "train_batch_size",
    "Images per training step, summed over all replicas, 2 or more. Default in "
    "pretraining with your own images: the largest power of two from 16 to 512 that "
    "gives at least four steps per epoch; 16 for fewer than 64 images, and all images "
    "for fewer than 16. Default in fine-tuning: reduced for small data sets.",
)
_float(
    "train_epochs",
    "Number of passes over the training split; fractions work. For data sets by name "
    "the number of steps is images * epochs // batch + 1, as in the reference code; "
    "for your own images a pass has whole batches only.",
)
_integer(
    "train_steps",
    "Exact number of training steps. 0: computed from --train_epochs.",
)
_bool(
    "lineareval_while_pretraining",
    "Train a linear classifier on h during pretraining when the split has labels. Its "
    "gradient does not reach the encoder.",
)
_enum(
    "mixed_precision",
    config_lib.MIXED_PRECISION,
    "Floating-point format that layers compute in. off: float32. bfloat16, float16: "
    "weights, norms and losses stay float32; float16 scales the loss and skips steps "
    "that overflow. auto: bfloat16 if the device has it and three trial steps are "
    "faster with it, else off; a resumed run keeps the choice.",
)
_integer(
    "micro_batch_size",
    "Images per replica that pass through the network at once, to save memory. "
    "--train_batch_size is then processed in parts, with the exact gradient of the "
    "whole batch (cached gradients). 0: the whole batch at once.",
)
_enum(
    "micro_batch_norm",
    config_lib.MICRO_BATCH_NORMS,
    "With --micro_batch_size: statistics that batch norm uses. micro: those of the "
    "images of one part. frozen: the moving statistics, which then stay unchanged.",
)
_float(
    "weights_ema",
    "Decay of an exponential moving average of the weights, from 0 to below 1, such as "
    "0.99 or 0.999. All evaluations and exports then use the averages; training uses "
    "the weights themselves. The average of update t has the decay (1 + t) / (10 + t) "
    "if that is smaller. 0: no average.",
)
_bool(
    "deterministic",
    "Make every TensorFlow operation deterministic, which is slower. Two runs on a GPU "
    "are then bit-equal; on a CPU they are bit-equal without this flag.",
)
_bool(
    "jit_compile",
    "Compile the training step with XLA. For one device or a TPU; slower on a CPU.",
)
_string(
    "steps_per_loop",
    "Number of training steps that run without returning to Python, 1 or more, or "
    "auto. Log lines and checkpoints keep their steps; a stop signal waits for the end "
    "of the loop. auto: 1 on a CPU, else as many steps as take about a second, at most "
    "100.",
)
_enum(
    "remat",
    config_lib.REMAT,
    "Activations that are recomputed in the backward pass, to save memory at the cost "
    "of time. off: none. blocks: those of each residual block. groups: those of each "
    "of the four block groups as a whole.",
)
_string(
    "checkpoint",
    "Run folder or checkpoint whose weights are loaded before training or before an "
    "export. If it is not given, training starts from random weights. "
    "--mode=predict: fine-tuned run, or its classifier.keras. --mode=embed: the same "
    "as --model_dir; also an encoder.keras or a checkpoint of google-research/simclr.",
)
_bool(
    "extend",
    "Continue the run in --model_dir to another --train_epochs or --train_steps than "
    "it was started with. The learning rate follows the schedule of the new length "
    "from there on. Without this flag a run of another length is refused.",
)
_float(
    "checkpoint_epochs",
    "Number of epochs between checkpoints. 0: only at the last step. If neither this "
    "flag nor --checkpoint_steps is given, checkpoints with your own images come at "
    "most once a minute.",
)
_integer(
    "checkpoint_steps",
    "Number of steps between checkpoints. 0: --checkpoint_epochs applies.",
)
_integer(
    "keep_checkpoint_max",
    "Number of checkpoints to keep, the newest ones, 1 or more.",
)
_integer(
    "log_steps",
    "Number of steps between lines of the log, metrics.jsonl and TensorBoard, 1 or "
    "more. If it is not given: lines come after steps 1, 2, 5, 10 and 20, every 50 "
    "steps and every 15 seconds.",
)
_float(
    "monitor_epochs",
    "Number of epochs between online evaluations. In pretraining they measure kNN, "
    "spread, alignment, uniformity and rank of the embeddings, and the loss on "
    "--valid_size; in fine-tuning, the accuracy on --finetune_validation. 0: none. If "
    "it is not given, online evaluations of your own images take at most 10 % of the "
    "time.",
)
_float(
    "finetune_validation",
    "Fraction of each class of the training images, from 0 to 0.5, that fine-tuning "
    "holds out (such as 0.1). The accuracy on these images is logged as "
    "validation_top1 every --monitor_epochs. 0: train on all images, as published "
    "recipes do; only the training accuracy is logged.",
)
_enum(
    "progress",
    config_lib.PROGRESS,
    "How progress is shown. bar: a progress bar. plain: log lines. none: no progress. "
    "auto: a bar on a terminal, lines in a file.",
)
_section("Evaluation")
_string("eval_split", "Name of the labelled split on which results are reported.")
_integer("eval_batch_size", "Images per evaluation step, summed over all replicas.")
_integer(
    "eval_steps",
    "Number of steps, of --eval_batch_size images each, to evaluate on. 0: the whole "
    "split.",
)
_string(
    "eval_name",
    "Name of this evaluation in result files and TensorBoard, of letters, digits, '.', "
    "'_' and '-'. Default: that of the run (usually none), or the name of the data set "
    "if it is not the data set of the run.",
)
_list(
    "protocols",
    "Evaluations of the frozen representation h, comma-separated. "
    f"{protocols.help_text()} Empty: none. See docs/evaluation.md.",
    convert=_names,
)
_string(
    "probe_split",
    "Name of the labelled split on which the protocols' classifiers are trained. "
    "Default: --train_split.",
)
_integer(
    "probe_examples",
    "Maximum number of --probe_split images on which the protocols' classifiers are "
    "trained, 1 or more. Published values of "
    f"{', '.join(protocols.published())} were measured with all images; the log and "
    "the table report where this flag leaves some out.",
)
_bool(
    "baselines",
    "Also evaluate a random encoder and PCA of the pixels, for comparison.",
)
_bool("report", "Write report.html with curves, pictures and tables of the run.")
_string(
    "best_metric",
    "Metric whose best checkpoint is kept in MODEL_DIR/best, even if the run deletes "
    "other checkpoints. Values: logreg, knn, weighted_knn, logreg_sweep, logreg_adam, "
    "linear, svm, low_shot, supervised (the run's own classifier), rankme (of "
    "label_free) or, also with --mode=pretrain, valid_loss (lowest loss on the images "
    "that --valid_size holds out). Empty: none is kept.",
)
_list(
    "baseline",
    "Other encoders to compare with, comma-separated, as rows of the table. Each is "
    "keras.applications.NAME with weights of ImageNet (fetched with --download), a "
    ".keras file for images in [0, 1], a run folder, or a checkpoint of "
    "google-research/simclr. They see the same images in the same protocols. Empty: "
    "none.",
    convert=_names,
)
_string(
    "classifier_from",
    "Protocol whose classifier on h is exported as classifier.keras, for "
    "--mode=predict: logreg or linear, one of --protocols. Empty: none. "
    "--mode=finetune always exports the classifier that it trains.",
)
_section("Evaluation of a run")
_list(
    "compare_with",
    "Folders of other runs that were evaluated on the same images as this one, "
    "comma-separated. McNemar's test says whether the trained networks of two runs "
    "differ on images like these. It does not compare recipes or seeds: that takes "
    "several runs of each. Without labels, or with --protocols=label_free, a "
    "table compares the label-free numbers and the share of nearest images in common. "
    "Empty: no comparison.",
)
_bool(
    "watch",
    "Evaluate each new checkpoint of a run that is still training, until its last "
    "step. --nowatch: evaluate the newest checkpoint and end.",
)
_float(
    "watch_timeout",
    "Minutes without a new checkpoint after which --watch ends. 0: no limit.",
)
_section("Settings of protocols")
_list(
    "knn_k",
    "With --protocols=weighted_knn: numbers of neighbours, each 1 or more, "
    "comma-separated. The table shows the last one.",
)
_float(
    "knn_temperature",
    "With --knn_weighting=exp: temperature T of the weight of a vote, exp(similarity / "
    "T), above 0.",
)
_enum(
    "knn_metric",
    config_lib.KNN_METRICS,
    "With --protocols=weighted_knn: similarity of two images. cosine: cosine of the "
    "angle between their features. euclidean: negative Euclidean distance.",
)
_enum(
    "knn_weighting",
    config_lib.KNN_WEIGHTINGS,
    "With --protocols=weighted_knn: weight of a neighbour's vote. exp: exp(similarity "
    "/ T) with T of --knn_temperature. uniform: 1 for each neighbour.",
)
_enum(
    "svm_features",
    config_lib.SVM_FEATURES,
    "With --protocols=svm and low_shot: features that the classifiers are trained on. "
    "feature5: as published for VOC07, the last block group pooled to 2x2 (8,192 "
    "numbers for ResNet-50), of the whole image squashed to the size of a view. h: the "
    "pooled representation of the image's centre, which is not comparable with "
    "published values.",
)
_float(
    "features_epochs",
    "With --protocols=features: number of epochs for which its classifiers are "
    "trained, above 0. The benchmark uses 90 on ImageNet, 28 on Places205 and 84 on "
    "iNaturalist18.",
)
_list(
    "features_milestones",
    "With --protocols=features: epochs after which the learning rate is divided by 10, "
    "ascending and below --features_epochs, comma-separated. The benchmark uses 30,60 "
    "on ImageNet, 7,14,21 on Places205 and 24,48,72 on iNaturalist18.",
)
_list(
    "transfer_datasets",
    "With --protocols=transfer: data sets to measure on, comma-separated. Values: "
    "names of the paper's twelve data sets, other tensorflow-datasets names, "
    "NAME=FOLDER, or all (the twelve).",
    convert=_names,
)
_list(
    "transfer_methods",
    "With --protocols=transfer: training methods, comma-separated. linear: a "
    "classifier on frozen features. finetune: the whole network from the run's "
    "weights. random_init: the whole network from random weights, with twice the "
    "steps.",
    convert=_names,
)
_integer(
    "transfer_steps",
    "With --transfer_methods=finetune or random_init: training steps of each trial. "
    "random_init takes twice as many.",
)
_integer(
    "transfer_batch_size",
    "With --transfer_methods=finetune or random_init: images per training step.",
)
_string(
    "transfer_grid",
    "With --transfer_methods=finetune or random_init: size of the search grid, number "
    "of learning rates x number of weight decays (7x8). The values are spread over the "
    "paper's ranges; the pair that is best on validation images is used.",
)
_float(
    "semi_epochs",
    "With --protocols=semi: number of epochs of fine-tuning. 0: 60 with less than a "
    "tenth of the labels, else 30, as in the paper.",
)
_integer(
    "semi_batch_size",
    "With --protocols=semi: images per training step. 0: 4096 / 1,281,167 of all "
    "labelled images (the batch of the paper as a share of ImageNet), at least 32 and "
    "at most 4096. A batch never exceeds the number of labelled images that are used; "
    "with 0 it also does not exceed the number of views that pretraining had in the "
    "network at once.",
)
_list(
    "finetune_baselines",
    "With --mode=finetune or --protocols=semi: baselines trained on the labelled "
    "images of the run, comma-separated. random_init: random initial weights, other "
    "settings unchanged. supervised: all layers from random weights, twice the epochs. "
    "Empty: none.",
    convert=_names,
)
_section("Devices")
_enum(
    "strategy",
    config_lib.STRATEGIES,
    "Distribution strategy of TensorFlow. one_device: a single device. mirrored: all "
    "GPUs of this machine. multi_worker: several machines (--cluster or TF_CONFIG). "
    "tpu: a TPU. auto: multi_worker if workers are listed, else tpu if one is asked "
    "for or found, mirrored with several GPUs, else one_device.",
)
_list(
    "cluster",
    "Training on several machines: host:port of every worker, comma-separated, the "
    "same list on all. Worker 0 writes the run folder, which all must share. Empty: "
    "the environment variable TF_CONFIG, if it is set.",
    convert=_names,
)
_integer(
    "task_index",
    "Number of this worker in --cluster, from 0.",
)
_enum(
    "communication",
    config_lib.COMMUNICATION,
    "How several workers sum gradients. ring: over the network, on any device. nccl: "
    "NVIDIA's library, between GPUs. auto: TensorFlow decides.",
)
_integer(
    "worker_timeout",
    "Seconds to wait for the other workers at the start of the training.",
)
_list(
    "visible_devices",
    "Numbers of the GPUs to use, comma-separated: 0,1. Empty: all.",
    convert=_names,
)
_bool(
    "memory_growth",
    "Reserve GPU memory step by step. Otherwise TensorFlow reserves all memory at the "
    "start.",
)
_integer(
    "num_virtual_devices",
    "Number of logical devices to split the CPU into, up to 64, to try replicas on any "
    "machine. 0: the CPU is not split.",
)
_integer(
    "gradient_pack_mib",
    "With --strategy=multi_worker: MiB of gradients that are summed in one message. 0: "
    "TensorFlow decides.",
)
_bool(
    "use_tpu",
    "Run on a TPU. Default: true if --tpu_name or --master is given, else false.",
)
_string(
    "tpu_name",
    "Name or grpc:// address of the TPU. local: the TPU of the TPU VM that the program "
    "runs on.",
)
_string("tpu_zone", "Google Cloud zone of the TPU.")
_string("gcp_project", "Google Cloud project of the TPU.")
_string("master", "Address of the TPU master, read if --tpu_name is not given.")
_section("Export")
_list(
    "export_formats",
    "Formats to export, comma-separated. keras: encoder.keras, for images in [0, 1]. "
    "keras_uint8: encoder_uint8.keras, for uint8 images of any size, which it crops "
    "and resizes itself. saved_model: a SavedModel in the format of TF Hub. "
    "classifier: classifier.keras of a fine-tuned run, from uint8 images of any size "
    "to the probabilities of its classes. classifier_saved_model: the same as a "
    "SavedModel whose input is encoded images (JPEG, PNG, GIF, BMP), for TF Serving. "
    "Empty: none.",
    convert=_names,
)
_list(
    "export_endpoints",
    "Outputs of encoder.keras and encoder_uint8.keras, comma-separated. The encoder "
    "then returns a dict of them. Any of initial_conv, initial_max_pool, block_group1, "
    "block_group2, block_group3, block_group4, final_avg_pool, proj_head_input and "
    "proj_head_output (the projection). Empty: the representation alone.",
    convert=_names,
)
_integer(
    "keep_hub_module_max",
    "Number of SavedModels to keep, the newest ones. 0: all.",
)
_section("Images to label or to embed")
_string(
    "input",
    "Images to label or to embed. They are a folder, several folders (a,b), an image, "
    "a manifest (.csv or .parquet), an .npz or .npy file, or NAME:SPLIT of a data set "
    "or file (cifar10:test).",
)
_string(
    "output",
    "File to write. With --mode=predict: the labels, as .csv, .jsonl or .parquet. "
    "With --mode=embed: the representations, as .npz, .csv or .parquet, or a path that "
    "ends in /, for a folder that the projector of TensorBoard shows. "
    "With --mode=plan: the plan, as .json.",
)
_integer(
    "top_k",
    "Number of classes to name for each image, the most probable first, 1 or more.",
)
_section("Embedding")
_enum(
    "embed_endpoint",
    config_lib.EMBED_ENDPOINTS,
    "Endpoint of the network to write, named as in the SavedModel. final_avg_pool: the "
    "representation h. proj_head_output: the projection z. The "
    "others are maps, of which the mean over height and width is written. "
    "initial_conv: the first convolution. initial_max_pool: the end of the stem. "
    "block_group1: the first block group. block_group2: the second. block_group3: the "
    "third. block_group4: the last.",
)
_integer(
    "rows_per_file",
    "Number of images per file for large inputs: --output=h.parquet becomes "
    "h-00000.parquet, h-00001.parquet and so on. The same command continues after the "
    "last whole file. 0: one file, for which all representations are held in memory.",
)
_list(
    "neighbours_of",
    "Image files, comma-separated, for which the most similar images of --input are "
    "printed. --output is then optional; --preview draws the similar images.",
)
_integer(
    "num_neighbours",
    "Number of similar images to show for each image of --neighbours_of, 1 or more.",
)
_section("Preview")
_string(
    "preview",
    "Picture (.png) to write. With --mode=scan: images beside their augmented views. "
    "With --mode=embed --neighbours_of: each image beside its most similar ones.",
)
_section("Plan of a run")
_list(
    "hardware",
    "Hardware to plan for, comma-separated: names of files in recipes/hardware "
    "(tpu_v3_32, 8xh100, ...) or paths of such files (.json).",
    convert=_names,
)
_integer(
    "plan_devices",
    "Number of devices to plan for, on each hardware. 0: the number in the hardware "
    "file.",
)
_integer(
    "plan_examples",
    "Number of training images to plan for. 0: the number that is known for --dataset, "
    "else the number of images on disk.",
)
_integer(
    "plan_scaling",
    "Largest number of devices in an additional table, which shows what breaks when "
    "more devices train, with the same global batch and with the same batch per "
    "device. 0: no such table.",
)

# Flags in commands of the reference's README that its program no longer reads.
_IGNORED_FLAGS = ("train_summary_steps", "variable_schema")
for _name in _IGNORED_FLAGS:
    flags.DEFINE_string(
        _name,
        None,
        "No effect; accepted because commands of google-research/simclr contain it.",
    )

# Flags that absl's logging defines; this program does not use it.
_OF_ABSL = ("log_dir", "logtostderr", "alsologtostderr", "stderrthreshold")


def parse(argv: Sequence[str]) -> list[str]:
    """Parse a command line into ``absl.flags.FLAGS``; return the program's name only.

    Raises:
        ConfigError: A flag or recipe is unknown, a value is missing or of the wrong
            kind, or an argument is not a flag. The message suggests a correction.
    """
    argv = _with_recipes(argv)
    _check_values_are_given(argv)
    whole = [a.partition("=")[2] or a for a in argv[1:]]
    try:
        rest = flags.FLAGS(list(argv))
    except flags.UnrecognizedFlagError as error:
        raise config_lib.ConfigError(_unknown(error.flagname)) from None
    except flags.CantOpenFlagFileError as error:
        reason = re.sub(r".*\[Errno \d+\] ", "", str(error)).partition(": ")
        raise config_lib.ConfigError(
            f"--flagfile={reason[2].strip(chr(39))} cannot be read: {reason[0].lower()}"
        ) from None
    except UnicodeDecodeError:
        raise config_lib.ConfigError("--flagfile is not UTF-8 text") from None
    except (flags.Error, ValueError) as error:
        if isinstance(error.__context__, config_lib.ConfigError):  # from our parsers
            raise error.__context__ from None
        raise config_lib.ConfigError(_reworded(str(error))) from None
    if rest[1:]:
        raise config_lib.ConfigError(_stray(rest[1], argv))
    if any(map(recipe_files.is_recipe, whole)) and not flags.FLAGS["recipe"].present:
        flags.FLAGS["recipe"].value = REFERENCE  # a recipe says all; it was not given
    return rest


def _with_recipes(argv: Sequence[str]) -> list[str]:
    """Replace the names of recipes after ``--flagfile`` by their files."""
    found = list(argv[:1])
    for argument in argv[1:]:
        flag, equals, value = argument.partition("=")
        if found[-1] in ("--flagfile", "-flagfile"):
            argument = recipe_files.find(argument)
        elif equals and flag in ("--flagfile", "-flagfile"):
            argument = f"{flag}={recipe_files.find(value)}"
        found.append(argument)
    return found


def _check_values_are_given(argv: Sequence[str]) -> None:
    """Refuse ``--model_dir --mode=eval``, which would name the folder "--mode=eval"."""
    for argument, after in itertools.pairwise(argv):
        name, equals, _ = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or equals or name not in _NAMES:
            continue
        is_flag = after.startswith("--") and after[2:].partition("=")[0] in flags.FLAGS
        if is_flag and not flags.FLAGS[name].boolean:
            raise config_lib.ConfigError(_without_value(name))


def _without_value(name: str) -> str:
    return f"--{name} has no value; write --{name}=VALUE"


def _unknown(name: str) -> str:
    """Return the message on an unknown flag, with similar flags."""
    bare = name.removeprefix("no")
    if name.startswith("no") and bare in _NAMES:
        return f"--{name}: --{bare} is no yes-or-no flag; write --{bare}= to empty it"
    near = [f"--{known}" for known in suggestions.flags_like(name, _NAMES)]
    if not near and name.startswith("no"):
        near = [f"--no{known}" for known in suggestions.flags_like(bare, _NAMES)]
    text = " or ".join(filter(None, [", ".join(near[:-1]), *near[-1:]]))
    hint = f"did you mean {text}?" if near else "--help lists all flags"
    return f"unknown flag --{name}; {hint}"


def _reworded(message: str) -> str:
    """Replace absl's message by one of ours where there is one."""
    if match := re.match(r"Missing value for flag -*(\w+)", message):
        return _without_value(match[1])
    if match := re.match(r"--?no(\w+)=(.*) does not take an argument", message):
        name = match[1]
        return f"--no{name} takes no value; write --no{name} or --{name}=false"
    return re.sub(r"^flag (--\w+=)", r"\1", message)


def _stray(word: str, argv: Sequence[str]) -> str:
    """Return the message on an argument that is not a flag."""
    if word[0] in "\u2010\u2011\u2012\u2013\u2014\u2212":
        bare = word.lstrip("-\u2010\u2011\u2012\u2013\u2014\u2212")
        return f"{word} begins with a long dash; type two hyphens: --{bare}"
    before = argv[list(argv).index(word) - 1] if word in argv else ""
    name = before.lstrip("-")
    if before.startswith("-") and name in _NAMES and flags.FLAGS[name].boolean:
        return (
            f"unexpected argument {word}; a yes-or-no flag takes its value with an "
            f"equals sign: --{name}={suggestions.truth(word) or 'false'}"
        )
    if before.endswith(","):
        hint = f"if it belongs to {before} there must be no space after the comma"
    elif word.partition("=")[0] in _NAMES and "=" in word:
        hint = f"did you mean --{word}?"
    elif mode := suggestions.nearest(word, config_lib.MODES):
        hint = f"did you mean --mode={mode}?"
    else:
        hint = "flags are written --name=value"
    return f"unexpected argument {word}; {hint}"


def leftovers(values: flags.FlagValues) -> list[str]:
    """List the flags that were given and have no effect."""
    known = (*_IGNORED_FLAGS, *_OF_ABSL)
    return [name for name in known if name in values and values[name].present]


def help_sections() -> list[command_help.Section]:
    """List the flags by section, as the help shows them."""
    values = flags.FLAGS
    return [
        command_help.Section(
            title, _modes_of(names), [_as_shown(values[name]) for name in names]
        )
        for title, names in _SECTIONS
    ]


def _modes_of(names: Sequence[str]) -> str:
    """Return the modes that read most of these flags."""
    fields = config_lib.fields()
    readers = [mode for name in names for mode in fields[name].metadata["modes"]]
    modes = [m for m in config_lib.WORKFLOW_MODES if 2 * readers.count(m) > len(names)]
    return "all" if len(modes) == len(config_lib.WORKFLOW_MODES) else ", ".join(modes)


def _as_shown(flag: flags.Flag) -> command_help.Flag:
    default = flag.default
    if isinstance(default, float):
        default = f"{default:g}"
    default = flag_file.typed(flag.name, default)
    return command_help.Flag(
        name=flag.name,
        text=flag.help,
        default="" if default is None else default,
        choices=getattr(flag.parser, "choices", ()),
        value="TEXT" if flag.flag_type() == "string" else flag.flag_type(),
    )


def of_other_modes(values: flags.FlagValues, mode: str) -> list[str]:
    """List the flags that were given and that ``mode`` does not read.

    The list leaves out the flags that the workflow itself warns of, those that
    fine-tuning keeps for a later evaluation (``measured_later``), and those of the run
    that is planned.
    """
    unread = set(config_lib.unread(mode)) - _kept_for_eval(mode) - _of_the_plan(mode)
    unread -= set(config_lib.reported_by_workflow(mode))
    return [name for name in _NAMES if name in unread and values[name].present]


def measured_later(values: flags.FlagValues, mode: str) -> list[str]:
    """List the protocol flags given to fine-tuning, which runs no protocol."""
    kept = _kept_for_eval(mode)
    return [n for n in _NAMES if n in kept and values[n].present and values[n].value]


def _of_the_plan(mode: str) -> set[str]:
    """Return the settings that a planned run reads and the plan itself does not.

    A plan takes all flags of a run, such as a recipe, but its cost does not depend on
    each of them.
    """
    if mode != "plan":
        return set()
    both = {*config_lib.unread("pretrain")} & {*config_lib.unread("finetune")}
    return set(config_lib.unread(mode)) - both


def _kept_for_eval(mode: str) -> set[str]:
    """Return the settings that fine-tuning keeps for a later evaluation of its run.

    They are the settings that both pretraining and evaluation read and fine-tuning does
    not.
    """
    if mode != "finetune":
        return set()
    both = {*config_lib.unread("pretrain"), *config_lib.unread("eval")}
    return set(config_lib.unread(mode)) - both


def flag_names() -> tuple[str, ...]:
    """Return the names of the flags defined here, in order."""
    return tuple(_NAMES)


def config_from_flags(values: flags.FlagValues) -> config_lib.Config:
    """Read the parsed flags into a validated ``Config``.

    Raises:
        ConfigError: A value is not allowed.
    """
    flat = {name: getattr(values, name) for name in _NAMES}
    given = frozenset(name for name in _NAMES if values[name].present)
    config = dataclasses.replace(config_lib.from_flat(flat), given=given)
    if config.workflow not in config_lib.fields()["recipe"].metadata["modes"]:
        return config if "recipe" in given else dataclasses.replace(config, recipe=None)
    if "recipe" not in given and config.data.by_name:
        return dataclasses.replace(config, recipe=None)
    recipe = config.recipe
    if not recipe or recipe in (AUTO, REFERENCE):
        return dataclasses.replace(config, recipe=recipe or None)
    found = _of_recipe(recipe, values)
    _refuse_rate_of_other(recipe, found, flat, given)
    chosen = {name: value for name, value in found.items() if name not in given}
    config = config_lib.from_flat({**flat, **chosen})
    return dataclasses.replace(config, given=given, chosen=frozenset(chosen))


def _refuse_rate_of_other(
    recipe: str, found: dict[str, Any], flat: dict[str, Any], given: frozenset[str]
) -> None:
    """Refuse a given optimizer with the learning rate that a recipe has for another."""
    theirs, asked = found.get("optimizer", flat["optimizer"]), flat["optimizer"]
    if "optimizer" in given and asked != theirs and "learning_rate" not in given:
        raise config_lib.ConfigError(
            f"--recipe={recipe} has a learning rate for {theirs}; with "
            f"--optimizer={asked} give --learning_rate and --weight_decay as well"
        )


def _of_recipe(name: str, values: flags.FlagValues) -> dict[str, Any]:
    """Return what a recipe says about how to learn, by flag.

    Its images, run folder, splits and evaluation are left out.

    Raises:
        ConfigError: There is no such recipe, or it does not pretrain.
    """
    found: dict[str, Any] = {}
    for line in recipe_files.lines(name):
        flag, equals, text = line.lstrip("-").partition("=")
        if not equals and flag not in _NAMES:
            flag, text = flag.removeprefix("no"), "false"
        elif not equals:
            text = "true"
        found[flag] = values[flag].parser.parse(text)
    if found.get("mode", "pretrain") != "pretrain":
        raise config_lib.ConfigError(
            f"--recipe={name} is a recipe of --mode={found['mode']} and does not say "
            f"how to pretrain; use --flagfile={name}"
        )
    learned = config_lib.how_to_learn()
    return {flag: value for flag, value in found.items() if flag in learned}
