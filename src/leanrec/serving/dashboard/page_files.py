"""Files of the page of the dashboard, which have no data in them: path, name in this folder, and media type."""

__all__ = ["PAGE_FILES"]

PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/dashboard/style.css": ("style.css", "text/css"),
    **{
        f"/dashboard/{name}.js": (f"{name}.js", "text/javascript")
        for name in (
            "app",
            "charts",
            "drift",
            "experiments",
            "list-rules",
            "lists",
            "off-policy",
            "page",
            "traffic",
            "versions",
        )
    },
}
