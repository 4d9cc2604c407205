"""A plan as text for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simclr_tf2.planning import advice, memory, scaling
from simclr_tf2.planning.advice import GIB
from simclr_tf2.planning.estimate import (
    Estimate,
    loss_flops,
    step_flops,
    view_flops,
)
from simclr_tf2.planning.workload import Workload

Row = tuple[str, Callable[[Estimate], str]]
ESTIMATE = (
    "All numbers are estimates from formulas, without evaluation, checkpoints and "
    "start-up; docs/plan.md has formulas, sources and checks."
)


def render(found: Sequence[Estimate]) -> str:
    """Write one run on several hardware side by side, and what limits each."""
    lines = [*_about(found[0].work), ""]
    body = [["", *(one.hardware.name for one in found)]]
    body += [[title, *(cell(one) for one in found)] for title, cell in _rows(found)]
    lines += [*_aligned(body), ""]
    for one in found:
        lines += [f"{one.hardware.name}: {_limit(one)}", *_remedies(one)]
    lines += ["", *_assumptions(found), ESTIMATE]
    return "\n".join(lines)


def render_scaling(start: Estimate, last: int) -> str:
    """Write a run on more and more devices, and what breaks first."""
    counts = scaling.device_counts(start.work.replicas, last)
    hardware = start.hardware
    tables = (
        (
            f"the global batch stays {start.work.batch:,}",
            [scaling.with_fixed_batch(start, n) for n in counts],
        ),
        (
            f"each device keeps {start.work.per_replica:,.0f} images",
            [scaling.with_growing_batch(start, n) for n in counts],
        ),
    )
    lines = []
    for title, found in tables:
        lines += [f"{hardware.name} up to {last:,} devices: {title}"]
        lines += [*_aligned([SCALING_TITLES, *map(_scaling_row, found)]), ""]
    if not start.fits:
        lines += ["! does not fit into the memory of a device", ""]
    grown = tables[1][1][-1]
    lines += [*_at_the_end(grown), "", "What breaks first:"]
    words = {"fixed": "same batch", "growing": "growing batch", "both": "any batch"}
    rows = [
        [f"{limit.devices:,}", f"{words[limit.kind]}: {limit.what}"]
        for limit in scaling.limits(start, last)
        if limit.devices is not None
    ]
    width = max((len(row[0]) for row in rows), default=0)
    lines += [f"  {number:>{width}} devices, {what}" for number, what in rows]
    never = [
        f"{words[limit.kind]}: {limit.what}"
        for limit in scaling.limits(start, last)
        if limit.devices is None
    ]
    lines += [f"  not up to {last:,}, {what}" for what in never]
    return "\n".join(lines)


SCALING_TITLES = [
    "devices",
    "batch",
    "a device",
    "ms a step",
    "computing",
    "gradients",
    "batch norm",
    "projections",
    "efficiency",
    "hours",
    "GiB",
    "failures",
]


def _scaling_row(found: Estimate) -> list[str]:
    devices, batch = f"{found.hardware.devices:,}", f"{found.work.batch:,}"
    if found.work.per_replica < 1:  # nothing to do for some devices
        return [devices, batch, "below 1", *["-"] * (len(SCALING_TITLES) - 3)]
    parts = {exchange.name: exchange.seconds for exchange in found.exchanges}
    hours = found.seconds / 3600
    failures = hours / scaling.hours_between_failures(found.hardware)
    return [
        devices,
        batch,
        f"{found.work.per_replica:,.4g}",
        _milliseconds(found.step),
        _milliseconds(max(found.compute, found.moving)),
        *(
            _milliseconds(parts.get(name, 0.0))
            for name in ("gradients", "batch norm", "projections")
        ),
        f"{100 * scaling.efficiency(found):.0f} %",
        _short(hours),
        f"{found.memory.total / GIB:,.1f}{'' if found.fits else ' !'}",
        f"{failures:.2g}",
    ]


def _at_the_end(found: Estimate) -> list[str]:
    """Describe input, failures and checkpoints on the largest number of devices."""
    hardware, wanted = found.hardware, found.wanted_images_per_second
    size = found.work.images.bytes
    stored = f", {wanted * size / 1e9:,.1f} GB/s of stored images" if size else ""
    between = scaling.hours_between_failures(hardware)
    source = hardware.figures["device_hours_between_failures"]
    checkpoint = memory.checkpoint_bytes(found.work) / 1e9
    return [
        f"On {hardware.devices:,} devices with a growing batch the input must deliver "
        f"{wanted:,.0f} images/s{stored}, {wanted / hardware.hosts:,.0f} images/s to "
        "each host.",
        *_of_the_loss(found),
        f"A checkpoint has {checkpoint:,.2f} GB. A device fails every {between:,.1f} "
        "hours on average; checkpoints every "
        f"{scaling.checkpoint_minutes(found):,.0f} minutes lose least "
        f"({source.kind}: {source.source}).",
    ]


def _of_the_loss(found: Estimate) -> list[str]:
    """Describe the similarities of one device; nothing in fine-tuning."""
    work = found.work
    if work.mode == "finetune":
        return []
    whole = memory.loss_bytes(work.changed(block_size="off"))
    share = 100 * loss_flops(work) / step_flops(work)
    return [
        f"The loss of a device compares {work.rows:,.0f} rows with "
        f"{work.rows * work.replicas:,.0f}: {whole / GIB:,.2f} GiB at once, "
        f"{memory.loss_bytes(work) / GIB:,.2f} GiB as configured, {share:,.0f} % of "
        "the arithmetic.",
    ]


def _about(work: Workload) -> list[str]:
    counts, config = work.counts[0], work.config
    views = " and ".join(f"{n} of {h}x{w}" for n, (h, w) in work.views)
    mode = {"pretrain": "pretraining", "finetune": "fine-tuning"}[work.mode]
    return [
        f"Plan of {mode} on {config.data.source}, {config.data.train_split}: "
        f"{work.images.count:,} images ({work.images.source})",
        f"ResNet-{config.model.resnet_depth}, width {config.model.width_multiplier:g}: "
        f"{counts.trained / 1e6:,.2f} M trained of {counts.numbers / 1e6:,.2f} M "
        f"numbers, {_large(counts.multiply_adds)} multiply-adds a view forward",
        f"{_large(view_flops(work))}FLOP an image and step, views: {views}",
        f"batch {work.batch:,}, {work.steps:,} steps, {config.optimizer.optimizer}",
        *_early(work),
    ]


def _early(work: Workload) -> list[str]:
    """Describe the parts of the run with smaller views, if there are any."""
    parts = [f"{part.steps:,} of {part.views[0][1][0]} px" for part in work.early]
    if not parts:
        return []
    return [
        f"first steps, with smaller views: {', '.join(parts)}; the hours of the run "
        "count them, all other numbers are those of later steps"
    ]


def _rows(found: Sequence[Estimate]) -> list[Row]:
    rows: list[Row] = [
        ("devices", lambda e: f"{e.hardware.devices} {e.hardware.device}"),
        ("precision", lambda e: e.hardware.precision(e.work.dtype)),
        ("images a replica", lambda e: f"{e.work.per_replica:,.0f}"),
        ("memory a replica, GiB", lambda e: ""),
    ]
    for name in (
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "images",
        "loss",
        "total",
    ):
        rows.append((f"  {name}", _memory_cell(name)))
    rows += [
        ("  of", lambda e: f"{e.memory_limit / GIB:,.1f}"),
    ]
    names = dict.fromkeys(x.name for one in found for x in one.exchanges)
    if names:
        rows.append(("sent a step and device, MB", lambda e: ""))
    rows += [(f"  {name}", _exchange_cell(name)) for name in names]
    rows += [
        ("time a step, ms", lambda e: ""),
        ("  computing", lambda e: _milliseconds(e.compute)),
        ("  or memory bandwidth", lambda e: _milliseconds(e.moving)),
        ("  communication", lambda e: _milliseconds(e.communication)),
        ("  input of the hosts", lambda e: _milliseconds(e.input)),
        ("  step", lambda e: _milliseconds(e.step)),
        ("the run, hours", lambda e: _short(e.seconds / 3600)),
        ("input to deliver, images/s", _wanted),
        ("  a host", lambda e: f"{e.wanted_images_per_second / e.hardware.hosts:,.0f}"),
        ("  a host, MB/s", _host_megabytes),
    ]
    return rows


def _memory_cell(name: str) -> Callable[[Estimate], str]:
    return lambda e: f"{getattr(e.memory, name) / GIB:,.2f}"


def _exchange_cell(name: str) -> Callable[[Estimate], str]:
    def cell(one: Estimate) -> str:
        for exchange in one.exchanges:
            if exchange.name == name:
                calls = f" in {exchange.calls}" if exchange.calls > 1 else ""
                return f"{exchange.sent / 1e6:,.1f}{calls}"
        return "-"

    return cell


def _wanted(found: Estimate) -> str:
    return f"{found.wanted_images_per_second:,.0f}"


def _host_megabytes(found: Estimate) -> str:
    size = found.work.images.bytes
    if not size:
        return "?"
    rate = found.wanted_images_per_second / found.hardware.hosts
    return f"{rate * size / 1e6:,.1f}"


def _limit(found: Estimate) -> str:
    return f"tightest limit is {advice.tightest_limit(found)}"


def _remedies(found: Estimate) -> list[str]:
    if found.fits:
        return []
    fitting = advice.how_to_fit(found)
    if not fitting:
        return [
            "  It does not fit, with any --remat or --micro_batch_size: use devices "
            "with more memory, or a smaller network."
            if found.work.mode == "pretrain"
            else "  It does not fit: use more devices or a smaller --train_batch_size."
        ]
    lines = ["  It does not fit. It would with"]
    lines += [f"    {line}" for line in fitting]
    if found.hardware.compiled:
        lines.append(
            "  XLA recomputes some activations by itself, so it may fit without."
        )
    return lines


def _assumptions(found: Sequence[Estimate]) -> list[str]:
    """Name the figures behind the table that nobody measured or published."""
    lines = []
    for one in found:
        assumed = [
            name
            for name, figure in one.hardware.figures.items()
            if figure.kind == "assumed" and _is_used(name, one)
        ]
        if assumed:
            lines.append(f"{one.hardware.name} assumes {', '.join(assumed)}.")
    return lines


def _is_used(figure: str, found: Estimate) -> bool:
    """Return whether an estimate depends on a figure of the hardware file."""
    hardware, precision = found.hardware, found.hardware.precision(found.work.dtype)
    several_systems = hardware.devices > hardware.value("system_devices")
    if figure.endswith(("_tflops", "_achieved")):
        return figure.startswith(precision)
    if figure.startswith("network_"):
        return several_systems
    if figure.startswith(("link_", "call_", "system_")):
        return hardware.devices > 1
    return figure != "device_hours_between_failures"


def _short(number: float) -> str:
    """Write three digits, or whole numbers from 100 on."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _large(number: float) -> str:
    """Write a number in millions (M) or thousand millions (G)."""
    if number < 1e8:
        return f"{_short(number / 1e6)} M"
    return f"{_short(number / 1e9)} G"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}" if seconds < 100 else f"{1e3 * seconds:,.0f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align a table: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
        lines.append("   ".join(cells).rstrip())
    return lines
