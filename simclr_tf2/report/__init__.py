"""What a person reads of a run: ``report.html``, one file, readable offline."""

from simclr_tf2.report.page import write_report

__all__ = ["write_report"]
