"""Pages from templates: one style, no request, and text that cannot become a tag."""

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from sgpo.report.decision import points


def load_template(name: str) -> Template:
    """Return a template of `templates/`."""
    environment = Environment(
        loader=PackageLoader("sgpo.report"), autoescape=select_autoescape(["jinja"], default=True),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"points": points, "percent": lambda value: f"{100 * value:.1f} %"}
    return environment.get_template(name)
