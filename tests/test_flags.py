"""The command line and the config are one surface, in both directions."""

import importlib
import re
import types

import pytest
from absl import flags as absl_flags

import flags
from simclr_tf2 import command_help, suggestions
from simclr_tf2 import config as config_lib
from tests.support.program_flags import REFERENCE_FLAGS, forget, parsed


def test_flags_are_the_config_fields_with_equal_defaults():
    defaults = config_lib.field_defaults()
    assert set(flags.flag_names()) == set(defaults)
    assert flags.config_from_flags(parsed()) == config_lib.Config()


def test_every_reference_flag_is_accepted():
    assert set(REFERENCE_FLAGS) <= set(flags.flag_names())


# Words of which a reader of one flag's help cannot know what they stand for.
RIDDLES = re.compile(
    r"\b(see above|above-mentioned|the same as (above|before)|the next|these trials|so "
    r"many|so large|of it|between looks|a look|mend|luck|unasked|"
    r"beside it)\b|^The same|^As ",
    re.IGNORECASE,
)
# 0 is a number like others for these; elsewhere a default of 0 stands for something.
PLAIN_ZERO = {"seed"}


def what_is_wrong_with(text, *, default=None, choices=()):
    """What keeps a new user from understanding a flag's help read alone."""
    sentence = text.split(". ")[0]
    named = set(re.findall(r"--(\w+)", text))
    known = set(flags.flag_names()) | {f"no{name}" for name in flags.flag_names()}
    words = set(re.findall(r"[\w.]+", text))
    words = {word.strip(".") for word in words}
    wrong = {
        "does not begin with a capital letter": not text[:1].isupper(),
        "does not end in a full stop": not text.endswith("."),
        "is too short": len(text) <= 20,
        "has a first sentence too long for --help": len(sentence) > 160,
        "is a riddle": RIDDLES.search(text),
        "names flags that do not exist": named - known,
        "does not explain its choices": set(choices) - words,
        "does not say what 0 means": default == 0
        and not isinstance(default, bool)
        and not re.search(r"\b0\b", text),
        "does not say what an empty value means": default == ""
        and not re.search(r"\b(empty|default)\b", text, re.IGNORECASE),
    }
    return [what for what, found in wrong.items() if found]


@pytest.mark.parametrize("name", flags.flag_names())
def test_every_flag_has_help_a_user_can_read(name):
    flag = absl_flags.FLAGS[name]
    default = 1 if name in PLAIN_ZERO else config_lib.field_defaults()[name]
    choices = getattr(flag.parser, "choices", ())
    assert not what_is_wrong_with(flag.help, default=default, choices=choices)


@pytest.mark.parametrize(
    ("text", "values", "wrong"),
    [
        ("The same, as a number of images per class.", {}, "riddle"),
        ("As --train_split, for the images of a test.", {}, "riddle"),
        ("See above, as a number of images per class.", {}, "riddle"),
        ("At most so many images of it are used.", {}, "riddle"),
        ("Epochs between looks without a trained probe.", {}, "riddle"),
        ("epochs of training, of which there are some.", {}, "capital"),
        ("Epochs of training, of which there are some", {}, "full stop"),
        ("Epochs.", {}, "short"),
        ("Overrides --train_epoch where that is given.", {}, "flags that do not exist"),
        (
            "What the folders mean. flat: nothing.",
            {"choices": ("flat", "class")},
            "its c",
        ),
        ("Steps between checkpoints of a run.", {"default": 0}, "what 0 means"),
        ("Split that the classifiers learn from.", {"default": ""}, "empty value"),
    ],
)
def test_help_that_a_user_cannot_read_is_found(text, values, wrong):
    assert [what for what in what_is_wrong_with(text, **values) if wrong in what]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--mode=pretrian", "Received: pretrian; did you mean pretrain?"),
        ("--mode=Pretrain", "did you mean pretrain?"),
        ("--mode=distill", "--mode must be one of pretrain, finetune, eval, predict"),
        ("--download=flase", "must be true or false. Received: flase; did you mean f"),
        ("--download=yes", "did you mean true?"),
        ("--nodownload=true", "write --nodownload or --download=false"),
        ("--train_batch_size=64.5", "must be a whole number. Received: 64.5; did you "),
        ("--train_batch_size=1e3", "did you mean 1000?"),
        ("--train_batch_size=4,096", "did you mean 4096?"),
        ("--train_batch_size=", "must be a whole number. Received: nothing."),
        ("--learning_rate=0,1", "must be a number. Received: 0,1; did you mean 0.1?"),
        ("--learning_rate=inf", "must be a finite number"),
        ("--learning_rate=fast", "must be a number. Received: fast."),
        ("--label_fraction=10%", "did you mean 0.1?"),
        ("--progress=off", "did you mean none?"),
        ("--mixed_precision=fp16", "did you mean float16?"),
        ("--optimizer=sgd", "did you mean momentum?"),
        ("--protocols=knnn", "did you mean knn?"),
        ("--protocols=KNN", "did you mean knn?"),
        ("--image_size=64,96", "HEIGHTxWIDTH (64x96). Received: 64,96."),
        ('--knn_k="1', "--knn_k must be values with commas between"),
        (
            "--batch_size=256",
            "unknown flag --batch_size; did you mean --train_",
        ),
        ("--lr=1", "did you mean --learning_rate"),
        ("--Mode=eval", "unknown flag --Mode; did you mean --mode?"),
        ("--image-size=32", "did you mean --image_size"),
        ("--nodowload", "did you mean --download?"),
        ("--noimage_dir", "--image_dir is no yes-or-no flag"),
        ("--zzz=1", "unknown flag --zzz; --help lists all flags"),
        ("--model_dir", "--model_dir has no value; write --model_dir=VALUE"),
        ("--model_dir --mode=eval", "--model_dir has no value"),
        ("--flagfile=no_such.txt", "--flagfile=no_such.txt cannot be read: no such fi"),
        ("--use_blur False", "takes its value with an equals sign: --use_blur=false"),
        ("--protocols=knn, svm", "there must be no space after the comma"),
        ("pretrain", "unexpected argument pretrain; did you mean --mode=pretrain?"),
        ("mode=eval", "did you mean --mode=eval?"),
        ("\u2014mode=eval", "begins with a long dash; type two hyphens: --mode=eval"),
        ("photos", "unexpected argument photos; flags are written --name=value"),
    ],
)
def test_a_mistake_is_answered_with_what_is_meant(argument, message):
    forget()
    with pytest.raises(config_lib.ConfigError) as caught:
        flags.parse(["run.py", *argument.split(" ")])
        flags.config_from_flags(absl_flags.FLAGS)
    text = str(caught.value)
    assert message in text and "\n" not in text
    for python in ("invalid literal", "could not convert", "('", "['", "<", "Errno"):
        assert python not in text


def test_a_flag_file_that_is_no_text_is_refused_in_words(tmp_path):
    (tmp_path / "encoder.keras").write_bytes(b"PK\xff\xfe")
    forget()
    with pytest.raises(config_lib.ConfigError, match="--flagfile is not UTF-8 text"):
        flags.parse(["run.py", f"--flagfile={tmp_path / 'encoder.keras'}"])


def test_flags_of_absls_logging_are_said_to_have_no_effect():
    importlib.import_module("absl.logging")  # defines them
    assert flags.leftovers(parsed("--log_dir=runs/a")) == ["log_dir"]


def test_words_of_other_programs_lead_to_flags_and_values_that_exist():
    assert set(suggestions.FLAG_SYNONYMS.values()) <= set(flags.flag_names())
    parsers = [absl_flags.FLAGS[name].parser for name in flags.flag_names()]
    choices = {word for parser in parsers for word in getattr(parser, "choices", ())}
    assert set(suggestions.VALUE_SYNONYMS.values()) <= choices


def test_help_has_every_flag_with_its_default_in_a_section_with_its_modes():
    sections = flags.help_sections()
    short, full = command_help.short_help(sections), command_help.full_help(sections)
    for name in flags.flag_names():
        assert f"  --{name}=" in short and f"  --{name}=" in full
    assert "--temperature=0.1 " in short and "--use_blur=true " in short
    assert "\nEXPORT (modes: pretrain, finetune, export)\n" in short
    # The second sentence of --model_dir is for those who ask.
    assert "was stopped goes on" in " ".join(full.split())
    assert "was stopped goes on" not in " ".join(short.split())


def test_help_fits_a_terminal():
    sections = flags.help_sections()
    texts = (command_help.short_help, command_help.full_help)
    lines = [line for text in texts for line in text(sections).splitlines()]
    lines += command_help.overview().splitlines()
    assert max(map(len, lines)) <= 80


def test_help_lists_the_modes_that_run_and_no_others():
    from simclr_tf2 import workflows  # imports TensorFlow, as no other test here

    described = {mode.name for mode in command_help.MODES}
    assert described == set(workflows.WORKFLOWS)
    assert described | {"train", "train_then_eval"} == set(config_lib.MODES)
    named = {
        mode
        for section in flags.help_sections()
        for mode in section.modes.split(", ")
        if section.modes != "all"
    }
    assert named <= described


@pytest.mark.parametrize("mode", command_help.MODES, ids=lambda mode: mode.name)
def test_the_example_of_a_mode_parses_and_has_the_flags_that_the_mode_needs(mode):
    config = flags.config_from_flags(parsed(*mode.example.split()))
    assert config.workflow == mode.name
    assert not command_help.missing_flags(mode.name, config_lib.to_flat(config))


def test_flags_that_only_another_mode_reads_are_found():
    values = parsed("--compare_with=a", "--input=b", "--preview=c.png", "--nowatch")
    assert flags.of_other_modes(values, "eval") == ["input", "preview"]
    assert flags.of_other_modes(values, "scan") == ["compare_with", "watch", "input"]
    assert "preview" in flags.of_other_modes(values, "pretrain")
    assert flags.of_other_modes(values, "embed") == ["compare_with", "watch"]
    # Pretraining reads it, with valid_loss, and says itself where it does not.
    assert flags.of_other_modes(parsed("--best_metric=valid_loss"), "pretrain") == []
    # Evaluation compares with the settings of its run.
    training = parsed("--temperature=0.2", "--valid_size=0.1", "--learning_rate=1")
    assert flags.of_other_modes(training, "eval") == []
    for mode in ("embed", "export", "scan"):
        found = flags.of_other_modes(training, mode)
        assert found == ["valid_size", "temperature", "learning_rate"]
    assert flags.of_other_modes(training, "finetune") == ["valid_size", "temperature"]
    assert flags.of_other_modes(training, "pretrain") == []


class AllGiven(dict):
    """Stands for the program's flags when every one of them was given."""

    def __missing__(self, name):
        return types.SimpleNamespace(present=True, value="something")


@pytest.mark.parametrize("mode", config_lib.WORKFLOW_MODES)
def test_each_flag_that_a_mode_does_not_read_is_reported_once(mode):
    fields, given = config_lib.fields(), AllGiven()
    unread = {n for n in fields if mode not in fields[n].metadata["modes"]}
    if mode == "plan":  # takes the flags of a run of training, such as a recipe
        training = {"pretrain", "finetune"}
        unread = {n for n in unread if not fields[n].metadata["modes"] & training}
    reported = [
        *flags.of_other_modes(given, mode),
        *flags.measured_later(given, mode),
        *config_lib.reported_by_workflow(mode),
    ]
    assert sorted(reported) == sorted(unread)
    assert bool(config_lib.reported_by_workflow(mode)) == (mode in ("pretrain", "eval"))
    assert bool(flags.measured_later(given, mode)) == (mode == "finetune")


def test_each_flag_is_read_by_a_mode_that_the_heading_of_its_section_names():
    fields = config_lib.fields()
    for section in flags.help_sections():
        heading = section.modes.replace("all", ", ".join(config_lib.WORKFLOW_MODES))
        for flag in section.flags:
            modes = fields[flag.name].metadata["modes"]
            assert modes & set(heading.split(", ")), (section.title, flag.name)


def test_each_choice_that_the_help_shows_is_accepted_and_no_other():
    for name in flags.flag_names():
        choices = getattr(absl_flags.FLAGS[name].parser, "choices", ())
        for choice in choices:
            config_lib.from_flat({name: choice})
        if choices:
            with pytest.raises(config_lib.ConfigError, match=", ".join(choices)):
                config_lib.from_flat({name: "none of them"})


def test_protocols_that_fine_tuning_keeps_for_an_evaluation_are_found():
    values = parsed("--protocols=knn", "--probe_split=train", "--noreport")
    assert flags.measured_later(values, "finetune") == ["protocols", "probe_split"]
    assert flags.measured_later(values, "pretrain") == []
    assert flags.of_other_modes(values, "finetune") == []
    assert flags.measured_later(parsed("--protocols="), "finetune") == []


@pytest.mark.parametrize(
    ("mode", "needs"),
    [
        (
            "train",
            "--model_dir is required in --mode=pretrain; for example: python",
        ),
        ("eval", "--model_dir is required in --mode=eval"),
        ("embed", "--input is required in --mode=embed; for example"),
        ("scan", ""),
    ],
)
def test_flags_without_which_a_mode_cannot_start_are_named_with_an_example(mode, needs):
    config = flags.config_from_flags(parsed(f"--mode={mode}"))
    text = command_help.missing_flags(config.workflow, config_lib.to_flat(config))
    assert text.startswith(needs) and bool(text) == bool(needs)
