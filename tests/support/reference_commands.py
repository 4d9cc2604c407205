"""Commands in the READMEs of google-research/simclr, as arguments of this program."""

# In its READMEs, but not flags of tf2/run.py: of the TensorFlow 1 program beside it.
LEFTOVERS = ("train_summary_steps", "variable_schema")

# Command lines of the READMEs; paths and the TPU's name are made up.
PRETRAIN_CIFAR10 = {
    "train_mode": "pretrain",
    "train_batch_size": 512,
    "train_epochs": 1000,
    "learning_rate": 1.0,
    "weight_decay": 1e-4,
    "temperature": 0.5,
    "dataset": "cifar10",
    "image_size": 32,
    "eval_split": "test",
    "resnet_depth": 18,
    "use_blur": False,
    "color_jitter_strength": 0.5,
    "model_dir": "/m/simclr_test",
    "use_tpu": False,
}
ON_TPU = {
    "image_size": 224,
    "eval_split": "validation",
    "data_dir": "gs://b/d",
    "model_dir": "gs://b/m",
    "use_tpu": True,
    "tpu_name": "t",
    "train_summary_steps": 0,
}
PRETRAIN_IMAGENET = dict(
    train_mode="pretrain",
    train_batch_size=4096,
    train_epochs=100,
    temperature=0.1,
    learning_rate=0.075,
    learning_rate_scaling="sqrt",
    weight_decay=1e-4,
    dataset="imagenet2012",
    **ON_TPU,
)
LINEAR = {
    "mode": "train_then_eval",
    "train_mode": "finetune",
    "fine_tune_after_block": 4,
    "zero_init_logits_layer": True,
    "variable_schema": "(?!global_step|(?:.*/|^)Momentum|head)",
    "global_bn": False,
    "optimizer": "momentum",
    "learning_rate": 0.1,
    "warmup_epochs": 0,
}
LINEAR_CIFAR10 = dict(
    **LINEAR,
    weight_decay=0.0,
    train_epochs=100,
    train_batch_size=512,
    dataset="cifar10",
    image_size=32,
    eval_split="test",
    resnet_depth=18,
    checkpoint="/m/simclr_test",
    model_dir="/m/simclr_test_ft",
    use_tpu=False,
)
LINEAR_IMAGENET = dict(
    **LINEAR,
    weight_decay=1e-6,
    train_epochs=90,
    train_batch_size=4096,
    dataset="imagenet2012",
    checkpoint="gs://b/c",
    **ON_TPU,
)
FINETUNE_1PCT = dict(
    mode="train_then_eval",
    train_mode="finetune",
    fine_tune_after_block=-1,
    zero_init_logits_layer=True,
    variable_schema="(?!global_step|(?:.*/|^)Momentum|head_supervised)",
    global_bn=True,
    optimizer="lars",
    learning_rate=0.005,
    learning_rate_scaling="sqrt",
    weight_decay=0,
    train_epochs=60,
    train_batch_size=1024,
    warmup_epochs=0,
    dataset="imagenet2012_subset/1pct",
    checkpoint="gs://b/c",
    num_proj_layers=3,
    ft_proj_selector=1,
    **ON_TPU,
)
COMMANDS = {
    "pretrain_cifar10": PRETRAIN_CIFAR10,
    "pretrain_imagenet": PRETRAIN_IMAGENET,
    "linear_cifar10": LINEAR_CIFAR10,
    "linear_imagenet": LINEAR_IMAGENET,
    "finetune_1pct": FINETUNE_1PCT,
}


def arguments(command, *, leftovers):
    return [
        f"--{name}={value}"
        for name, value in command.items()
        if leftovers or name not in LEFTOVERS
    ]
