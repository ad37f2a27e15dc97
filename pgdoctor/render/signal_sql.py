"""Where in a report the SQL to paste stands: under each cut, and at a root only where no cut or set has it."""

from pgdoctor.render.report import BlockerReport, Report


def find_root_sql(blocker: BlockerReport, report: Report) -> str | None:
    """What to paste for a blocker that stands in no cut and no set; None: it stands there, or there is nothing."""
    told = {cut.pid for cut in report.cuts}
    told |= {signal.pid for each in report.cut_sets for signal in each.signals}
    return None if blocker.pid in told else blocker.recommendation.sql
